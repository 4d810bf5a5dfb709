"""The circuit breaker: when it opens, who probes, and what others see of it."""

import logging
from dataclasses import replace
from datetime import timedelta

import pytest
from django.db.models.functions import Now

from escalation.conf import BreakerSettings
from escalation.errors import CircuitOpen, NotReached, Refused, TooManyRequests
from escalation.telegram.api import breaker
from escalation.telegram.api.breaker import Breaker
from escalation.telegram.api.client import BotApi
from orchestra.models import Lease
from tests.escalation.conftest import GROUP

LIMITS = BreakerSettings(
    consecutive_failures=5,
    failure_rate=0.5,
    minimum_calls=10,
    window=timedelta(seconds=60),
    pause=timedelta(seconds=30),
)


class Clock:
    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock():
    return Clock()


@pytest.fixture
def guard(db, clock):
    return Breaker(LIMITS, owner="me", clock=clock)


def outcomes(guard: Breaker, word: str) -> None:
    """ "f" for a failure, "s" for a success, in order."""
    for letter in word:
        guard.enter()
        guard.record(failed=letter == "f", probe=False)


def pause_is_over(clock: Clock) -> None:
    clock.now += 30
    Lease.objects.filter(name=breaker.NAME).update(expires_at=Now())


def test_five_failures_in_a_row_open_it_and_that_is_said(guard, caplog):
    outcomes(guard, "ffff")
    assert guard.state == breaker.CLOSED
    outcomes(guard, "f")
    assert guard.state == breaker.OPEN
    assert [(r.levelname, "circuit breaker open" in r.message) for r in caplog.records] == [("CRITICAL", True)]
    with pytest.raises(CircuitOpen, match="Circuit breaker open"):
        guard.enter()


def test_a_success_in_between_starts_the_count_again(guard):
    outcomes(guard, "ffffsffff")
    assert guard.state == breaker.CLOSED


def test_half_of_at_least_ten_calls_failing_opens_it(guard):
    outcomes(guard, "sfsfsfsfs")  # nine
    assert guard.state == breaker.CLOSED
    outcomes(guard, "f")  # five of ten
    assert guard.state == breaker.OPEN


def test_failures_are_forgotten_after_the_window(guard, clock):
    outcomes(guard, "sfsfsfsf")
    clock.now += 61
    outcomes(guard, "sfsfs")
    assert guard.state == breaker.CLOSED


def test_fewer_than_half_failing_keeps_it_closed(guard):
    outcomes(guard, "ssf" * 20)
    assert guard.state == breaker.CLOSED


def test_after_the_pause_one_probe_closes_it(guard, clock):
    outcomes(guard, "fffff")
    pause_is_over(clock)
    assert guard.enter() is True
    assert guard.state == breaker.HALF_OPEN
    with pytest.raises(CircuitOpen):
        guard.enter()
    guard.record(failed=False, probe=True)
    assert guard.state == breaker.CLOSED
    assert guard.enter() is False


def test_a_probe_that_fails_opens_it_for_another_pause(guard, clock):
    outcomes(guard, "fffff")
    pause_is_over(clock)
    guard.enter()
    guard.record(failed=True, probe=True)
    assert guard.state == breaker.OPEN
    assert guard.probe_in_s == 30
    with pytest.raises(CircuitOpen):
        guard.enter()


def test_it_is_said_once_an_opening_however_many_probes_fail(guard, clock, caplog):
    caplog.set_level(logging.INFO)
    outcomes(guard, "fffff")
    opened_at = breaker.read_state(LIMITS)["opened_at"]
    for _ in range(3):
        pause_is_over(clock)
        guard = Breaker(LIMITS, owner="me", clock=clock)  # a restart in between is no new opening either
        guard.enter()
        guard.record(failed=True, probe=True)
    alarms = [r.levelname for r in caplog.records if "circuit breaker open" in r.message]
    assert alarms == ["CRITICAL"]
    assert [r.levelname for r in caplog.records if "probe" in r.message] == ["INFO"] * 3
    assert breaker.read_state(LIMITS)["opened_at"] == opened_at
    pause_is_over(clock)
    guard.enter()
    guard.record(failed=False, probe=True)
    outcomes(guard, "fffff")
    assert breaker.read_state(LIMITS)["opened_at"] > opened_at
    assert sum("circuit breaker open" in r.message for r in caplog.records) == 2


def test_a_late_outcome_of_a_call_begun_before_does_not_pass_for_the_probe(guard, clock):
    outcomes(guard, "fffff")
    pause_is_over(clock)
    guard.enter()
    guard.record(failed=False, probe=False)
    assert guard.state == breaker.HALF_OPEN


def test_of_two_processes_one_probes(guard, clock, db):
    outcomes(guard, "fffff")
    other = Breaker(LIMITS, owner="other", clock=clock)
    assert other.state == breaker.OPEN  # a restart finds the state
    pause_is_over(clock)
    assert other.enter() is True
    with pytest.raises(CircuitOpen):
        guard.enter()


def test_a_probe_whose_process_died_is_made_by_the_next(guard, clock, db):
    outcomes(guard, "fffff")
    pause_is_over(clock)
    Breaker(LIMITS, owner="dies", clock=clock).enter()
    pause_is_over(clock)
    assert guard.enter() is True


def test_every_process_sees_the_state(guard, clock):
    assert breaker.read_state(LIMITS)["state"] == "closed"
    outcomes(guard, "fffff")
    told = breaker.read_state(LIMITS)
    assert (told["state"], told["failures"]) == ("open", 5)
    assert told["opened_at"]
    assert told["next_probe_at"]
    pause_is_over(clock)
    guard.enter()
    assert breaker.read_state(LIMITS)["state"] == "half-open"
    guard.record(failed=False, probe=True)
    assert breaker.read_state(LIMITS)["opened_at"] is None


# --- around the client


@pytest.fixture
def guarded(configured, db):
    limits = replace(configured.breaker, pause=timedelta(seconds=0.3))
    once = replace(configured, retries=0, breaker=limits)
    return BotApi(once, breaker=Breaker(limits, owner="me"))


def call(api: BotApi) -> object:
    return api.call("getChat", chat_id=GROUP)


def test_an_open_breaker_makes_no_request_and_one_getme_probes(guarded, telegram):
    telegram.outage("html")
    for _ in range(5):
        with pytest.raises(NotReached):
            call(guarded)
    with pytest.raises(CircuitOpen):
        call(guarded)
    assert len(telegram.calls()) == 5
    telegram.outage(None)
    guarded.stop.wait(0.4)
    assert call(guarded)
    assert [c.method for c in telegram.calls()[5:]] == ["getMe", "getChat"]


def test_refusals_and_floods_are_no_failures_of_telegram(guarded, telegram, caplog):
    telegram.inject("error", count=6, status=400, description="Bad Request: message is too long")
    for _ in range(6):
        with pytest.raises(Refused):
            guarded.call("getMe")
    for _ in range(6):
        telegram.inject("flood", seconds=1, method="getMe")
        with pytest.raises(TooManyRequests):
            guarded.call("getMe")
    assert guarded.breaker.state == breaker.CLOSED
    with caplog.at_level(logging.INFO):
        assert guarded.call("getMe")
