"""Which questions may be answered together, the same on every page that offers it."""

from approvals.models import Approval
from approvals.reading import extent_of

S = Approval.Status


def why_not_with_others(approval: Approval, verdict: str) -> str:
    """Why this one is not answered in a batch; empty if it may be."""
    if not approval.is_open:
        return f"already {approval.status}"
    if verdict == S.REJECTED:
        return ""
    extent = extent_of(approval)
    if extent.is_long:
        return f"long ({extent.words}): read it on its own page. It ends with: {extent.ending or 'nothing'}"
    if approval.risk == Approval.Risk.HIGH:
        return "high risk: answer it on its own page"
    if approval.kind in (Approval.Kind.QUESTION, Approval.Kind.PLAN):
        return "it needs more than a yes: answer it on its own page"
    return ""
