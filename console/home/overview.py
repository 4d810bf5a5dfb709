"""Queries of the home page. Their number does not depend on the number of rows."""

from collections import Counter
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from django.conf import settings
from django.db.models import OuterRef, Subquery
from django.db.models.functions import Substr
from django.utils import timezone

from approvals.models import Approval, AuditEntry, DecisionSource
from approvals.presentation.render import one_line
from approvals.statistics import median_response_time
from console.sessions.states import StateLabel, label_of
from orchestra.db import sql
from orchestra.statistics import LAST_DAY, period_of
from sessions_app.models import Agent, AgentSession, Event, Run
from sessions_app.queries import readable_sessions
from sessions_app.transcript.render import describe_event

MOST_RUNNING = 20
MOST_DECIDED = 5
MOST_COUNTED = 5_000  # requests of a day that the sums include
LONGEST_PAYLOAD = 2_000  # characters that are read of the last event
HOUR = timedelta(hours=1)
STEPS = 60


@dataclass(frozen=True, slots=True)
class ActiveSession:
    """A running or queued session with its state and a line about its current activity."""

    session: AgentSession
    label: StateLabel
    now: str


def active_sessions() -> dict[str, Any]:
    """Running and queued sessions, the oldest first, each with its last activity."""
    last = Event.objects.filter(session=OuterRef("pk"), kind__in=(Event.Kind.TEXT, Event.Kind.TOOL_USE)).order_by(
        "-seq"
    )
    sessions = (
        readable_sessions()
        .filter(status__in=(AgentSession.Status.RUNNING, AgentSession.Status.QUEUED))
        .order_by("-status", "created_at")
    )
    rows = sessions.annotate(
        last_kind=Subquery(last.values("kind")[:1]),
        last_payload=Subquery(last.annotate(cut=Substr("payload", 1, LONGEST_PAYLOAD)).values("cut")[:1]),
    )[: MOST_RUNNING + 1]
    shown = [ActiveSession(row, label_of(row), _now(row)) for row in rows]
    return {"rows": shown[:MOST_RUNNING], "more": len(shown) > MOST_RUNNING}


def _now(session: Any) -> str:
    if session.status == AgentSession.Status.QUEUED:
        return "Starts when a place is free"
    if not session.last_kind:
        return "Starting"
    text = describe_event(Event(kind=session.last_kind, payload=session.last_payload))
    return one_line(text.heading or text.body, 120)


def recent_decisions() -> list[Approval]:
    """The requests that people or their deadline closed last; decisions of the policy are left out."""
    ends = (Approval.Status.APPROVED, Approval.Status.REJECTED, Approval.Status.EXPIRED, Approval.Status.CANCELLED)
    entries = AuditEntry.objects.filter(won=True, action__in=ends).exclude(via=DecisionSource.POLICY)
    rows = entries.select_related("approval").order_by("-id")[:MOST_DECIDED]
    return [entry.approval for entry in rows if entry.approval]


@dataclass(frozen=True, slots=True)
class Day:
    """Counts of today by outcome, the median of the last 24 hours in words, and the queue of the
    last hour.
    """

    approved: int
    rejected: int
    expired: int
    median: str
    waiting: list[int]

    @property
    def most(self) -> int:
        """The greatest length of the queue in the last hour."""
        return max(self.waiting)

    @property
    def line(self) -> str:
        """The queue of the last hour as the path of an SVG of 260 by 40."""
        wide, top = 260 / STEPS, max(1, self.most)
        steps = (f"H{number * wide:.1f}V{38 - 32 * count / top:.1f}" for number, count in enumerate(self.waiting))
        return f"M0 {38 - 32 * self.waiting[0] / top:.1f}{''.join(steps)}H260"

    @property
    def area(self) -> str:
        """The same path, closed at the bottom."""
        return f"{self.line}V38H0z"


def day_summary() -> Day:
    """Read the numbers of the day with one query over recent requests and one for the median."""
    now = timezone.now()
    midnight = now.replace(hour=0, minute=0, second=0, microsecond=0)
    since = min(midnight, now - HOUR - settings.APPROVALS.max_timeout)
    rows = (
        Approval.objects.filter(created_at__gte=since)
        .exclude(decided_via=DecisionSource.POLICY)
        .order_by("-created_at")
    )
    spans = list(rows.values_list("created_at", "decided_at", "status")[:MOST_COUNTED])
    counts = Counter(status for _, end, status in spans if end and end >= midnight)
    return Day(
        approved=counts[Approval.Status.APPROVED],
        rejected=counts[Approval.Status.REJECTED],
        expired=counts[Approval.Status.EXPIRED],
        median=median_response_time(period_of(LAST_DAY)),
        waiting=_waiting([(start, end) for start, end, _ in spans], now),
    )


def _waiting(spans: list[tuple[datetime, datetime | None]], now: datetime) -> list[int]:
    marks = [now - HOUR + HOUR / STEPS * (step + 1) for step in range(STEPS)]
    recent = [(start, end) for start, end in spans if end is None or end >= now - HOUR]
    return [sum(start <= mark and (end is None or end > mark) for start, end in recent) for mark in marks]


def agent_capacity() -> dict[str, int]:
    """Processes that run (``taken``) of those allowed (``places``), and real agents ``found`` and
    ``ready``.
    """
    live, found = Run.objects.filter(ended_at=None), Agent.objects.exclude(name="demo")
    counts = sql.count_each(live, found, found.filter(status=Agent.Status.READY))
    return {"taken": counts[0], "found": counts[1], "ready": counts[2], "places": settings.AGENTS.max_concurrent}
