"""Counters that outlive the rows they were counted from.

A finished row carries ``counted = false`` until a sweep moves it into the tallies, both in one transaction; a scrape
is the tallies plus the uncounted rows, read in one statement. So each row is in exactly one of the two, whichever
process finished it and whatever was restarted, and neither ever walks through all rows there are.
"""

from bisect import bisect_left
from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from django.db import connection
from prometheus_client.core import HistogramMetricFamily

BATCH = 1000

Series = tuple[str, str]
"""Name and labels of a ``Tally``."""
Totals = defaultdict[Series, float]


@dataclass(frozen=True, slots=True)
class Histogram:
    """A histogram of seconds in the tallies: ``<name>_bucket`` with ``le=<edge>``, and ``<name>_sum``."""

    name: str
    description: str
    edges_s: tuple[float, ...]

    @property
    def labels(self) -> tuple[str, ...]:
        """The edges as Prometheus writes them."""
        return (*(str(float(edge)) for edge in self.edges_s), "+Inf")

    def bucket_index(self, seconds: float) -> int:
        """Which bucket is the smallest that holds ``seconds``."""
        return bisect_left(self.edges_s, seconds)

    def bucket_index_sql(self, seconds: str) -> str:
        """SQL that says the same of an SQL expression."""
        steps = " ".join(f"WHEN {seconds} <= {edge} THEN {bucket}" for bucket, edge in enumerate(self.edges_s))
        return f"CASE {steps} ELSE {len(self.edges_s)} END"

    def add(self, totals: Totals, *, bucket: int, number: float, seconds: float) -> None:
        """Note ``number`` observations of one bucket; ``seconds`` is their sum."""
        totals[f"{self.name}_sum", ""] += seconds
        for edge in self.labels[bucket:]:
            totals[f"{self.name}_bucket", f"le={edge}"] += number

    def family(self, totals: Totals) -> HistogramMetricFamily:
        """What the metrics page shows of it."""
        buckets = [(edge, totals[f"{self.name}_bucket", f"le={edge}"]) for edge in self.labels]
        return HistogramMetricFamily(
            self.name, self.description, buckets=buckets, sum_value=totals[f"{self.name}_sum", ""]
        )


def add_to_tallies(amounts: Mapping[Series, float]) -> None:
    """Raise the counters, in the caller's transaction; in one order for all, so that two callers cannot deadlock."""
    if not amounts:
        return
    rows = [(name, labels, amount) for (name, labels), amount in sorted(amounts.items())]
    places = ", ".join(["(%s, %s, %s)"] * len(rows))
    with connection.cursor() as cursor:
        cursor.execute(
            f"INSERT INTO tallies (name, labels, value) VALUES {places}"  # noqa: S608 - placeholders only
            " ON CONFLICT (name, labels) DO UPDATE SET value = tallies.value + excluded.value",
            [value for row in rows for value in row],
        )


def mark_counted(table: str, *, finished: str, by: str, returning: str) -> list[tuple[Any, ...]]:
    """Mark a batch of finished rows of ``table`` as counted, oldest first, and return what is to be counted.

    In the caller's transaction. Safe to run twice at once: a row changes from uncounted to counted in one UPDATE
    only. ``finished`` is the SQL of the partial index over uncounted rows, ``by`` its column.
    """
    skip = " FOR UPDATE SKIP LOCKED" if connection.vendor == "postgresql" else ""
    with connection.cursor() as cursor:
        cursor.execute(
            f"UPDATE {table} SET counted = TRUE WHERE id IN ("  # noqa: S608 - constants only
            f"SELECT id FROM {table} WHERE NOT counted AND {finished} ORDER BY {by} LIMIT {BATCH}{skip})"
            f" AND NOT counted RETURNING {returning}",
        )
        rows: list[tuple[Any, ...]] = cursor.fetchall()
    return rows


def seconds_between(start: str, end: str) -> str:
    """SQL for the seconds between two columns."""
    if connection.vendor == "postgresql":
        return f"EXTRACT(EPOCH FROM {end} - {start})"
    return f"((julianday({end}) - julianday({start})) * 86400.0)"
