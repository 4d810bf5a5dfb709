"""OpenTelemetry spans about the approvals of a session."""

from typing import Any
from uuid import UUID

from approvals.models import Approval
from orchestra.diagnostics import tracing
from sessions_app.models import AgentSession


def trace_decision(*, approval_id: UUID, status: str, **_: Any) -> None:
    """Record a span from the creation of an approval to its close.

    This is a receiver of ``approval_changed``.
    """
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
