"""Periods, figures and plots of statistics, and how they are counted and worded.

Everything is counted from the database, over a period that ends now, in UTC. What a chapter reads is bounded, however
long the tables are.
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

from django.db import connection
from django.utils import timezone


@dataclass(frozen=True, slots=True)
class Period:
    """``count`` hours or days, the running one included; ``starts`` are their beginnings."""

    key: str
    word: str
    count: int
    step: timedelta
    now: datetime = field(default_factory=timezone.now)

    @property
    def starts(self) -> list[datetime]:
        """The beginning of each hour or day, oldest first."""
        last = self.now.astimezone(UTC).replace(minute=0, second=0, microsecond=0)
        last = last if self.hourly else last.replace(hour=0)
        return [last - self.step * back for back in range(self.count - 1, -1, -1)]

    @property
    def start(self) -> datetime:
        """When the period begins."""
        return self.starts[0]

    @property
    def hourly(self) -> bool:
        """Whether it is cut into hours, not days."""
        return self.step < timedelta(days=1)

    @property
    def labels(self) -> list[str]:
        """A short word for each hour or day."""
        if self.hourly:
            return [f"{start:%H}:00" for start in self.starts]
        return [f"{start:%a}" if self.count <= 7 else f"{start.day} {start:%b}" for start in self.starts]

    def bucket(self, column: str) -> str:
        """SQL: the hour or day that ``column`` lies in, as ``slot`` finds it again."""
        if connection.vendor == "postgresql":
            return f"date_trunc('{'hour' if self.hourly else 'day'}', {column} AT TIME ZONE 'UTC')"
        return f"substr({column}, 1, {13 if self.hourly else 10})"  # SQLite keeps text: 2026-11-25 08:10:36.5

    def slot(self, found: datetime | str) -> int | None:
        """The place among ``starts`` of what ``bucket`` found."""
        start = found if isinstance(found, datetime) else datetime.fromisoformat(found)
        place = (start.replace(tzinfo=UTC) - self.start) // self.step
        return place if 0 <= place < self.count else None


PERIODS = {
    "24h": ("24 hours", 24, timedelta(hours=1)),
    "7d": ("7 days", 7, timedelta(days=1)),
    "30d": ("30 days", 30, timedelta(days=1)),
}
USUAL = "7d"
LAST_DAY = "24h"


@dataclass(frozen=True, slots=True)
class Figure:
    """One number with its word; ``small`` is said beside it."""

    word: str
    value: str
    small: str = ""


@dataclass(frozen=True, slots=True)
class Series:
    """One line or one colour of a plot; a value is None where there is nothing to say. ``shown`` are their words."""

    name: str
    values: list[float | None]
    shown: list[str]


@dataclass(frozen=True, slots=True)
class Plot:
    """A plot, the sentence that says the same, and its numbers as a table.

    ``kind`` is steps, bars (one on top of the other) or lines; ``unit`` is count, seconds or dollars.
    """

    key: str
    title: str
    sentence: str
    kind: str
    unit: str
    labels: list[str]
    series: list[Series]

    @property
    def rows(self) -> list[tuple[str, list[tuple[float | None, str]]]]:
        """The table: a label and, for each series, value and words."""
        return [
            (label, [(one.values[place], one.shown[place]) for one in self.series])
            for place, label in enumerate(self.labels)
        ]

    @property
    def empty(self) -> bool:
        """Whether there is nothing to draw."""
        return not any(value for one in self.series for value in one.values)


@dataclass(frozen=True, slots=True)
class Chapter:
    """What one app knows: figures, plots, and perhaps a part of its own below them (template and context)."""

    figures: list[Figure] = field(default_factory=list)
    plots: list[Plot] = field(default_factory=list)
    template: str = ""
    context: dict[str, Any] = field(default_factory=dict)


def period_of(key: str) -> Period:
    """The period of that name; the usual one for any other word."""
    key = key if key in PERIODS else USUAL
    return Period(key, *PERIODS[key])


def rows(statement: str, *values: object) -> list[tuple[Any, ...]]:
    """Everything ``statement`` finds; times among ``values`` as the database keeps them."""
    adapt = connection.ops.adapt_datetimefield_value
    with connection.cursor() as cursor:
        given: list[Any] = [adapt(value) if isinstance(value, datetime) else value for value in values]
        cursor.execute(statement, given)
        return list(cursor.fetchall())


def format_values(values: list[float | None], shown: Callable[[float], str]) -> list[str]:
    """Words for each value; "none" where there is none."""
    return ["none" if value is None else shown(value) for value in values]


def format_duration(seconds: float) -> str:
    """A short time as people say it: 0.4 s, 48 s, 3:55 min, 1 h 10 min."""
    if seconds < 10:
        return f"{seconds:.1f} s"
    if seconds < 60:
        return f"{seconds:.0f} s"
    minutes, rest = divmod(round(seconds), 60)
    if minutes < 60:
        return f"{minutes}:{rest:02d} min"
    return f"{minutes // 60} h {minutes % 60} min"
