"""Publish streaming text to the web processes: best effort, and never on the caller's time.

Messages are hints: what matters is in rows, which subscribers read again. ``publish`` never raises, never blocks
and holds one connection per process.
"""

import json
import logging
import queue
import threading
from typing import Any

from django.conf import settings

from orchestra.db import notify

logger = logging.getLogger(__name__)

LONGEST_QUEUE = 1000


def channel(topic: str) -> str:
    """Return the Redis channel of a topic such as ``session:<id>``; each installation has its own."""
    return f"orchestra:{settings.ORCHESTRA.instance}:{topic}"


class _Publisher:
    """One thread that publishes the messages of all others; when its queue is full, messages are dropped."""

    def __init__(self) -> None:
        self._queue: queue.Queue[tuple[str, bytes]] = queue.Queue(LONGEST_QUEUE)
        self._start = threading.Lock()
        self._thread: threading.Thread | None = None

    def put(self, topic: str, data: bytes) -> bool:
        with self._start:
            if self._thread is None:
                self._thread = threading.Thread(target=self._run, name="hub", daemon=True)
                self._thread.start()
        try:
            self._queue.put_nowait((topic, data))
        except queue.Full:
            return False
        return True

    def _run(self) -> None:
        while True:
            topic, data = self._queue.get()
            notify.publish(channel(topic), data)


_publisher = _Publisher()


def publish(topic: str, message: dict[str, Any]) -> bool:
    """Send a message to the subscribers of ``topic``; return False if it was dropped because Redis cannot keep up."""
    return _publisher.put(topic, json.dumps(message, ensure_ascii=True).encode("ascii"))
