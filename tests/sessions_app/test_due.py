"""When a cron line or an interval is due."""

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sessions_app.schedules.due import When, after, cron_line, passed, zone

NOON = datetime(2026, 11, 25, 12, 0, tzinfo=UTC)  # a Wednesday


def at(text: str) -> datetime:
    return datetime.fromisoformat(text).replace(tzinfo=UTC)


@pytest.mark.parametrize(
    ("line", "then"),
    [
        ("* * * * *", "2026-11-25T12:01"),
        ("0 12 * * *", "2026-11-26T12:00"),
        ("15 3 * * 1-5", "2026-11-26T03:15"),
        ("0 9 * * 6,0", "2026-11-28T09:00"),
        ("0 9 * * 0", "2026-11-29T09:00"),
        ("*/20 * * * *", "2026-11-25T12:20"),
        ("0 0 1 1 *", "2027-01-01T00:00"),
        ("0 0 29 2 *", "2028-02-29T00:00"),
        ("0 0 13 * 5", "2027-08-13T00:00"),  # both must fit
    ],
)
def test_the_next_time_of_a_cron_line(line: str, then: str) -> None:
    assert after(NOON, When(cron=line)) == at(then)


def test_the_rarest_day_there_is_comes() -> None:
    assert after(at("2096-03-01T00:00"), When(cron="0 0 29 2 *")) == at("2104-02-29T00:00")


def test_wall_clocks_are_those_of_the_zone() -> None:
    berlin = When(cron="0 9 * * *", timezone="Europe/Berlin")
    assert after(at("2026-07-01T00:00"), berlin) == at("2026-07-01T07:00")
    assert after(at("2026-12-01T00:00"), berlin) == at("2026-12-01T08:00")


def test_an_hour_that_is_skipped_in_spring_is_not_due_and_one_that_comes_twice_is_due_once() -> None:
    half_past_two = When(cron="30 2 * * *", timezone="Europe/Berlin")
    assert after(at("2026-03-28T12:00"), half_past_two) == at("2026-03-30T00:30")
    first = after(at("2026-10-24T12:00"), half_past_two)
    assert first == at("2026-10-25T00:30")
    assert after(first, half_past_two) == at("2026-10-26T01:30")


@pytest.mark.parametrize(
    "line", ["", "x", "* * * *", "60 * * * *", "* * * * * *", "0 0 * * 8-9", "@daily", "*/0 * * * *"]
)
def test_what_is_no_cron_line_is_refused(line: str) -> None:
    with pytest.raises(ValueError):
        cron_line(line)


@pytest.mark.parametrize("name", ["", "Mars/Olympus", "../../etc/passwd", "Europe"])
def test_what_is_no_zone_is_refused(name: str) -> None:
    with pytest.raises(ValueError):
        zone(name)


@given(st.integers(60, 10**6), st.integers(0, 10**7))
def test_an_interval_never_drifts_and_counts_what_passed(every: int, waited: int) -> None:
    when, first = When(every_s=every), NOON
    now = first + timedelta(seconds=waited)
    number, last = passed(first, now, when)
    following = after(now, when, last=first)
    assert following is not None
    assert (following - first) % timedelta(seconds=every) == timedelta(0)
    assert last <= now < following == last + timedelta(seconds=every)
    assert number == waited // every + 1


def test_passed_times_of_a_cron_line_are_counted() -> None:
    assert passed(NOON, at("2026-11-25T15:30"), When(cron="0 * * * *")) == (4, at("2026-11-25T15:00"))
    assert passed(NOON, NOON, When(cron="0 * * * *")) == (1, NOON)
