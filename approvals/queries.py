"""Every query of approvals that other modules share."""

from typing import Any
from uuid import UUID

from django.conf import settings
from django.db.models import F, Q, QuerySet
from django.db.models.functions import Now

from approvals.deadlines import NEVER
from approvals.errors import ApprovalNotFound
from approvals.models import Approval, Rule
from approvals.stop.commands import deadline_now, deadline_now_of_row
from orchestra.auth.permissions import Right, may
from orchestra.db import sql


def find_approval(approval_id: UUID) -> Approval:
    """Return the approval with this id.

    Raises:
        ApprovalNotFound: there is no such approval.
    """
    for approval in sql.select(Approval, "id = %s", approval_id):
        return approval
    raise ApprovalNotFound("Approval not found")


def status_of(approval_id: UUID) -> str:
    """Return the status alone, in one cheap statement for callers that poll.

    Raises:
        ApprovalNotFound: there is no such approval.
    """
    found = sql.row("SELECT status FROM approvals WHERE id = %s", approval_id)
    if found is None:
        raise ApprovalNotFound("Approval not found")
    return str(found[0])


def rules_in_force() -> QuerySet[Rule]:
    """Rules that have not ended, by the database's clock. Rules without uses left are included."""
    return Rule.objects.filter(Q(ends_at=None) | Q(ends_at__gt=Now()))


def open_approvals(session: UUID | None = None, *, most: int | None = None) -> list[Approval]:
    """Return pending approvals, the most urgent first: those of ``session`` if given, and at most
    ``most``.
    """
    rows = Approval.objects.filter(status=Approval.Status.PENDING)
    if session is not None:
        rows = rows.filter(session=session)
    return list(rows.order_by("expires_at")[:most])


def reminded_approvals() -> list[Approval]:
    """Return open approvals whose current deadline has had its reminder, and those without a
    deadline that had one.

    Listeners that may have missed ``approval_expiring`` sweep with this.
    """
    reminded = Q(reminded_for=F("expires_at")) | Q(expires_at__gte=NEVER, reminded_for__isnull=False)
    rows = Approval.objects.filter(reminded, status=Approval.Status.PENDING, expires_at__gt=deadline_now())
    return list(rows.order_by("expires_at"))


def count_open() -> int:
    return Approval.objects.filter(status=Approval.Status.PENDING).count()


def approvals_with_ids(ids: list[UUID]) -> list[Approval]:
    """Return the approvals with these ids, in no particular order; unknown ids are left out."""
    return list(Approval.objects.filter(pk__in=ids))


def readable_approvals() -> QuerySet[Approval]:
    """All approvals, annotated with ``read_at``: the database's time, from which the time left is
    computed.

    While agents are stopped, ``read_at`` stands still as the deadlines do.
    """
    return Approval.objects.annotate(read_at=deadline_now_of_row())


LOOKED_BACK = 5_000  # newest approvals that similar_approvals searches


def similar_approvals(approval: Approval, *, most: int) -> list[Approval]:
    """Return other approvals of the same tool whose title starts with the same three words, the
    newest first.

    Only the newest ``LOOKED_BACK`` approvals are searched, so that the cost does not grow with the
    table.
    """
    if not approval.tool_name:
        return []
    recent = Approval.objects.order_by("-created_at", "id").values("pk")[:LOOKED_BACK]
    first_words = " ".join(approval.title.split(" ")[:3])
    alike = Approval.objects.filter(pk__in=recent, tool_name=approval.tool_name, title__startswith=first_words)
    return list(alike.exclude(pk=approval.pk).order_by("-created_at")[:most])


def is_own(user: Any, approval: Approval) -> bool:
    """Whether ``user`` made the request and self-approval is off, so that another person must
    decide.
    """
    return bool(approval.requested_by == user.get_username() and not settings.APPROVALS.self_approval)


def can_decide(user: Any, approval: Approval) -> bool:
    """Whether ``user`` may decide this approval now."""
    return approval.is_open and may(user, Right.DECIDE) and not is_own(user, approval)
