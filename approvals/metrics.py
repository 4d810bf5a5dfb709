"""Figures about people's answers: tallies plus what no sweep has counted yet, in one statement.

A scrape never counts: a closed approval is ``counted`` by the sweep alone, in the transaction that raises the
tallies, so each is in exactly one of the two at any moment.
"""

from bisect import bisect_left
from collections import defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

from django.conf import settings
from django.db import connection, transaction
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily, Metric

from approvals.models import Approval, Door
from orchestra import leases
from orchestra.metrics import Series, add_to_tallies, counter

S = Approval.Status
TIMEOUT_SERVICE = "approval_timeout_service"
BATCH = 1000
BUCKETS_S = (1, 5, 10, 30, 60, 120, 300, 600, 900, 1800, 3600, 7200)
EDGES = (*(str(float(edge)) for edge in BUCKETS_S), "+Inf")  # as Prometheus writes them

ACCEPTED = "escalation_approvals_accepted_total"
REJECTED = "escalation_approvals_rejected_total"
TIMED_OUT = "escalation_approvals_timeout_total"
DEQUEUED = "escalation_queue_dequeue_total"
ENQUEUED = "escalation_queue_enqueue_total"
RESPONSE = "escalation_response_time_seconds"
POLICY = "policy_answers_total"
Totals = defaultdict[Series, float]
BY_STATUS: dict[str, str] = {S.APPROVED: ACCEPTED, S.REJECTED: REJECTED, S.EXPIRED: TIMED_OUT}


@dataclass(frozen=True, slots=True)
class Closed:
    """``number`` approvals with one status, closed within one bucket of time; ``seconds`` in all."""

    status: str
    by_policy: bool
    bucket: int
    number: int
    seconds: float


@dataclass(frozen=True, slots=True)
class Figures:
    """One consistent look: what was counted and closed, and what is open by risk."""

    totals: Totals
    open_by_risk: dict[str, int]


def count_closed() -> int:
    """Move closed approvals into the tallies, a batch a transaction; return how many.

    Safe to run twice at once: a row changes from uncounted to counted in one UPDATE only.
    """
    total = 0
    while counted := _count_batch():
        total += counted
    return total


def figures() -> Figures:
    """Tallies, uncounted closed and open approvals, read in one statement and so of one moment."""
    with connection.cursor() as cursor:
        cursor.execute(_scrape_sql(), [Door.POLICY])
        rows = cursor.fetchall()
    totals = totals_of(
        Closed(status, who == "policy", bucket, number, seconds)
        for kind, status, who, bucket, number, seconds in rows
        if kind == "closed"
    )
    for kind, name, labels, _, _, value in rows:
        if kind == "tally":
            totals[name, labels] += value
    return Figures(totals, open_by_risk={risk: number for kind, risk, _, _, number, _ in rows if kind == "open"})


def totals_of(closed: Iterable[Closed]) -> Totals:
    """What closed approvals add to the counters. Policy answers never enter the figures about people.

    The response time is that of an answer, so expired and cancelled ones have none.
    """
    totals: Totals = defaultdict(float)
    for some in closed:
        if some.by_policy:
            totals[POLICY, f"verdict={some.status}"] += some.number
            continue
        totals[DEQUEUED, ""] += some.number
        if some.status in BY_STATUS:
            totals[BY_STATUS[some.status], ""] += some.number
        if some.status in (S.APPROVED, S.REJECTED):
            totals[f"{RESPONSE}_sum", ""] += some.seconds
            for edge in EDGES[some.bucket :]:
                totals[f"{RESPONSE}_bucket", f"le={edge}"] += some.number
    return totals


def families() -> Iterator[Metric]:
    """The business figures of the metrics page; every name is there from the first scrape."""
    now = figures()
    total = now.totals
    waiting = sum(now.open_by_risk.values())
    yield GaugeMetricFamily("escalation_queue_size", "Approvals that wait for a person.", value=waiting)
    # what was ever asked is what was closed and what is open, read in the same statement
    yield counter(ENQUEUED, "Approvals people were asked for.", total[DEQUEUED, ""] + waiting)
    yield counter(DEQUEUED, "Approvals closed, in any way.", total[DEQUEUED, ""])
    yield counter(ACCEPTED, "Approvals a person gave.", total[ACCEPTED, ""])
    yield counter(REJECTED, "Approvals a person refused.", total[REJECTED, ""])
    yield counter(TIMED_OUT, "Approvals nobody answered in time.", total[TIMED_OUT, ""])
    yield HistogramMetricFamily(
        RESPONSE,
        "Seconds from the question to a person's answer.",
        buckets=[(edge, total[f"{RESPONSE}_bucket", f"le={edge}"]) for edge in EDGES],
        sum_value=total[f"{RESPONSE}_sum", ""],
    )
    alive = leases.touched_within(TIMEOUT_SERVICE, 2 * settings.APPROVALS.check_interval)
    yield GaugeMetricFamily(
        "approval_timeout_service_health", "1 if an expiry sweep finished lately.", value=int(alive)
    )
    open_by_risk = GaugeMetricFamily("approvals_open", "Approvals that wait for a person, by risk.", labels=["risk"])
    for risk in Approval.Risk.values:
        open_by_risk.add_metric([risk], now.open_by_risk.get(risk, 0))
    yield open_by_risk
    by_policy = CounterMetricFamily(
        "policy_answers", "Questions a standing rule answered by itself.", labels=["verdict"]
    )
    for verdict in (S.APPROVED, S.REJECTED):
        by_policy.add_metric([verdict], total[POLICY, f"verdict={verdict}"])
    yield by_policy


@transaction.atomic
def _count_batch() -> int:
    postgres = connection.vendor == "postgresql"
    with connection.cursor() as cursor:
        cursor.execute(
            "UPDATE approvals SET counted = TRUE WHERE id IN ("  # noqa: S608 - constants only
            "SELECT id FROM approvals WHERE NOT counted AND NOT (status = 'pending') ORDER BY decided_at"
            f" LIMIT {BATCH}{' FOR UPDATE SKIP LOCKED' if postgres else ''})"
            f" AND NOT counted RETURNING status, decided_via, {_seconds_sql()}",
        )
        rows: list[tuple[Any, ...]] = cursor.fetchall()
    closed = [
        Closed(status, via == Door.POLICY, bisect_left(BUCKETS_S, seconds), 1, seconds)
        for status, via, seconds in ((status, via, float(seconds)) for status, via, seconds in rows)
    ]
    add_to_tallies(totals_of(closed))
    return len(rows)


def _scrape_sql() -> str:
    seconds = _seconds_sql()
    steps = " ".join(f"WHEN {seconds} <= {edge} THEN {place}" for place, edge in enumerate(BUCKETS_S))
    return (
        "SELECT 'tally', name, labels, 0, 0, value FROM tallies"  # noqa: S608 - constants only
        f" UNION ALL SELECT 'closed', status, CASE WHEN decided_via = %s THEN 'policy' ELSE 'person' END AS who,"
        f" CASE {steps} ELSE {len(BUCKETS_S)} END AS bucket, count(*), CAST(sum({seconds}) AS double precision)"
        " FROM approvals WHERE NOT counted AND NOT (status = 'pending') GROUP BY status, who, bucket"
        " UNION ALL SELECT 'open', risk, '', 0, count(*), 0 FROM approvals WHERE status = 'pending' GROUP BY risk"
    )


def _seconds_sql() -> str:
    if connection.vendor == "postgresql":
        return "EXTRACT(EPOCH FROM decided_at - created_at)"
    return "((julianday(decided_at) - julianday(created_at)) * 86400.0)"
