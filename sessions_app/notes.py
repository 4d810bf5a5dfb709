"""Guidance with an approval, on its way from the row to the model and into the transcript."""

from uuid import UUID

from approvals.models import Approval
from sessions_app.models import Event, PermissionRequest
from sessions_app.supervisor.leases import Claim
from sessions_app.transcript.writer import Line, line


def for_the_model(note: str, *, by: str, title: str = "") -> str:
    """What the model reads beside a call's result; empty without a note. ``title`` names the call if it is another."""
    which = f"an earlier call ({title})" if title else "this call"
    return f"{by or 'A person'} approved {which} and says: {note}" if note else ""


def undelivered(claim: Claim) -> list[tuple[UUID, str]]:
    """Notes with calls that an earlier process of this turn let go, and nobody has told the model of."""
    asked = PermissionRequest.objects.filter(turn=claim.turn_id).values("approval")
    spent = Approval.objects.filter(pk__in=asked, consumed_at__isnull=False, note_delivered_at=None).exclude(note="")
    return [
        (approval.pk, for_the_model(approval.note, by=approval.decided_by, title=approval.title[:200]))
        for approval in spent.order_by("decided_at")
    ]


def delivered_line(approval_id: UUID) -> Line:
    """The transcript's line that the model has been given a note."""
    return line(Event.Kind.APPROVAL, approval=str(approval_id), status="note_delivered")
