"""What other processes publish through the hub, for whoever watches in this one.

One Redis subscription per process, handed on in memory. Nothing is promised: what is missed here stands in the rows.
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
MOST_UNREAD = 200  # messages a slow watcher may owe; older ones are dropped

Message = dict[str, Any]
Inbox = deque[Message]

_inboxes: dict[str, list[tuple[Inbox, Callable[[], None]]]] = {}
_lock = threading.Lock()
_thread: threading.Thread | None = None


@contextlib.contextmanager
def inbox(topic: str, ring: Callable[[], None]) -> Iterator[Inbox]:
    """Messages of ``topic`` as they come; ``ring`` is called, from another thread, when there is a new one."""
    entry: tuple[Inbox, Callable[[], None]] = (deque(maxlen=MOST_UNREAD), ring)
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
            logger.warning("live subscription lost (%s); watchers see rows only until it is back", type(error).__name__)
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
        logger.warning("somebody published on %s what is no message of ours", name)
        return
    for unread, ring in entries:
        unread.append(message)
        ring()
