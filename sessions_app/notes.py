"""Notes: guidance that a person gives with an approval.

They go to the model and into the transcript.
"""

from uuid import UUID

from approvals.models import Approval
from sessions_app.models import Event, PermissionRequest
from sessions_app.supervisor.leases import Claim
from sessions_app.transcript.writer import Line, line


def note_text(note: str, *, by: str, title: str = "") -> str:
    """The text that the model reads beside a call's result; empty without a note.

    ``title`` names the call if the note belongs to an earlier one.
    """
    which = f"an earlier call ({title})" if title else "this call"
    return f"{by or 'A person'} approved {which} and says: {note}" if note else ""


def undelivered_notes(claim: Claim) -> list[tuple[UUID, str]]:
    """Approval ids and texts of notes on calls that an earlier process of this turn ran, but never
    delivered.
    """
    linked = PermissionRequest.objects.filter(turn=claim.turn_id).values("approval")
    ran = Approval.objects.filter(pk__in=linked, consumed_at__isnull=False, note_delivered_at=None).exclude(note="")
    return [
        (approval.pk, note_text(approval.note, by=approval.decided_by, title=approval.title[:200]))
        for approval in ran.order_by("decided_at")
    ]


def note_delivered_line(approval_id: UUID) -> Line:
    """The transcript event that records the delivery of a note to the model."""
    return line(Event.Kind.APPROVAL, approval=str(approval_id), status="note_delivered")
