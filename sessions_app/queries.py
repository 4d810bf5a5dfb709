"""Every read of sessions that others need."""

from uuid import UUID

from django.db.models import Case, Count, Exists, OuterRef, Q, QuerySet, Subquery, When
from django.db.models.functions import Coalesce

from orchestra.db import sql
from sessions_app.errors import SessionNotFound
from sessions_app.models import Agent, AgentSession, Event, Run


def find_session(session_id: UUID) -> AgentSession:
    """The session with that id.

    Raises:
        SessionNotFound: there is none.
    """
    try:
        return AgentSession.objects.get(pk=session_id)
    except AgentSession.DoesNotExist:
        raise SessionNotFound("Session not found") from None


def events_after(session_id: UUID, seq: int, limit: int) -> list[Event]:
    """Up to ``limit`` transcript events with a greater number than ``seq``, in order."""
    return list(Event.objects.filter(session=session_id, seq__gt=seq).order_by("seq")[:limit])


def readable_sessions() -> QuerySet[AgentSession]:
    """All sessions, each knowing whether it is ``parked``: waiting, and no process held for it."""
    live = Run.objects.filter(session=OuterRef("pk"), ended_at=None)
    return AgentSession.objects.annotate(parked=Q(status=AgentSession.Status.WAITING) & ~Exists(live))


def needing_a_person_first(rows: QuerySet[AgentSession]) -> QuerySet[AgentSession]:
    """Waiting sessions, then running, then queued ones, then the rest; the newest of each first."""
    S = AgentSession.Status
    urgency = Case(
        When(status=S.WAITING, then=0), When(status=S.RUNNING, then=1), When(status=S.QUEUED, then=2), default=3
    )
    return rows.order_by(urgency, "-created_at", "id")


def readable_agents() -> QuerySet[Agent]:
    """All agents, each with how many of its host's sessions are ``running`` and ``waiting``."""
    S = AgentSession.Status

    def count(status: str) -> Coalesce:
        mine = AgentSession.objects.filter(agent=OuterRef("name"), host=OuterRef("host"), status=status)
        found = mine.order_by().values("agent").annotate(found=Count("pk")).values("found")
        return Coalesce(Subquery(found), 0)

    return Agent.objects.annotate(running=count(S.RUNNING), waiting=count(S.WAITING))


def open_by_status() -> dict[str, int]:
    """Return how many sessions are waiting, running and queued; one statement over partial indexes."""
    Status = AgentSession.Status
    statuses = (Status.WAITING, Status.RUNNING, Status.QUEUED)
    counts = sql.count_each(*(AgentSession.objects.filter(status=status) for status in statuses))
    return dict(zip(statuses, counts, strict=True))


def count_open_sessions() -> int:
    """How many sessions are not over."""
    return sum(open_by_status().values())
