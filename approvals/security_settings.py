"""Security settings of approvals, as lines for the diagnostics page."""

from django.conf import settings
from django.db.models import Max

from approvals.models import AuditEntry, AuditSeal
from orchestra.diagnostics.security_settings import Fact

SEALED_WITHIN = 1_000  # entries; a larger backlog means that the sealing task does not run


def facts() -> list[Fact]:
    """Return who may decide, and how far the audit is sealed."""
    if settings.APPROVALS.self_approval:
        eyes = Fact("People may answer what they asked for themselves", "user", fine=settings.ORCHESTRA.embedded)
    else:
        eyes = Fact("Four eyes: nobody answers what they asked for themselves", "users")
    newest = AuditEntry.objects.aggregate(newest=Max("id"))["newest"] or 0
    number, entry = AuditSeal.objects.order_by("-number").values_list("number", "entry").first() or (0, 0)
    behind = newest - entry
    words = f"Audit sealed: {number:,} entries" + (f", {behind:,} to go" if behind > 0 else "")
    return [eyes, Fact(words, "lock", fine=behind < SEALED_WITHIN)]
