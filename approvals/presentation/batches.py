"""Which requests may be decided in a batch; every page with batches uses this."""

from approvals.models import Approval
from approvals.presentation.reading import extent_of
from approvals.presentation.render import questions_of

LARGEST = 100_000  # characters of one request; a batch page shows fifty requests in full


def why_not_in_batch(approval: Approval, decision: str) -> str:
    """Return why this request is not decided in a batch; an empty text if it may be."""
    if not approval.is_open:
        return f"already {approval.status}"
    if decision == Approval.Status.REJECTED:
        return ""
    if is_large(approval):
        return "long: read it on its own page"
    extent = extent_of(approval)
    if extent.is_long:
        return f"long ({extent.words}): read it on its own page. It ends with: {extent.ending or 'nothing'}"
    if approval.risk == Approval.Risk.HIGH:
        return "high risk: answer it on its own page"
    if approval.kind in (Approval.Kind.QUESTION, Approval.Kind.PLAN) or questions_of(approval):
        return "it needs more than a yes: answer it on its own page"
    return ""


def is_large(approval: Approval) -> bool:
    """Whether the request is too large to be drawn, and so to be approved, on a batch page.

    A request of this size always exceeds the limit of ``reading``, even if every character is
    escaped.
    """
    return len(approval.tool_input) + len(approval.body) + len(approval.options) + len(str(approval.facts)) > LARGEST
