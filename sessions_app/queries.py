"""Queries about sessions, transcripts and agents."""

from uuid import UUID

from django.db.models import Case, Count, Exists, OuterRef, Q, QuerySet, Subquery, When
from django.db.models.functions import Coalesce

from orchestra.db import sql
from sessions_app.errors import SessionNotFound
from sessions_app.models import Agent, AgentSession, Event, Run


def find_session(session_id: UUID) -> AgentSession:
    """
    Raises:
        SessionNotFound: no session has this id.
    """
    try:
        return AgentSession.objects.get(pk=session_id)
    except AgentSession.DoesNotExist:
        raise SessionNotFound("Session not found") from None


def events_after(session_id: UUID, seq: int, limit: int) -> list[Event]:
    """Up to ``limit`` transcript events with a greater number than ``seq``, in order."""
    return list(Event.objects.filter(session=session_id, seq__gt=seq).order_by("seq")[:limit])


def readable_sessions() -> QuerySet[AgentSession]:
    """All sessions, annotated with ``parked``: the session waits, and no process is held for it."""
    live = Run.objects.filter(session=OuterRef("pk"), ended_at=None)
    return AgentSession.objects.annotate(parked=Q(status=AgentSession.Status.WAITING) & ~Exists(live))


def needing_a_person_first(rows: QuerySet[AgentSession]) -> QuerySet[AgentSession]:
    """Order ``rows``: waiting sessions, then running, then queued, then the rest.

    Within a status the newest session is first.
    """
    urgency = Case(
        When(status=AgentSession.Status.WAITING, then=0),
        When(status=AgentSession.Status.RUNNING, then=1),
        When(status=AgentSession.Status.QUEUED, then=2),
        default=3,
    )
    return rows.order_by(urgency, "-created_at", "id")


def readable_agents() -> QuerySet[Agent]:
    """All agents, annotated with the numbers of their sessions that are ``running`` and
    ``waiting``.
    """

    def count(status: str) -> Coalesce:
        mine = AgentSession.objects.filter(agent=OuterRef("name"), host=OuterRef("host"), status=status)
        found = mine.order_by().values("agent").annotate(found=Count("pk")).values("found")
        return Coalesce(Subquery(found), 0)

    return Agent.objects.annotate(
        running=count(AgentSession.Status.RUNNING), waiting=count(AgentSession.Status.WAITING)
    )


def open_by_status() -> dict[str, int]:
    """How many sessions are waiting, running and queued; one statement, over partial indexes."""
    Status = AgentSession.Status
    statuses = (Status.WAITING, Status.RUNNING, Status.QUEUED)
    counts = sql.count_each(*(AgentSession.objects.filter(status=status) for status in statuses))
    return dict(zip(statuses, counts, strict=True))


def count_open_sessions() -> int:
    """How many sessions are waiting, running or queued."""
    return sum(open_by_status().values())
