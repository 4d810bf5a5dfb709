"""What every door that takes answers as JSON does alike: from a checked body to ``decide_approval``."""

import json
from collections.abc import Mapping
from typing import Any
from uuid import UUID

from approvals import commands
from approvals.models import Approval


def answer(approval_id: UUID, wanted: Mapping[str, Any], *, by: str, via: str, address: str) -> Approval:
    """Record the answer ``wanted``, which ``ApproveSerializer`` or one of its kind has checked.

    Raises:
        OrchestraError: as ``commands.decide_approval``.
    """
    return commands.decide_approval(
        approval_id=approval_id,
        decision=Approval.Status.APPROVED if wanted["approved"] else Approval.Status.REJECTED,
        by=by,
        via=via,
        reason=wanted.get("reason", ""),
        note=wanted.get("note", ""),
        updated_input=_text(wanted.get("updated_input")),
        answers=_text(wanted.get("answers")),
        scope=wanted.get("scope", Approval.Scope.ONCE),
        seen_digest=wanted.get("input_digest", ""),
        address=address,
    )


def _text(value: dict[str, Any] | None) -> str:
    """JSON text as the commands take it (ASCII; empty for none)."""
    return "" if value is None else json.dumps(value)
