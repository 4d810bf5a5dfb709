"""Prometheus metrics of sessions and of the CLI processes.

A scrape counts open rows over partial indexes and reads ended runs from the counters. A sweep
counts the ended sessions, because a scrape must cost the same with a thousand sessions as with a
million.
"""

from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from django.db import connection, transaction
from django.db.models import Count, DurationField, Exists, ExpressionWrapper, F, OuterRef, QuerySet
from django.db.models.functions import Now
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric

from orchestra.db import leases
from orchestra.db.counters import Histogram, Totals, add_to_tallies, mark_counted, seconds_between
from orchestra.metrics.exposition import counter
from sessions_app.models import OPEN_SESSION, Agent, AgentSession, Run, Turn

COUNTS = "session_counts"
ENDED = "ended_at IS NOT NULL"  # worded like the condition of the partial index, which it needs to match
DURATION = Histogram(
    "agent_run_duration_seconds",
    "Seconds from the start of an agent's process to its end.",
    (1, 5, 15, 60, 300, 900, 3600, 14400),
)
RUNS = "agent_runs_total"
COST = "agent_cost_usd_total"
TOKENS = "agent_tokens_total"
USUAL_ENDS = ("completed", "parked", "interrupted", "cancelled", "lost")  # exported at zero from the first scrape
DIRECTIONS = ("input", "output")
CONSTANT_SERIES = ((COST, ""), *((TOKENS, f"direction={direction}") for direction in DIRECTIONS))


@dataclass(frozen=True, slots=True)
class Ended:
    """Sums over ``number`` processes that ended for the reason ``why`` within one bucket of the
    histogram.
    """

    why: str
    bucket: int
    number: int
    seconds: float
    cost_usd: float
    input_tokens: float
    output_tokens: float


def count_ended_runs() -> int:
    """Move ended runs into the counters, one batch per transaction; return how many."""
    total = 0
    while counted := _count_batch():
        total += counted
    return total


def count_sessions() -> dict[str, int]:
    """Count all sessions by status with an index scan, and store the result for the scrapes."""
    by_status = AgentSession.objects.order_by().values_list("status").annotate(number=Count("pk"))
    counts = dict(by_status)
    leases.write_state(COUNTS, counts)
    return counts


def families() -> Iterator[Metric]:
    """The metric families of this app; every name is exported from the first scrape."""
    yield from _session_families()
    totals = run_totals()
    yield DURATION.family(totals)
    runs = CounterMetricFamily("agent_runs", "Agents' processes that ended, by how.", labels=["ended"])
    ways = {labels for name, labels in totals if name == RUNS} | {f"ended={way}" for way in USUAL_ENDS}
    for labels in sorted(ways):
        runs.add_metric([labels.removeprefix("ended=")], totals[RUNS, labels])
    yield runs
    yield counter(COST, "US dollars agents have spent, as the CLI reports them.", totals[COST, ""])
    tokens = CounterMetricFamily("agent_tokens", "Tokens agents have used.", labels=["direction"])
    for direction in DIRECTIONS:
        tokens.add_metric([direction], totals[TOKENS, f"direction={direction}"])
    yield tokens
    yield _agents()


def run_totals() -> Totals:
    """Totals over all ended runs: the counters plus runs that no sweep has counted, from one
    snapshot.
    """
    seconds = seconds_between("created_at", "ended_at")
    names = [DURATION.name + "_sum", DURATION.name + "_bucket", RUNS, COST, TOKENS]
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT 'tally', name, labels, 0, 0, value, 0, 0, 0 FROM tallies"  # noqa: S608 - constants only
            f" WHERE name IN ({', '.join(['%s'] * len(names))})"
            f" UNION ALL SELECT 'ended', ended_why, '', {DURATION.bucket_index_sql(seconds)} AS bucket, count(*),"
            f" CAST(sum({seconds}) AS double precision), sum(cost_usd), sum(input_tokens), sum(output_tokens)"
            f" FROM runs WHERE NOT counted AND {ENDED} GROUP BY ended_why, bucket",
            names,
        )
        rows = cursor.fetchall()
    totals = totals_of(
        Ended(why, bucket, number, seconds, float(cost), float(tokens_in), float(tokens_out))
        for kind, why, _, bucket, number, seconds, cost, tokens_in, tokens_out in rows
        if kind == "ended"
    )
    for kind, name, labels, _, _, value, *_rest in rows:
        if kind == "tally":
            totals[name, labels] += value
    return totals


def totals_of(ended: Iterable[Ended]) -> Totals:
    """The increments of the counters for ended processes."""
    totals: Totals = defaultdict(float)
    for some in ended:
        totals[RUNS, f"ended={some.why}"] += some.number
        DURATION.add(totals, bucket=some.bucket, number=some.number, seconds=some.seconds)
        spent = (some.cost_usd, some.input_tokens, some.output_tokens)
        for series, amount in zip(CONSTANT_SERIES, spent, strict=True):
            totals[series] += amount
    return totals


def _session_families() -> Iterator[Metric]:
    sessions = GaugeMetricFamily("agent_sessions", "Sessions by status.", labels=["status"])
    ended = leases.read_state(COUNTS)
    for status in AgentSession.Status.values:
        now = _with(status).count() if status in OPEN_SESSION else ended.get(status, 0)
        sessions.add_metric([status], now)
    yield sessions
    live = Run.objects.filter(session=OuterRef("pk"), ended_at__isnull=True)
    parked = _with(AgentSession.Status.WAITING).filter(~Exists(live)).count()
    yield GaugeMetricFamily("agent_sessions_parked", "Waiting sessions that hold no process.", value=parked)
    processes = Run.objects.filter(ended_at__isnull=True).count()
    yield GaugeMetricFamily("agent_processes", "Agents' processes that run now.", value=processes)
    yield GaugeMetricFamily(
        "agent_queue_oldest_seconds", "Age of the oldest prompt that no worker has taken.", value=_longest_queued_s()
    )


def _agents() -> Metric:
    agents = GaugeMetricFamily("agents", "Agents found on the workers.", labels=["agent", "status"])
    found = Counter(Agent.objects.values_list("name", "status"))
    for name in sorted({"claude", "demo", *(name for name, _ in found)}):
        for status in Agent.Status.values:
            agents.add_metric([name, status], found[name, status])
    return agents


def _longest_queued_s() -> float:
    age = ExpressionWrapper(Now() - F("created_at"), output_field=DurationField())
    queued = Turn.objects.filter(status=Turn.Status.QUEUED).order_by("created_at")
    longest = queued.annotate(age=age).values_list("age", flat=True).first()
    return max(0.0, longest.total_seconds()) if longest else 0.0


def _with(status: str) -> QuerySet[AgentSession]:
    return AgentSession.objects.filter(status=status)


@transaction.atomic
def _count_batch() -> int:
    seconds = seconds_between("created_at", "ended_at")
    columns = f"ended_why, {seconds}, cost_usd, input_tokens, output_tokens"
    rows = mark_counted("runs", finished=ENDED, by="ended_at", returning=columns)
    add_to_tallies(
        totals_of(
            Ended(why, DURATION.bucket_index(float(seconds)), 1, float(seconds), cost, tokens_in, tokens_out)
            for why, seconds, cost, tokens_in, tokens_out in rows
        )
    )
    return len(rows)
