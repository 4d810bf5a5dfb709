"""The word, the shape and the tone of every state a session or an agent can be in: the same on every page."""

from dataclasses import dataclass

from sessions_app.models import AgentSession


@dataclass(frozen=True, slots=True)
class Look:
    """How a state looks. ``icon`` is a name of console/icons.html; ``tone`` is wait, run, ok, bad or empty."""

    word: str
    icon: str
    tone: str = ""
    turning: bool = False


LOOKS = {
    AgentSession.Status.WAITING: Look("Waiting for you", "waiting", "wait"),
    AgentSession.Status.RUNNING: Look("Running", "running", "run", turning=True),
    AgentSession.Status.QUEUED: Look("Queued", "queued"),
    AgentSession.Status.COMPLETED: Look("Completed", "done", "ok"),
    AgentSession.Status.FAILED: Look("Failed", "failed", "bad"),
    AgentSession.Status.CANCELLED: Look("Cancelled", "cancelled"),
}
PARKED = Look("Paused, resumes when you answer", "parked", "wait")


def look_of(session: AgentSession) -> Look:
    """How ``session`` looks; a row of ``readable_sessions`` also knows whether it is parked."""
    if getattr(session, "parked", False):
        return PARKED
    return LOOKS[AgentSession.Status(session.status)]
