"""What the agent is told about one tool call."""

from dataclasses import dataclass
from typing import Literal
from uuid import UUID


@dataclass(frozen=True, slots=True, kw_only=True)
class PermissionOutcome:
    """What becomes of one tool call.

    ``allow`` runs the call with ``tool_input``, the JSON text to run. ``deny`` refuses it; the
    model reads ``message``. ``wait`` leaves it open while people decide, for at most ``waits_s``
    seconds. ``hold`` leaves it open although the policy allows it, because all agents are stopped;
    another outcome follows after the stop is lifted.

    ``model_note`` is what the model reads with the result of an allowed call, and ``note`` the part
    of it that a person wrote. ``status`` is the status of the decision, and ``by`` the person who
    made it, or the policy's reason. ``interrupts`` says that the turn is interrupted as well,
    because the approval request was cancelled.
    """

    effect: Literal["allow", "deny", "wait", "hold"]
    approval_id: UUID | None = None
    tool_input: str = ""
    message: str = ""
    waits_s: float = 0.0
    status: str = ""
    by: str = ""
    model_note: str = ""
    note: str = ""
    interrupts: bool = False
