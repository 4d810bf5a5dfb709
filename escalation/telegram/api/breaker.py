"""The circuit breaker around the Bot API: pybreaker's states, its own missing rule, one truth for all processes.

pybreaker counts consecutive failures only, so the failure rate is judged here; and its ``call`` holds a lock while the
guarded function runs, so it is shown finished outcomes only. The state is kept in a `Lease` row: other processes see
it, a restart finds it, and the one probe after the pause is reserved there by a conditional UPDATE.
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
    """Ask ``enter`` before a call and report how it ended; safe from any thread."""

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
        """Seconds until a probe makes sense; 0 if the way is free."""
        return 0.0 if self.state == CLOSED else max(0.0, self._not_before - self._clock())

    def enter(self) -> bool:
        """False: go ahead. True: go ahead with one probe, on whose end everybody waits.

        Raises:
            CircuitOpen: not now.
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
        """How a call ended: ``failed`` if the network, a proxy or Telegram itself did; no answer is a failure."""
        with self._lock:
            before = self.state
            if before == OPEN or (before == HALF_OPEN and not probe):
                return  # a late outcome of a call begun before it opened changes nothing
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
        """Critical is said once an opening, however many probes fail: who is woken by it is woken once."""
        pause_s = self._limits.pause.total_seconds()
        if self.state == OPEN:
            self._not_before = self._clock() + pause_s
        if self.state == OPEN and before == HALF_OPEN:
            logger.info("the probe of the Bot API failed, too; the next one is in %g s", pause_s)
        elif self.state == OPEN:
            self._opened_at = datetime.now(UTC).isoformat()
            logger.critical("circuit breaker open: the Bot API fails; trying again in %g s", pause_s)
        else:
            self._opened_at = None
            self._outcomes.clear()  # recovered: the bad window is forgotten
            logger.warning("circuit breaker closed: the Bot API answers again")
        self._save_state()

    def _reserve_probe(self) -> bool:
        """One for all processes; without the database nobody probes, and nobody would know what to send."""
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
            logger.warning("the breaker's state was not written down: %s", type(error).__name__)


class _Failure(Exception):
    """A failure, as pybreaker wants to see one."""


def read_state(limits: BreakerSettings) -> dict[str, Any]:
    """What every process can say about the breaker: the page, the probe and the admin read this."""
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
    """What any process wrote down last."""
    return Lease.objects.filter(name=NAME).values_list("state", flat=True).first() or {}
