"""What was counted about calls to the Bot API, on its way to the tallies, which outlive every process."""

import threading
from bisect import bisect_left
from collections import defaultdict

from django.db import DatabaseError

from orchestra.metrics import Series, add_to_tallies

REQUESTS = "telegram_api_requests_total"
FAILURES = "telegram_api_failures_total"
RETRIES = "telegram_api_retry_attempts_total"
DURATION = "telegram_api_duration_seconds"
BUCKETS_S = (0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30)
EDGES = (*(str(float(edge)) for edge in BUCKETS_S), "+Inf")  # as Prometheus writes them


class Figures:
    """Counts in memory; ``flush`` moves them into the database every few seconds, and loses none if it cannot."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._counts: defaultdict[Series, float] = defaultdict(float)

    def called(self, seconds: float, *, failed: bool, waits: bool) -> None:
        """A call ended. Its duration says something about Telegram, unless it ``waits`` there for news."""
        with self._lock:
            self._counts[REQUESTS, ""] += 1
            if failed:
                self._counts[FAILURES, ""] += 1
            if not waits:
                self._counts[f"{DURATION}_sum", ""] += seconds
                for edge in EDGES[bisect_left(BUCKETS_S, seconds) :]:
                    self._counts[f"{DURATION}_bucket", f"le={edge}"] += 1

    def repeated(self) -> None:
        """A call is made once more."""
        with self._lock:
            self._counts[RETRIES, ""] += 1

    def flush(self) -> bool:
        """Whether everything counted so far is in the database."""
        with self._lock:
            counts, self._counts = self._counts, defaultdict(float)
        try:
            add_to_tallies(counts)
        except DatabaseError:
            with self._lock:
                for series, amount in counts.items():
                    self._counts[series] += amount
            return False
        return True
