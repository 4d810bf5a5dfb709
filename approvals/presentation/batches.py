"""Which questions may be answered together, the same on every page that offers it."""

from approvals.models import Approval
from approvals.presentation.reading import extent_of

LARGEST = 100_000  # characters of one request; a page shows fifty of them whole


def why_not_in_batch(approval: Approval, decision: str) -> str:
    """Why this one is not answered in a batch; empty if it may be."""
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
    if approval.kind in (Approval.Kind.QUESTION, Approval.Kind.PLAN):
        return "it needs more than a yes: answer it on its own page"
    return ""


def is_large(approval: Approval) -> bool:
    """Whether it is far too long for a page of many: it is not drawn there, and never approved there.

    That many characters of JSON are more than the few screens of `reading`, even where each is escaped.
    """
    return len(approval.tool_input) + len(approval.body) + len(approval.options) + len(str(approval.facts)) > LARGEST
