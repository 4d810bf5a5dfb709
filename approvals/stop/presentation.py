"""The texts about a stop of all agents, the same on every surface.

Pure; all texts are safe to print.
"""

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
    """Return who stopped all agents, and on which surface."""
    return _by(stop.started_by, stop.started_via)


def since(stop: Stop) -> str:
    """Return the start with its date, because a stop may last for days."""
    return f"{stop.started_at:%Y-%m-%d %H:%M:%S} UTC"


def reason(stop: Stop) -> str:
    """Return the reason in one line; empty if none was given."""
    return one_line(stop.reason, LONGEST_REASON)


def headline(stop: Stop) -> str:
    """Return one sentence: who stopped the agents, when and why."""
    return f"All agents are stopped, by {who(stop)} since {since(stop)}" + (
        f": {reason(stop)}" if stop.reason else "; no reason was given."
    )


def effect(stop: Stop) -> str:
    """Return one sentence about what the stop does to running turns."""
    return EFFECTS[Stop.Mode(stop.mode)]


def lift_line(stop: Stop) -> str:
    """Return one sentence about a stop that was lifted."""
    by = _by(stop.lifted_by, stop.lifted_via)
    return f"The stop by {who(stop)} was lifted by {by} after {lasted(stop)}. Agents go on where they stood."


def _by(name: str, via: str) -> str:
    surface = names_of(via).of_stop
    return one_line(name, 150) + (f" ({surface})" if surface else "")
