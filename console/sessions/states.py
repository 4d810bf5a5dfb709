"""Word, icon and tone of every state of a session, the same on every page."""

from dataclasses import dataclass

from sessions_app.models import AgentSession


@dataclass(frozen=True, slots=True)
class StateLabel:
    """How a state is shown. ``icon`` is a name in console/icons.html; ``tone`` is wait, run, ok,
    bad or empty.
    """

    word: str
    icon: str
    tone: str = ""
    turning: bool = False


SESSION_LABELS = {
    AgentSession.Status.WAITING: StateLabel("Waiting for you", "waiting", "wait"),
    AgentSession.Status.RUNNING: StateLabel("Running", "running", "run", turning=True),
    AgentSession.Status.QUEUED: StateLabel("Queued", "queued"),
    AgentSession.Status.COMPLETED: StateLabel("Completed", "done", "ok"),
    AgentSession.Status.FAILED: StateLabel("Failed", "failed", "bad"),
    AgentSession.Status.CANCELLED: StateLabel("Cancelled", "cancelled"),
}
PARKED = StateLabel("Paused, resumes when you answer", "parked", "wait")


def label_of(session: AgentSession) -> StateLabel:
    """The label of the session's state; only rows of ``readable_sessions`` can be shown as parked."""
    if getattr(session, "parked", False):
        return PARKED
    return SESSION_LABELS[AgentSession.Status(session.status)]
