"""What a session leaves in a trace: its turns, its processes, and how long people took."""

from typing import Any
from uuid import UUID

from approvals.models import Approval
from orchestra.diagnostics import tracing
from sessions_app.models import AgentSession


def trace_answer(*, approval_id: UUID, status: str, **_: Any) -> None:
    """A span from the question to its end, whichever door it came through; receiver of ``approval_changed``."""
    if status == Approval.Status.PENDING or not tracing.enabled():
        return
    approval = Approval.objects.get(pk=approval_id)
    if approval.session is None or approval.decided_at is None:
        return
    parent = AgentSession.objects.filter(pk=approval.session).values_list("trace_parent", flat=True).first()
    if parent:
        tracing.past_span(
            "approval", parent=parent, start=approval.created_at, end=approval.decided_at,
            session=approval.session, approval=approval.pk, tool=approval.tool_name, risk=approval.risk,
            status=approval.status, via=approval.decided_via or None,
        )  # fmt: skip
