"""Counters that keep their values after retention has deleted the rows they were counted from.

A finished row has ``counted = false`` until a sweep adds it to the ``tallies`` table and marks it
as counted, in one transaction. A scrape returns the tallies plus the uncounted rows, read in one
statement. So each row is counted exactly once, whichever process finished it, and neither the sweep
nor a scrape reads all rows of the table.
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
"""The name and the labels of a ``Tally``."""
Totals = defaultdict[Series, float]


@dataclass(frozen=True, slots=True)
class Histogram:
    """A histogram of durations, kept as tallies ``<name>_bucket`` (label ``le=<edge>``) and
    ``<name>_sum``.

    ``edges_s`` are the upper bounds of the buckets in seconds, in rising order, without infinity.
    """

    name: str
    description: str
    edges_s: tuple[float, ...]

    @property
    def labels(self) -> tuple[str, ...]:
        """The upper bounds as Prometheus writes them, ``+Inf`` last."""
        return (*(str(float(edge)) for edge in self.edges_s), "+Inf")

    def bucket_index(self, seconds: float) -> int:
        """Return the index of the smallest bucket that includes ``seconds``."""
        return bisect_left(self.edges_s, seconds)

    def bucket_index_sql(self, seconds: str) -> str:
        """Return SQL for the bucket index of ``seconds``, which is an SQL expression."""
        steps = " ".join(f"WHEN {seconds} <= {edge} THEN {bucket}" for bucket, edge in enumerate(self.edges_s))
        return f"CASE {steps} ELSE {len(self.edges_s)} END"

    def add(self, totals: Totals, *, bucket: int, number: float, seconds: float) -> None:
        """Add ``number`` observations of one bucket to ``totals``; ``seconds`` is their sum."""
        totals[f"{self.name}_sum", ""] += seconds
        for edge in self.labels[bucket:]:
            totals[f"{self.name}_bucket", f"le={edge}"] += number

    def family(self, totals: Totals) -> HistogramMetricFamily:
        """Return the histogram in the form that ``/metrics`` exports."""
        buckets = [(edge, totals[f"{self.name}_bucket", f"le={edge}"]) for edge in self.labels]
        return HistogramMetricFamily(
            self.name, self.description, buckets=buckets, sum_value=totals[f"{self.name}_sum", ""]
        )


def add_to_tallies(amounts: Mapping[Series, float]) -> None:
    """Increase the counters, in the caller's transaction.

    Rows are always locked in the order of their names, so that two callers cannot deadlock.
    """
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
    """Mark the oldest finished rows of ``table`` as counted, at most ``BATCH``, and return the
    ``returning`` columns.

    It runs in the caller's transaction, which adds the returned values to the tallies. Two
    concurrent callers never get the same row. ``finished`` is the condition of the partial index
    over uncounted rows, and ``by`` is the column of that index.
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
    """Return an SQL expression for the seconds between two columns."""
    if connection.vendor == "postgresql":
        return f"EXTRACT(EPOCH FROM {end} - {start})"
    return f"((julianday({end}) - julianday({start})) * 86400.0)"
