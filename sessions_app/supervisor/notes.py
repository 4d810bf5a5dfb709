"""Notes that people wrote with their approvals and that the model has not read yet. Pure."""

from dataclasses import dataclass, field
from uuid import UUID

SEPARATOR = "\n\n"


@dataclass(slots=True)
class Notes:
    """Each note is delivered once, with the result of its own call, and never if that call does not
    run.

    ``left`` are notes of an earlier process of this turn, which allowed their calls and died before
    it was known whether they ran: they are delivered with the next result of any call.
    """

    left: list[tuple[UUID, str]] = field(default_factory=list)
    _of_calls: dict[str, tuple[UUID, str]] = field(default_factory=dict)

    def add(self, tool_use_id: str, note: str, approval_id: UUID) -> None:
        """Keep a note until the result of its call."""
        self._of_calls[tool_use_id] = (approval_id, note)

    def take(self, tool_use_id: str) -> tuple[str, tuple[UUID, ...]]:
        """Return the text that goes with the result of this call, and the approvals whose notes it
        contains.
        """
        own = self._of_calls.pop(tool_use_id, None)
        taken = [*self.left, *([own] if own else [])]
        self.left = []
        return SEPARATOR.join(text for _, text in taken), tuple(approval_id for approval_id, _ in taken)
