"""Periods, figures and plots of the statistics page, and the formatting of their values.

All values are counted from the database over a period that ends now, in UTC. The queries of a
chapter read a bounded number of rows, however large the tables are.
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

from django.db import connection
from django.utils import timezone


@dataclass(frozen=True, slots=True)
class Period:
    """The last ``count`` hours or days, including the current one."""

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
        return self.starts[0]

    @property
    def hourly(self) -> bool:
        """Whether the buckets are hours; otherwise they are days."""
        return self.step < timedelta(days=1)

    @property
    def labels(self) -> list[str]:
        """The label of each hour or day on the axis of a plot."""
        if self.hourly:
            return [f"{start:%H}:00" for start in self.starts]
        return [f"{start:%a}" if self.count <= 7 else f"{start.day} {start:%b}" for start in self.starts]

    def bucket(self, column: str) -> str:
        """Return an SQL expression for the hour or day of ``column``, which ``slot`` converts to an
        index.
        """
        if connection.vendor == "postgresql":
            return f"date_trunc('{'hour' if self.hourly else 'day'}', {column} AT TIME ZONE 'UTC')"
        return f"substr({column}, 1, {13 if self.hourly else 10})"  # SQLite keeps text: 2026-11-25 08:10:36.5

    def slot(self, found: datetime | str) -> int | None:
        """Return the index in ``starts`` for a value of ``bucket``, or None if it is outside the
        period.
        """
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
    """A number with its label; ``small`` is a remark beside it."""

    word: str
    value: str
    small: str = ""


@dataclass(frozen=True, slots=True)
class Series:
    """A line or a colour of a plot. A value is None where there are no data; ``shown`` are the
    formatted values.
    """

    name: str
    values: list[float | None]
    shown: list[str]


@dataclass(frozen=True, slots=True)
class Plot:
    """A plot, a sentence that summarizes it, and its numbers as a table.

    ``kind`` is "steps", "bars" (stacked) or "lines"; ``unit`` is "count", "seconds" or "dollars".
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
        """The rows of the table: a label and, for each series, the value and its formatted text."""
        return [
            (label, [(one.values[place], one.shown[place]) for one in self.series])
            for place, label in enumerate(self.labels)
        ]

    @property
    def empty(self) -> bool:
        """Whether all values are zero or missing."""
        return not any(value for one in self.series for value in one.values)


@dataclass(frozen=True, slots=True)
class Chapter:
    """The statistics of one app: figures, plots, and optionally a template with its context below
    them.
    """

    figures: list[Figure] = field(default_factory=list)
    plots: list[Plot] = field(default_factory=list)
    template: str = ""
    context: dict[str, Any] = field(default_factory=dict)


def period_of(key: str) -> Period:
    """Return the period with this key, or the default period for an unknown key."""
    key = key if key in PERIODS else USUAL
    return Period(key, *PERIODS[key])


def rows(statement: str, *values: object) -> list[tuple[Any, ...]]:
    """Run a query and return all rows; datetimes in ``values`` are converted for the database."""
    adapt = connection.ops.adapt_datetimefield_value
    with connection.cursor() as cursor:
        given: list[Any] = [adapt(value) if isinstance(value, datetime) else value for value in values]
        cursor.execute(statement, given)
        return list(cursor.fetchall())


def format_values(values: list[float | None], shown: Callable[[float], str]) -> list[str]:
    """Format each value with ``shown``; a missing value becomes "none"."""
    return ["none" if value is None else shown(value) for value in values]


def format_duration(seconds: float) -> str:
    """Return a duration as text: 0.4 s, 48 s, 3:55 min, 1 h 10 min."""
    if seconds < 10:
        return f"{seconds:.1f} s"
    if seconds < 60:
        return f"{seconds:.0f} s"
    minutes, rest = divmod(round(seconds), 60)
    if minutes < 60:
        return f"{minutes}:{rest:02d} min"
    return f"{minutes // 60} h {minutes % 60} min"
