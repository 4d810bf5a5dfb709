"""Waiting for notifications on an event loop, without holding a thread or a database connection."""

import asyncio
import contextlib
import threading
from collections import defaultdict
from collections.abc import Callable, Iterator
from typing import ParamSpec, TypeVar

from asgiref.sync import SyncToAsync, sync_to_async
from django.db import connections

from orchestra.db import notify

P = ParamSpec("P")
R = TypeVar("R")


class Wakeup:
    """An event that any thread may set and one coroutine waits for.

    A ``set`` before the ``wait`` is kept, so the wait returns at once.
    """

    def __init__(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._is_set = asyncio.Event()

    def set(self) -> None:
        """Wake the waiter, from any thread; do nothing if its loop has ended."""
        with contextlib.suppress(RuntimeError):
            self._loop.call_soon_threadsafe(self._is_set.set)

    async def wait(self, timeout_s: float) -> None:
        """Wait until the event is set, for at most ``timeout_s``.

        The caller reads the rows in either case, because a notification may be lost.
        """
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(self._is_set.wait(), timeout_s)
        self._is_set.clear()


_wakeups: dict[tuple[str, str], set[Wakeup]] = defaultdict(set)
_lock = threading.Lock()
_listening = threading.Event()


@contextlib.contextmanager
def listening(topic: str, key: str) -> Iterator[Wakeup]:
    """Yield a wakeup that is set by every notification for ``key`` of ``topic``.

    The caller reads the rows once inside the ``with``, before the first wait; otherwise it misses
    a change that was committed before it listened.
    """
    wakeup = Wakeup()
    with _lock:
        _wakeups[topic, key].add(wakeup)
        if not _listening.is_set():
            notify.listener.add(_on_notification)
            _listening.set()
    try:
        yield wakeup
    finally:
        with _lock:
            _wakeups[topic, key].discard(wakeup)
            if not _wakeups[topic, key]:
                del _wakeups[topic, key]


def _on_notification(topic: str, key: str) -> None:
    with _lock:
        wakeups = list(_wakeups.get((topic, key), ()))
    for wakeup in wakeups:
        wakeup.set()


async def in_thread(work: Callable[P, R], *args: P.args, **kwargs: P.kwargs) -> R:
    """Run a short unit of database work on one of the process's shared threads."""
    return await sync_to_async(_returning_connections(work), thread_sensitive=False)(*args, **kwargs)


async def in_request_thread(work: Callable[P, R], *args: P.args, **kwargs: P.kwargs) -> R:
    """Run a short unit of database work on the request's own thread, and release that thread."""
    try:
        return await sync_to_async(_returning_connections(work), thread_sensitive=True)(*args, **kwargs)
    finally:
        release_request_thread()


def release_request_thread() -> None:
    """Release the thread that asgiref reserved for this request at its first synchronous step.

    asgiref would keep the thread until the request ends, although a waiting request does not use
    it. The next synchronous step of the request, if there is one, gets a new thread.
    """
    context = SyncToAsync.thread_sensitive_context.get(None)
    executor = SyncToAsync.context_to_thread_executor.pop(context, None) if context else None
    if executor:
        executor.shutdown(wait=False)


def _returning_connections(work: Callable[P, R]) -> Callable[P, R]:
    def unit(*args: P.args, **kwargs: P.kwargs) -> R:
        try:
            return work(*args, **kwargs)
        finally:
            for connection in connections.all(initialized_only=True):
                if not connection.in_atomic_block:  # a caller on this thread is still in its transaction
                    connection.close_if_unusable_or_obsolete()

    return unit
