"""Metrics of people's decisions: the stored counters plus the rows not counted yet, read in one
statement.
"""

from collections import defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from django.conf import settings
from django.db import connection, transaction
from django.db.models import Count
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric

from approvals.models import Approval, DecisionSource
from orchestra.db import leases, sql
from orchestra.db.counters import Histogram, Totals, add_to_tallies, mark_counted, seconds_between
from orchestra.metrics.exposition import counter

TIMEOUT_SERVICE = "approval_timeout_service"
CLOSED = "NOT (status = 'pending')"  # as in the partial index, so that the database uses it
RESPONSE = Histogram(
    "escalation_response_time_seconds",
    "Seconds from the request to a person's decision.",
    (1, 5, 10, 30, 60, 120, 300, 600, 900, 1800, 3600, 7200),
)
AGES = {"0-1m": 60, "1-5m": 300, "5-15m": 900, "15-30m": 1800, "30m+": float("inf")}
AGE_NAMES = list(AGES)

ACCEPTED = "escalation_approvals_accepted_total"
REJECTED = "escalation_approvals_rejected_total"
TIMED_OUT = "escalation_approvals_timeout_total"
DEQUEUED = "escalation_queue_dequeue_total"
ENQUEUED = "escalation_queue_enqueue_total"
POLICY = "policy_answers_total"
VIOLATIONS = "approvals_violations_total"
BY_STATUS: dict[str, str] = {
    Approval.Status.APPROVED: ACCEPTED,
    Approval.Status.REJECTED: REJECTED,
    Approval.Status.EXPIRED: TIMED_OUT,
}


@dataclass(frozen=True, slots=True)
class Closed:
    """``number`` approvals with one status, closed within one bucket of the histogram.

    ``seconds`` is the sum of their response times.
    """

    status: str
    by_policy: bool
    bucket: int
    number: int
    seconds: float


@dataclass(frozen=True, slots=True)
class Open:
    """``number`` open approvals of one risk and age range; ``oldest`` is the age of the oldest in
    seconds.
    """

    risk: str
    age: str
    number: int
    oldest: float


@dataclass(frozen=True, slots=True)
class MetricsSnapshot:
    """What one statement read: counters with uncounted closes, open approvals, violations, and the
    stop (0 or 1).
    """

    totals: Totals
    open: list[Open]
    open_violations: int
    stopped: int


def count_closed() -> int:
    """Add closed approvals to the counters, one batch in each transaction; return how many."""
    total = 0
    while counted := _count_batch():
        total += counted
    return total


def read_snapshot() -> MetricsSnapshot:
    """Read all metrics in one statement, so that they are of one moment."""
    with connection.cursor() as cursor:
        cursor.execute(_scrape_sql(), [DecisionSource.POLICY])
        rows = cursor.fetchall()
    totals = totals_of(
        Closed(status, who == "policy", bucket, number, seconds)
        for kind, status, who, bucket, number, seconds in rows
        if kind == "closed"
    )
    for kind, name, labels, _, _, value in rows:
        if kind == "tally":
            totals[name, labels] += value
    waiting = [
        Open(risk, AGE_NAMES[age], number, oldest) for kind, risk, _, age, number, oldest in rows if kind == "open"
    ]
    open_violations = sum(number for kind, *_, number, _oldest in rows if kind == "violations")
    stopped = sum(number for kind, *_, number, _oldest in rows if kind == "stopped")
    return MetricsSnapshot(totals, waiting, open_violations, stopped)


def totals_of(closed: Iterable[Closed]) -> Totals:
    """Return what closed approvals add to the counters. Decisions of the policy have a counter of
    their own.

    Only an approval or a rejection has a response time; expired and cancelled requests have none.
    """
    totals: Totals = defaultdict(float)
    for some in closed:
        if some.by_policy:
            totals[POLICY, f"verdict={some.status}"] += some.number
            continue
        totals[DEQUEUED, ""] += some.number
        if some.status in BY_STATUS:
            totals[BY_STATUS[some.status], ""] += some.number
        if some.status in (Approval.Status.APPROVED, Approval.Status.REJECTED):
            RESPONSE.add(totals, bucket=some.bucket, number=some.number, seconds=some.seconds)
    return totals


