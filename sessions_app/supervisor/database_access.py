"""How the supervisors of one process share the database.

Threads that all use the database at once slow each other down: they share one interpreter and a few
connections. A decision that waits behind forty new approval requests is late for a person who looks
at it; a request is not. So a supervisor whose agent waits for a decision goes first; otherwise the
order of arrival counts.
"""

import heapq
import logging
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from enum import Enum
from itertools import count
from typing import Final, TypeVar
from uuid import UUID

from django.db import InterfaceError, OperationalError, connection

logger = logging.getLogger(__name__)

DATABASE_SLOTS = 4  # supervisors that use the database at once; see docs/performance.md
RETRY_S = 1.0
URGENT, ORDINARY = 0, 1

T = TypeVar("T")


class Unavailable(Enum):
    """The type of the value that stands for the result of a database that did not answer."""

    UNAVAILABLE = 0


UNAVAILABLE: Final = Unavailable.UNAVAILABLE


class PrioritySemaphore:
    """At most ``slots`` threads hold it at once. It is not reentrant."""

    def __init__(self, slots: int) -> None:
        self._free = slots
        self._lock = threading.Lock()
        self._arrivals = count()
        self._queue: list[tuple[int, int, threading.Lock]] = []

    @contextmanager
    def hold(self, priority: int = ORDINARY) -> Iterator[None]:
        """Hold a slot; wait for one if none is free."""
        turn = self._take_slot(priority)
        if turn is not None:
            turn.acquire()
        try:
            yield
        finally:
            self._pass_on_slot()

    def _take_slot(self, priority: int) -> "threading.Lock | None":
        """Take a free slot and return None, or return the lock that is released when a slot is
        passed on.
        """
        with self._lock:
            if self._free:
                self._free -= 1
                return None
            turn = threading.Lock()
            turn.acquire()
            heapq.heappush(self._queue, (priority, next(self._arrivals), turn))
            return turn

    def _pass_on_slot(self) -> None:
        with self._lock:
            if self._queue:
                heapq.heappop(self._queue)[-1].release()  # the slot changes hands, so that no newcomer takes it
            else:
                self._free += 1


database_semaphore = PrioritySemaphore(DATABASE_SLOTS)
"""Shared by all supervisors of this process."""


class DatabaseAccess:
    """The database as one supervisor uses it: in short units of work that may fail and are then
    tried again.
    """

    def __init__(self, session_id: UUID) -> None:
        self.session_id = session_id
        self.retry_at = float("inf")

    def run(self, work: Callable[[], T], *, is_urgent: bool) -> T | Unavailable:
        """Do one unit of work and close the connection; return UNAVAILABLE if the database did not
        answer.

        After a failure ``retry_at`` says when the caller should try again.
        """
        with database_semaphore.hold(URGENT if is_urgent else ORDINARY):
            try:
                return work()
            except (OperationalError, InterfaceError) as error:
                logger.warning("session %s: the database did not answer (%s)", self.session_id, type(error).__name__)
                self.retry_at = min(self.retry_at, time.monotonic() + RETRY_S)
                return UNAVAILABLE
            finally:
                connection.close()
