"""A worker proves every 15 s that it still consumes; one that does not ends itself, to be started again.

After a broker's restart a Celery worker can be alive, connected and deaf (celery/celery#8091, #9054, #10205), so
neither its pid nor a ping says anything. It sends a task to a queue that it alone reads, and watches for it to come
back.
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
STALLED_AFTER_S = 60.0  # of a broker that answers all the while
EXIT_CODE = 75  # EX_TEMPFAIL

_busy_checks: list[Callable[[], bool]] = []
_token = uuid.uuid4().hex
_returned_at = 0.0


def add_busy_check(busy: Callable[[], bool]) -> None:
    """Never end this worker while ``busy()``: full slots are not deafness."""
    _busy_checks.append(busy)


def record_return(token: str) -> None:
    """A canary came back; only this process's own counts for it, any counts for the queue."""
    global _returned_at  # noqa: PLW0603 - one per process
    if token == _token:
        _returned_at = time.monotonic()
    leases.touch(f"canary:{settings.ORCHESTRA.process or 'worker'}")


def start(*, sender: Any, **_signal: object) -> None:
    """Receiver of Celery's ``worker_ready``."""
    consumed = sorted(name for name in sender.app.amqp.queues.consume_from if "@" not in name)  # but its own
    heartbeats.add_facts(
        lambda: {"worker": sender.hostname, "queues": consumed, "canary_age_seconds": _seconds_since_return()}
    )
    queue = worker_direct(sender.hostname)  # the one that the setting of that name makes the worker consume
    threading.Thread(target=_watch, args=(queue,), name="worker liveness", daemon=True).start()


def _seconds_since_return() -> float | None:
    """Seconds since this worker's own canary came back; None if none has yet."""
    return time.monotonic() - _returned_at if _returned_at else None


def _watch(queue: Queue) -> None:
    consuming_since = time.monotonic()
    while True:
        now = time.monotonic()
        if not _send(queue):
            consuming_since = now  # a dead broker is not the worker's fault
        elif is_stalled(now, consuming_since, _returned_at) and not any(busy() for busy in _busy_checks):
            logger.critical("this worker consumes nothing although the broker answers; ending it to be started again")
            os._exit(EXIT_CODE)
        time.sleep(EVERY_S)


def is_stalled(now: float, consuming_since: float, returned_at: float) -> bool:
    """Whether canaries should have come back by now; all times of one monotonic clock, in seconds."""
    return now - max(consuming_since, returned_at) > STALLED_AFTER_S


def _send(queue: Queue) -> bool:
    try:
        redis_client().ping()
        send = current_app.send_task
        send("orchestra.runtime.worker_liveness", args=[_token], queue=queue, expires=STALLED_AFTER_S, retry=False)  # type: ignore[arg-type]
    except (redis.RedisError, OperationalError, OSError):
        return False
    return True
