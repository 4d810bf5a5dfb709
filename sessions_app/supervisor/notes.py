"""What people wrote beside their approvals, until the model has been given it. Pure."""

from dataclasses import dataclass, field
from uuid import UUID

SEPARATOR = "\n\n"


@dataclass(slots=True)
class Notes:
    """Each note is given once, with the result of the call that it belongs to, and not at all if that never ran.

    ``left`` are notes of an earlier process of this turn, which let their calls go and died before anybody knew whether
    they ran: they go with the next result, whichever it is.
    """

    left: list[tuple[UUID, str]] = field(default_factory=list)
    _of_calls: dict[str, tuple[UUID, str]] = field(default_factory=dict)

    def keep(self, tool_use_id: str, note: str, approval_id: UUID | None) -> None:
        """The call was let go; ``note`` may be empty."""
        if note and approval_id:
            self._of_calls[tool_use_id] = (approval_id, note)

    def take(self, tool_use_id: str) -> tuple[str, tuple[UUID, ...]]:
        """What the model is told with the result of this call, and of which approvals that is."""
        own = self._of_calls.pop(tool_use_id, None)
        told = [*self.left, *([own] if own else [])]
        self.left = []
        return SEPARATOR.join(text for _, text in told), tuple(key for key, _ in told)
