"""From a validated JSON body to ``decide_approval``, for the REST surface and the hub."""

import json
from collections.abc import Mapping
from typing import Any
from uuid import UUID

from approvals import commands
from approvals.models import Approval


def decide(approval_id: UUID, wanted: Mapping[str, Any], *, by: str, via: str, address: str) -> Approval:
    """Record the decision ``wanted``, the validated data of ``ApproveSerializer`` or a subclass.

    Raises:
        OrchestraError: what ``commands.decide_approval`` raises.
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
    """Return JSON text as the commands expect it: ASCII, and empty for None."""
    return "" if value is None else json.dumps(value)
