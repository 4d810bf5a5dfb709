"""When a cron line or an interval is due next.

Pure functions: they use no clock and no database.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import cache
from itertools import product
from typing import Any
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from celery.schedules import ParseException, crontab

LONGEST_AHEAD = timedelta(days=8 * 366 + 2)  # from one 29 February to the next, across 2100, which has none
MOST_COUNTED = 10_000


@dataclass(frozen=True, slots=True)
class CronLine:
    """The minutes, hours, days, months and weekdays that match; Sunday is 0."""

    minutes: frozenset[int]
    hours: frozenset[int]
    days: frozenset[int]
    months: frozenset[int]
    weekdays: frozenset[int]


@dataclass(frozen=True, slots=True, kw_only=True)
class When:
    """Either a cron line with its time zone, or an interval in seconds."""

    cron: str = ""
    every_s: int | None = None
    timezone: str = "UTC"


@cache
def cron_line(text: str) -> CronLine:
    """Parse a cron line of five fields: minute, hour, day of month, month, day of week (0 is
    Sunday).

    As in Celery, a day must match both the day of the month and the day of the week.

    Raises:
        ValueError: ``text`` is no such line.
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
        ValueError: no time zone has this name.
    """
    try:
        return ZoneInfo(name)
    except (ZoneInfoNotFoundError, ValueError, OSError) as error:
        raise ValueError("There is no such time zone; an example is Europe/Berlin.") from error


def after(moment: datetime, when: When, *, last: datetime | None = None) -> datetime | None:
    """The first due time after ``moment``, in UTC; None if there is none.

    An interval counts from ``last`` if given, so that it does not drift, otherwise from ``moment``.
    """
    if when.every_s is not None:
        start, every = last or moment, timedelta(seconds=when.every_s)
        return start + every * (max(0, (moment - start) // every) + 1)
    return next(_times(moment, cron_line(when.cron), zone(when.timezone)), None)


def passed(first: datetime, now: datetime, when: When) -> tuple[int, datetime]:
    """The number of due times from ``first`` to ``now``, both included, and the last of them."""
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
    """Due times after ``moment``.

    An hour that daylight saving time skips has none; a repeated hour counts once.
    """
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
