"""Who of many supervisors in one process goes to the database next: who waits for an answer, then who came first.

Threads that all go at once make each other late: they share one interpreter and a few connections. An answer that waits
behind forty new questions is late for a person who is looking at it; a question is not.
"""

import heapq
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import count

URGENT, ORDINARY = 0, 1


class Turnstile:
    """At most ``places`` threads at once; not reentrant."""

    def __init__(self, places: int) -> None:
        self._free = places
        self._lock = threading.Lock()
        self._arrivals = count()
        self._queue: list[tuple[int, int, threading.Lock]] = []

    @contextmanager
    def place(self, urgency: int = ORDINARY) -> Iterator[None]:
        """Hold a place; wait for one if there is none."""
        gate = self._arrive(urgency)
        if gate is not None:
            gate.acquire()
        try:
            yield
        finally:
            self._leave()

    def _arrive(self, urgency: int) -> "threading.Lock | None":
        with self._lock:
            if self._free:
                self._free -= 1
                return None
            gate = threading.Lock()
            gate.acquire()
            heapq.heappush(self._queue, (urgency, next(self._arrivals), gate))
            return gate

    def _leave(self) -> None:
        with self._lock:
            if self._queue:
                heapq.heappop(self._queue)[-1].release()  # the place changes hands: nobody slips in between
            else:
                self._free += 1
