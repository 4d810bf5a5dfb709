"""Every read of sessions that others need."""

from uuid import UUID

from sessions_app.errors import SessionNotFound
from sessions_app.models import AgentSession, Event


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
