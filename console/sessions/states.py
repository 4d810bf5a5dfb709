"""The word, the shape and the tone of every state a session or an agent can be in: the same on every page."""

from dataclasses import dataclass

from sessions_app.models import AgentSession

S = AgentSession.Status


@dataclass(frozen=True, slots=True)
class Look:
    """How a state looks. ``icon`` is a name of console/icons.html; ``tone`` is wait, run, ok, bad or empty."""

    word: str
    icon: str
    tone: str = ""
    turning: bool = False


LOOKS = {
    S.WAITING: Look("Waiting for you", "waiting", "wait"),
    S.RUNNING: Look("Running", "running", "run", turning=True),
    S.QUEUED: Look("Queued", "queued"),
    S.COMPLETED: Look("Completed", "done", "ok"),
    S.FAILED: Look("Failed", "failed", "bad"),
    S.CANCELLED: Look("Cancelled", "cancelled"),
}
PARKED = Look("Paused, resumes when you answer", "parked", "wait")


def look_of(session: AgentSession) -> Look:
    """How ``session`` looks; a row of ``readable_sessions`` also knows whether it is parked."""
    if getattr(session, "parked", False):
        return PARKED
    return LOOKS[S(session.status)]