def families() -> Iterator[Metric]:
    """Yield the metric families of approvals; every name is present from the first scrape."""
    now = read_snapshot()
    total = now.totals
    waiting = sum(some.number for some in now.open)
    yield GaugeMetricFamily("escalation_queue_size", "Approvals that wait for a person.", value=waiting)
    # The number of requests ever made is closed plus open, read in the same statement.
    yield counter(ENQUEUED, "Approvals requested from people.", total[DEQUEUED, ""] + waiting)
    yield counter(DEQUEUED, "Approvals closed, in any way.", total[DEQUEUED, ""])
    yield counter(ACCEPTED, "Approvals that a person approved.", total[ACCEPTED, ""])
    yield counter(REJECTED, "Approvals that a person rejected.", total[REJECTED, ""])
    yield counter(TIMED_OUT, "Approvals that expired without a decision.", total[TIMED_OUT, ""])
    yield RESPONSE.family(total)
    alive = leases.was_touched_within(TIMEOUT_SERVICE, 2 * settings.APPROVALS.check_interval)
    yield GaugeMetricFamily(
        "approval_timeout_service_health", "1 if an expiry sweep finished within two intervals.", value=int(alive)
    )
    yield from _open_families(now.open)
    by_policy = CounterMetricFamily(
        "policy_answers", "Requests that a standing rule decided by itself.", labels=["verdict"]
    )
    for decision in (Approval.Status.APPROVED, Approval.Status.REJECTED):
        by_policy.add_metric([decision], total[POLICY, f"verdict={decision}"])
    yield by_policy
    yield counter(VIOLATIONS, "Tools that ran although no decision allowed it.", total[VIOLATIONS, ""])
    yield GaugeMetricFamily(
        "approvals_violations_open", "Violations that no administrator has acknowledged.", value=now.open_violations
    )
    yield GaugeMetricFamily("orchestra_stopped", "1 while all agents are stopped.", value=now.stopped)


def _open_families(waiting: list[Open]) -> Iterator[Metric]:
    numbers = {(some.risk, some.age): some.number for some in waiting}
    by_risk_and_age = GaugeMetricFamily(
        "approvals_open", "Approvals that wait for a person, by risk and age.", labels=["risk", "age"]
    )
    for risk in Approval.Risk.values:
        for age in AGES:
            by_risk_and_age.add_metric([risk, age], numbers.get((risk, age), 0))
    yield by_risk_and_age
    oldest = max((some.oldest for some in waiting), default=0)
    yield GaugeMetricFamily("approvals_oldest_seconds", "Age of the approval that waits longest.", value=oldest)
    if settings.METRICS.detailed:
        yield _open_by_tool()


def _open_by_tool() -> Metric:
    by_tool = GaugeMetricFamily("approvals_open_by_tool", "Approvals that wait for a person, by tool.", labels=["tool"])
    pending = Approval.objects.filter(status=Approval.Status.PENDING).order_by()
    for tool, number in pending.values_list("tool_name").annotate(number=Count("pk")):
        by_tool.add_metric([tool], number)
    return by_tool


@transaction.atomic
def _count_batch() -> int:
    columns = f"status, decided_via, {seconds_between('created_at', 'decided_at')}"
    rows = mark_counted("approvals", finished=CLOSED, by="decided_at", returning=columns)
    closed = [
        Closed(status, via == DecisionSource.POLICY, RESPONSE.bucket_index(float(seconds)), 1, float(seconds))
        for status, via, seconds in rows
    ]
    add_to_tallies(totals_of(closed))
    return len(rows)


def _scrape_sql() -> str:
    seconds = seconds_between("created_at", "decided_at")
    age = seconds_between("created_at", sql.now())
    steps = " ".join(f"WHEN {age} < {AGES[name]} THEN {place}" for place, name in enumerate(AGE_NAMES[:-1]))
    return (
        "SELECT 'tally', name, labels, 0, 0, value FROM tallies"  # noqa: S608 - constants only
        f" UNION ALL SELECT 'closed', status, CASE WHEN decided_via = %s THEN 'policy' ELSE 'person' END AS who,"
        f" {RESPONSE.bucket_index_sql(seconds)} AS bucket, count(*), CAST(sum({seconds}) AS double precision)"
        f" FROM approvals WHERE NOT counted AND {CLOSED} GROUP BY status, who, bucket"
        f" UNION ALL SELECT 'open', risk, '', CASE {steps} ELSE {len(AGE_NAMES) - 1} END AS age, count(*),"
        f" CAST(max({age}) AS double precision) FROM approvals WHERE status = 'pending' GROUP BY risk, age"
        " UNION ALL SELECT 'violations', '', '', 0, count(*), 0 FROM violations WHERE acknowledged_at IS NULL"
        " UNION ALL SELECT 'stopped', '', '', 0, count(*), 0 FROM stops WHERE lifted_at IS NULL"
    )
