"""Tools that ran without a decision.

They are recorded and counted, and shown until an administrator acknowledges them.
"""

from uuid import UUID

from django.db import transaction
from django.db.models.functions import Now

from approvals.errors import ViolationNotFound
from approvals.metrics import VIOLATIONS
from approvals.models import AuditEntry, DecisionSource, Violation
from orchestra.db.counters import add_to_tallies

ACTION = "ran_unapproved"


def record_violation(
    *, session: UUID, run: UUID, requested_by: str, tool_name: str, tool_use_id: str, tool_input: str, reason: str
) -> None:
    """Store a violation, its audit entry and its count in one transaction.

    A repeat of the same call changes nothing.
    """
    with transaction.atomic():
        found, is_new = Violation.objects.get_or_create(
            run=run,
            tool_use_id=tool_use_id[:200],
            defaults={
                "session": session,
                "requested_by": requested_by,
                "tool_name": tool_name[:200],
                "tool_input": tool_input,
                "reason": reason[:200],
            },
        )
        if is_new:
            _audit(found, ACTION, by=requested_by, via=DecisionSource.SYSTEM)
            add_to_tallies({(VIOLATIONS, ""): 1})


def acknowledge_violation(*, violation_id: UUID, by: str, via: str, address: str = "") -> Violation:
    """Take a violation off the pages; it stays in the audit and in the counter. A repeat changes
    nothing.

    Raises:
        ViolationNotFound: there is no such violation.
    """
    with transaction.atomic():
        rows = Violation.objects.filter(pk=violation_id)
        won = rows.filter(acknowledged_at=None).update(acknowledged_at=Now(), acknowledged_by=by)
        violation = rows.first()
        if violation is None:
            raise ViolationNotFound("There is no such violation.")
        if won:
            _audit(violation, "acknowledged", by=by, via=via, address=address)
    return violation


def open_violations(*, most: int) -> list[Violation]:
    """Return unacknowledged violations, the newest first, at most ``most``."""
    return list(Violation.objects.filter(acknowledged_at=None).order_by("-created_at")[:most])


def _audit(violation: Violation, action: str, *, by: str, via: str, address: str = "") -> None:
    what = f"{violation.tool_name} in session {violation.session}: {violation.reason}"
    AuditEntry.objects.create(action=action, won=action != ACTION, by=by, via=via, address=address, reason=what)
