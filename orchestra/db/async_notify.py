"""Waiting for a doorbell on an event loop; meanwhile neither a thread nor a database connection is held."""

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


class Bell:
    """Rings for one waiter; a ring that comes while nobody waits is kept."""

    def __init__(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._rung = asyncio.Event()

    def ring(self) -> None:
        """From any thread; a loop that has ended in the meantime does not mind."""
        with contextlib.suppress(RuntimeError):
            self._loop.call_soon_threadsafe(self._rung.set)

    async def wait(self, timeout_s: float) -> None:
        """Until the next ring, ``timeout_s`` at most: a ring is a hint, so look at the rows either way."""
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(self._rung.wait(), timeout_s)
        self._rung.clear()


_bells: dict[tuple[str, str], set[Bell]] = defaultdict(set)
_lock = threading.Lock()
_listening = threading.Event()


@contextlib.contextmanager
def listening(topic: str, key: str) -> Iterator[Bell]:
    """A bell for ``key`` of ``topic``. Look at the rows once after this, before the first wait."""
    bell = Bell()
    with _lock:
        _bells[topic, key].add(bell)
        if not _listening.is_set():
            notify.listener.add(_heard)
            _listening.set()
    try:
        yield bell
    finally:
        with _lock:
            _bells[topic, key].discard(bell)
            if not _bells[topic, key]:
                del _bells[topic, key]


def _heard(topic: str, key: str) -> None:
    with _lock:
        bells = list(_bells.get((topic, key), ()))
    for bell in bells:
        bell.ring()


async def in_thread(work: Callable[P, R], *args: P.args, **kwargs: P.kwargs) -> R:
    """A short unit of database work on one of the process's shared threads."""
    return await sync_to_async(_returning_connections(work), thread_sensitive=False)(*args, **kwargs)


async def in_request_thread(work: Callable[P, R], *args: P.args, **kwargs: P.kwargs) -> R:
    """A short unit of database work where Django would do it, leaving no idle thread behind."""
    try:
        return await sync_to_async(_returning_connections(work), thread_sensitive=True)(*args, **kwargs)
    finally:
        release_request_thread()


def release_request_thread() -> None:
    """Give back the thread that asgiref gave this request at its first synchronous step, usually a middleware's,
    and would keep to the request's end; the next such step, if any, gets a new one."""
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
                if not connection.in_atomic_block:  # a caller on this very thread keeps its own
                    connection.close_if_unusable_or_obsolete()

    return unit
