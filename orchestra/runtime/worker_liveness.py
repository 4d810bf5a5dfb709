"""Worker liveness: a worker that no longer consumes messages ends itself, and its runner restarts
it.

After a restart of the broker a Celery worker can be alive and connected and still not consume
(celery/celery#8091, #9054, #10205), so neither its pid nor a ping shows it. Each worker therefore
sends itself a task every 15 s, through a queue that only it reads, and checks that it receives it.
The exported names (``worker_canary_age_seconds``, ``canary_age_seconds``) call this task a canary.
"""

import logging
import os
import threading
import time
import uuid
from collections.abc import Callable
from typing import Any

import redis
from celery import current_app
from celery.utils.nodenames import worker_direct
from django.conf import settings
from kombu import Queue
from kombu.exceptions import OperationalError

from orchestra.db import leases
from orchestra.db.notify import redis_client
from orchestra.runtime import heartbeats

logger = logging.getLogger(__name__)

EVERY_S = 15.0
STALLED_AFTER_S = 60.0  # while the broker answers
EXIT_CODE = 75  # EX_TEMPFAIL

_busy_checks: list[Callable[[], bool]] = []
_token = uuid.uuid4().hex
_returned_at = 0.0


def add_busy_check(busy: Callable[[], bool]) -> None:
    """Do not end this worker while ``busy()`` is true: a worker with full slots receives no task
    either.
    """
    _busy_checks.append(busy)


def record_return(token: str) -> None:
    """Record that this process received a liveness task.

    Any task shows that the queue is consumed. Only a task with this process's own token shows that
    this process consumes.
    """
    global _returned_at  # noqa: PLW0603 - one per process
    if token == _token:
        _returned_at = time.monotonic()
    leases.touch(f"canary:{settings.ORCHESTRA.process or 'worker'}")


def start(*, sender: Any, **_signal: object) -> None:
    """Receiver of Celery's ``worker_ready``: start the thread that sends and checks the liveness
    tasks.
    """
    # "@" is in the name of the worker's own queue, which is of no interest to others.
    consumed = sorted(name for name in sender.app.amqp.queues.consume_from if "@" not in name)
    heartbeats.add_facts(
        lambda: {"worker": sender.hostname, "queues": consumed, "canary_age_seconds": _seconds_since_return()}
    )
    queue = worker_direct(sender.hostname)  # the setting `worker_direct` makes the worker consume this queue
    threading.Thread(target=_watch, args=(queue,), name="worker liveness", daemon=True).start()


def _seconds_since_return() -> float | None:
    """Return the seconds since this worker last received its own task, or None if it never did."""
    return time.monotonic() - _returned_at if _returned_at else None


def _watch(queue: Queue) -> None:
    consuming_since = time.monotonic()
    while True:
        now = time.monotonic()
        if not _send(queue):
            consuming_since = now  # without a broker no worker can consume
        elif is_stalled(now, consuming_since, _returned_at) and not any(busy() for busy in _busy_checks):
            logger.critical("this worker consumes nothing although the broker answers; ending it to be started again")
            os._exit(EXIT_CODE)
        time.sleep(EVERY_S)


def is_stalled(now: float, consuming_since: float, returned_at: float) -> bool:
    """Return whether a task is overdue; all times are seconds of one monotonic clock."""
    return now - max(consuming_since, returned_at) > STALLED_AFTER_S


def _send(queue: Queue) -> bool:
    try:
        redis_client().ping()
        send = current_app.send_task
        send("orchestra.runtime.worker_liveness", args=[_token], queue=queue, expires=STALLED_AFTER_S, retry=False)  # type: ignore[arg-type]
    except (redis.RedisError, OperationalError, OSError):
        return False
    return True
