"""Receive what other processes publish with ``hub.publish``.

One Redis subscription per process, handed on in memory. Messages may be lost: the rows have what matters.
"""

import contextlib
import json
import logging
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator
from typing import Any

import redis
from django.conf import settings

from orchestra.realtime.hub import channel

logger = logging.getLogger(__name__)

RECONNECT_S = 1.0
LISTEN_SLICE_S = 5.0
MOST_UNREAD = 200  # messages that wait for a slow subscriber; older ones are dropped

Message = dict[str, Any]
Inbox = deque[Message]

_inboxes: dict[str, list[tuple[Inbox, Callable[[], None]]]] = {}
_lock = threading.Lock()
_thread: threading.Thread | None = None


@contextlib.contextmanager
def inbox(topic: str, wake: Callable[[], None]) -> Iterator[Inbox]:
    """Yield a queue of the messages of ``topic``; another thread calls ``wake`` after each new one."""
    entry: tuple[Inbox, Callable[[], None]] = (deque(maxlen=MOST_UNREAD), wake)
    with _lock:
        _inboxes.setdefault(channel(topic), []).append(entry)
        _start()
    try:
        yield entry[0]
    finally:
        with _lock:
            rest = [other for other in _inboxes.get(channel(topic), ()) if other is not entry]
            if rest:
                _inboxes[channel(topic)] = rest
            else:
                _inboxes.pop(channel(topic), None)


def _start() -> None:
    global _thread  # noqa: PLW0603 - one subscription per process
    if _thread is None:
        _thread = threading.Thread(target=_run, name="live", daemon=True)
        _thread.start()


def _run() -> None:
    while True:
        try:
            _listen()
        except (redis.RedisError, OSError) as error:
            logger.warning(
                "live subscription lost (%s); until it is back, subscribers get rows only", type(error).__name__
            )
            time.sleep(RECONNECT_S)


def _listen() -> None:
    client = redis.Redis.from_url(
        settings.ORCHESTRA.redis_url, socket_connect_timeout=0.5, socket_timeout=30, health_check_interval=10
    )
    with client.pubsub(ignore_subscribe_messages=True) as pubsub:  # type: ignore[no-untyped-call]
        pubsub.psubscribe(channel("*"))
        while True:
            message = pubsub.get_message(timeout=LISTEN_SLICE_S)
            if message is not None:
                _hand_on(message["channel"].decode(), message["data"])


def _hand_on(name: str, data: bytes) -> None:
    with _lock:
        entries = list(_inboxes.get(name, ()))
    if not entries:
        return
    try:
        message = json.loads(data)
    except ValueError:
        message = None
    if not isinstance(message, dict):
        logger.warning("a message on %s is not a JSON object and was ignored", name)
        return
    for unread, wake in entries:
        unread.append(message)
        wake()
