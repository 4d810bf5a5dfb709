"""The circuit breaker around the Bot API: pybreaker's states and one state for all processes.

pybreaker counts consecutive failures only, so this module adds the failure rate. Its ``call`` holds
a lock while the guarded function runs, so it receives finished outcomes only. The state is kept in
a `Lease` row: other processes and a restarted one read it there, and a conditional UPDATE reserves
the one probe after the pause.
"""

import logging
import threading
import time
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from datetime import UTC, datetime
from typing import Any

import pybreaker
from django.db import DatabaseError
from django.db.models import F
from django.db.models.functions import Now

from escalation.conf import BreakerSettings
from escalation.errors import CircuitOpen
from orchestra.models import Lease

logger = logging.getLogger(__name__)

NAME = "telegram.breaker"
CLOSED, OPEN, HALF_OPEN = pybreaker.STATE_CLOSED, pybreaker.STATE_OPEN, pybreaker.STATE_HALF_OPEN
OPEN_DETAIL = "Circuit breaker open"


class Breaker:
    """Call ``enter`` before a call and ``record`` after it. Safe from any thread."""

    def __init__(self, limits: BreakerSettings, *, owner: str, clock: Callable[[], float] = time.monotonic) -> None:
        self._limits = limits
        self._owner = owner
        self._clock = clock
        self._lock = threading.Lock()
        self._outcomes: deque[tuple[float, bool]] = deque()
        self._not_before = 0.0
        self._opened_at = _read_stored_state().get("opened_at")
        self._core = pybreaker.CircuitBreaker(
            fail_max=limits.consecutive_failures,
            reset_timeout=limits.pause.total_seconds(),
            throw_new_error_on_trip=False,
            state_storage=pybreaker.CircuitMemoryStorage(
                OPEN if _read_stored_state().get("state", CLOSED) != CLOSED else CLOSED
            ),
        )

    @property
    def state(self) -> str:
        """closed, open or half-open, as this process knows it."""
        return str(self._core.current_state)

    @property
    def probe_in_s(self) -> float:
        """Seconds until a probe is allowed; 0 while the breaker is closed."""
        return 0.0 if self.state == CLOSED else max(0.0, self._not_before - self._clock())

    def enter(self) -> bool:
        """Return False if the call may go ahead, True if the caller must probe first.

        Other calls wait for that probe.

        Raises:
            CircuitOpen: the breaker is open.
        """
        with self._lock:
            if self.state == CLOSED:
                return False
            if self.probe_in_s or not self._reserve_probe():
                raise CircuitOpen(OPEN_DETAIL)
            self._core.half_open()
            self._save_state()
            return True

    def record(self, *, failed: bool, probe: bool) -> None:
        """Record how a call ended.

        ``failed``: the network, a proxy or Telegram itself failed; a refusal is no failure.
        """
        with self._lock:
            before = self.state
            if before == OPEN or (before == HALF_OPEN and not probe):
                return  # a call that started before the breaker opened ended late
            self._feed_core(failed)
            self._outcomes.append((self._clock(), failed))
            if failed and self.state == CLOSED and self._is_failure_rate_exceeded():
                self._core.open()
            if self.state != before:
                self._record_transition(before)

    def _feed_core(self, failed: bool) -> None:
        def outcome() -> None:
            if failed:
                raise _Failure

        with suppress(_Failure, pybreaker.CircuitBreakerError):
            self._core.call(outcome)

    def _is_failure_rate_exceeded(self) -> bool:
        horizon = self._clock() - self._limits.window.total_seconds()
        while self._outcomes and self._outcomes[0][0] < horizon:
            self._outcomes.popleft()
        bad = sum(failed for _, failed in self._outcomes)
        total = len(self._outcomes)
        return total >= self._limits.minimum_calls and bad / total >= self._limits.failure_rate

    def _record_transition(self, before: str) -> None:
        """Log and save a new state.

        Only the first opening is critical, so failed probes raise no further alerts.
        """
        pause_s = self._limits.pause.total_seconds()
        if self.state == OPEN:
            self._not_before = self._clock() + pause_s
        if self.state == OPEN and before == HALF_OPEN:
            logger.info("the probe of the Bot API failed; the next one is in %g s", pause_s)
        elif self.state == OPEN:
            self._opened_at = datetime.now(UTC).isoformat()
            logger.critical("circuit breaker open: the Bot API fails; trying again in %g s", pause_s)
        else:
            self._opened_at = None
            self._outcomes.clear()  # failures before the recovery no longer count
            logger.warning("circuit breaker closed: the Bot API answers again")
        self._save_state()

    def _reserve_probe(self) -> bool:
        """Reserve the one probe of all processes. Without the database no process probes."""
        due = Lease.objects.filter(name=NAME, expires_at__lte=Now())
        try:
            won = due.update(owner=self._owner, fence=F("fence") + 1, expires_at=Now() + self._limits.pause)
        except DatabaseError:
            won = 0
        self._not_before = self._clock() + (0.0 if won else 1.0)
        return bool(won)

    def _save_state(self) -> None:
        facts = {"state": self.state, "failures": self._core.fail_counter, "opened_at": self._opened_at}
        due = None if self.state == CLOSED else Now() + self._limits.pause
        try:
            Lease.objects.update_or_create(
                name=NAME, defaults={"owner": self._owner, "expires_at": due, "state": facts, "updated_at": Now()}
            )
        except DatabaseError as error:
            logger.warning("the breaker's state was not saved: %s", type(error).__name__)


class _Failure(Exception):
    """Signals a failed outcome to pybreaker."""


def read_state(limits: BreakerSettings) -> dict[str, Any]:
    """Return the state of the breaker for diagnostics, from any process."""
    lease = Lease.objects.filter(name=NAME).first()
    state = lease.state if lease else {}
    return {
        "state": state.get("state", CLOSED),
        "failures": state.get("failures", 0),
        "opened_at": state.get("opened_at") if state.get("state", CLOSED) != CLOSED else None,
        "next_probe_at": lease.expires_at if lease else None,
        "thresholds": {
            "consecutive_failures": limits.consecutive_failures,
            "failure_rate": limits.failure_rate,
            "minimum_calls": limits.minimum_calls,
            "window_seconds": limits.window.total_seconds(),
            "break_seconds": limits.pause.total_seconds(),
        },
    }


def _read_stored_state() -> dict[str, Any]:
    """Return the last recorded state, or an empty dict."""
    return Lease.objects.filter(name=NAME).values_list("state", flat=True).first() or {}
