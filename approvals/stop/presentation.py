"""What a stop of all agents says of itself, the same on every surface. Pure; all of it is safe to print."""

from approvals.models import Stop
from approvals.presentation.render import one_line
from approvals.presentation.surfaces import names_of
from approvals.stop.commands import lasted

LONGEST_REASON = 300  # characters shown
EFFECTS = {
    Stop.Mode.HOLD: "Running agents may go on thinking, but each tool call waits for the lift.",
    Stop.Mode.INTERRUPT: "Turns that ran were interrupted; their dialogs go on with the next message after the lift.",
}
CHOICES = {
    Stop.Mode.HOLD: EFFECTS[Stop.Mode.HOLD],
    Stop.Mode.INTERRUPT: "Running turns end now; their dialogs go on with the next message after the lift.",
}
WAITS = (
    "No new turn starts, nothing is newly allowed, and deadlines stand still. What was allowed before may finish. "
    "Decisions are recorded, and take effect after the lift."
)


def who(stop: Stop) -> str:
    """Who stopped all agents, and where."""
    return _by(stop.started_by, stop.started_via)


def since(stop: Stop) -> str:
    """When, for those who may look on another day."""
    return f"{stop.started_at:%Y-%m-%d %H:%M:%S} UTC"


def reason(stop: Stop) -> str:
    """Why, in one line; empty if nobody said."""
    return one_line(stop.reason, LONGEST_REASON)


def headline(stop: Stop) -> str:
    """One sentence: that, who, when, why."""
    return f"All agents are stopped, by {who(stop)} since {since(stop)}" + (
        f": {reason(stop)}" if stop.reason else "; no reason was given."
    )


def effect(stop: Stop) -> str:
    """What it does to turns that run."""
    return EFFECTS[Stop.Mode(stop.mode)]


def lift_line(stop: Stop) -> str:
    """One sentence about a stop that is over."""
    by = _by(stop.lifted_by, stop.lifted_via)
    return f"The stop by {who(stop)} was lifted by {by} after {lasted(stop)}. Agents go on where they stood."


def _by(name: str, via: str) -> str:
    surface = names_of(via).of_stop
    return one_line(name, 150) + (f" ({surface})" if surface else "")
