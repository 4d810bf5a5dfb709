"""Counters of Bot API calls. They are collected in memory and added to the tallies."""

import threading
from collections import defaultdict

from django.db import DatabaseError

from orchestra.db.counters import Histogram, Totals, add_to_tallies

REQUESTS = "telegram_api_requests_total"
FAILURES = "telegram_api_failures_total"
RETRIES = "telegram_api_retry_attempts_total"
DURATION = Histogram(
    "telegram_api_duration_seconds",
    "Seconds that calls to the Bot API took; long polls are not counted.",
    (0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30),
)


class CallCounters:
    """Counters in memory.

    ``flush`` adds them to the database every few seconds, and keeps them if that fails.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._totals: Totals = defaultdict(float)

    def record_call(self, seconds: float, *, failed: bool, is_long_poll: bool) -> None:
        """Count a finished call.

        The duration of a long poll is not recorded, because it shows nothing about Telegram.
        """
        with self._lock:
            self._totals[REQUESTS, ""] += 1
            self._totals[FAILURES, ""] += failed
            if not is_long_poll:
                DURATION.add(self._totals, bucket=DURATION.bucket_index(seconds), number=1, seconds=seconds)

    def record_retry(self) -> None:
        with self._lock:
            self._totals[RETRIES, ""] += 1

    def flush(self) -> bool:
        """Save the counts; return False if the database failed."""
        with self._lock:
            totals, self._totals = self._totals, defaultdict(float)
        try:
            add_to_tallies(totals)
        except DatabaseError:
            with self._lock:
                for series, amount in totals.items():
                    self._totals[series] += amount
            return False
        return True
