"""When something is due next, by a cron line or an interval. Pure: no clock, no database."""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import cache
from itertools import product
from typing import Any
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from celery.schedules import ParseException, crontab

LONGEST_AHEAD = timedelta(days=8 * 366 + 2)  # 29 February across a year that leaps no leap, such as 2100
MOST_COUNTED = 10_000


@dataclass(frozen=True, slots=True)
class CronLine:
    """Which minutes, hours and so on fit; Sunday is 0."""

    minutes: frozenset[int]
    hours: frozenset[int]
    days: frozenset[int]
    months: frozenset[int]
    weekdays: frozenset[int]


@dataclass(frozen=True, slots=True, kw_only=True)
class When:
    """Either a cron line, in a time zone, or an interval in seconds."""

    cron: str = ""
    every_s: int | None = None
    timezone: str = "UTC"


@cache
def cron_line(text: str) -> CronLine:
    """A cron line of five fields: minute, hour, day of month, month, day of week (0 is Sunday).

    As Celery reads it: a day must fit both the day of the month and the day of the week.

    Raises:
        ValueError: it is none.
    """
    try:
        read: Any = crontab.from_string(text)
        parts = (read.minute, read.hour, read.day_of_month, read.month_of_year, read.day_of_week)
        return CronLine(*(frozenset(part) for part in parts))
    except (ParseException, TypeError, ValueError, KeyError, IndexError, AttributeError) as error:
        raise ValueError(f"This is no cron line of five fields: {error}") from error


def zone(name: str) -> ZoneInfo:
    """
    Raises:
        ValueError: there is no such time zone.
    """
    try:
        return ZoneInfo(name)
    except (ZoneInfoNotFoundError, ValueError, OSError) as error:
        raise ValueError("There is no such time zone; an example is Europe/Berlin.") from error


def after(moment: datetime, when: When, *, last: datetime | None = None) -> datetime | None:
    """The first time after ``moment`` that is due, in UTC; None if there is none.

    An interval counts from ``last``, so that it does not drift; without one from ``moment``.
    """
    if when.every_s is not None:
        start, every = last or moment, timedelta(seconds=when.every_s)
        return start + every * (max(0, (moment - start) // every) + 1)
    return next(_times(moment, cron_line(when.cron), zone(when.timezone)), None)


def passed(first: datetime, now: datetime, when: When) -> tuple[int, datetime]:
    """How many times from ``first`` on, itself included, are not after ``now``, and the last of them."""
    if when.every_s is not None:
        every = timedelta(seconds=when.every_s)
        more = max(0, (now - first) // every)
        return more + 1, first + every * more
    number, last = 1, first
    for moment in _times(first, cron_line(when.cron), zone(when.timezone)):
        if moment > now or number == MOST_COUNTED:
            break
        number, last = number + 1, moment
    return number, last


def _times(moment: datetime, line: CronLine, where: ZoneInfo) -> Iterator[datetime]:
    """Times after ``moment``. An hour that a clock skips in spring is left out; one that comes twice counts once."""
    local = moment.astimezone(where)
    day, end = local.date(), moment + LONGEST_AHEAD
    clock = [(hour, minute) for hour, minute in product(sorted(line.hours), sorted(line.minutes))]
    while datetime(day.year, day.month, day.day, tzinfo=UTC) < end:
        weekday = day.isoweekday() % 7
        if day.month in line.months and day.day in line.days and weekday in line.weekdays:
            for hour, minute in clock:
                wall = datetime(day.year, day.month, day.day, hour, minute, tzinfo=where)
                real = wall.astimezone(UTC)
                if real > moment and real.astimezone(where).replace(tzinfo=None) == wall.replace(tzinfo=None):
                    yield real
        day += timedelta(days=1)
