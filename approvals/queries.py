"""Every read of approvals that others need."""

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
    """The approval with that id.

    Raises:
        ApprovalNotFound: there is none.
    """
    for approval in sql.select(Approval, "id = %s", approval_id):
        return approval
    raise ApprovalNotFound("Approval not found")


def status_of(approval_id: UUID) -> str:
    """Its status alone, for those who look often.

    Raises:
        ApprovalNotFound: there is none.
    """
    found = sql.row("SELECT status FROM approvals WHERE id = %s", approval_id)
    if found is None:
        raise ApprovalNotFound("Approval not found")
    return str(found[0])


def rules_in_force() -> QuerySet[Rule]:
    """Rules that have not ended, by the database's clock; one whose uses are spent is among them."""
    return Rule.objects.filter(Q(ends_at=None) | Q(ends_at__gt=Now()))


def open_approvals(session: UUID | None = None, *, most: int | None = None) -> list[Approval]:
    """Pending approvals, the most urgent first; of one session if given, and no more than ``most``."""
    rows = Approval.objects.filter(status=Approval.Status.PENDING)
    if session is not None:
        rows = rows.filter(session=session)
    return list(rows.order_by("expires_at")[:most])


def reminded_approvals() -> list[Approval]:
    """Open approvals whose present deadline people were reminded of, or that they were reminded of although they never
    expire; for listeners that may have missed the signal."""
    reminded = Q(reminded_for=F("expires_at")) | Q(expires_at__gte=NEVER, reminded_for__isnull=False)
    rows = Approval.objects.filter(reminded, status=Approval.Status.PENDING, expires_at__gt=deadline_now())
    return list(rows.order_by("expires_at"))


def count_open() -> int:
    """How many questions wait for a person."""
    return Approval.objects.filter(status=Approval.Status.PENDING).count()


def approvals_with_ids(ids: list[UUID]) -> list[Approval]:
    """The approvals with these ids, in no order; unknown ids are left out."""
    return list(Approval.objects.filter(pk__in=ids))


def readable_approvals() -> QuerySet[Approval]:
    """All approvals, each with ``read_at``, the database's time, against which the time left is told.

    While agents are stopped it stands still with the deadlines.
    """
    return Approval.objects.annotate(read_at=deadline_now_of_row())


LOOKED_BACK = 5_000  # approvals among which those before are looked for


def similar_approvals(approval: Approval, *, most: int) -> list[Approval]:
    """What the same tool asked before in the same first words, the newest first.

    Looked for among the newest ``LOOKED_BACK`` approvals: nobody walks through a long table for a hint.
    """
    if not approval.tool_name:
        return []
    recent = Approval.objects.order_by("-created_at", "id").values("pk")[:LOOKED_BACK]
    first_words = " ".join(approval.title.split(" ")[:3])
    alike = Approval.objects.filter(pk__in=recent, tool_name=approval.tool_name, title__startswith=first_words)
    return list(alike.exclude(pk=approval.pk).order_by("-created_at")[:most])


def is_own(user: Any, approval: Approval) -> bool:
    """Whether the reader asked for it, so that somebody else must decide."""
    return bool(approval.requested_by == user.get_username() and not settings.APPROVALS.self_approval)


def can_decide(user: Any, approval: Approval) -> bool:
    """Whether the reader may decide it now."""
    return approval.is_open and may(user, Right.DECIDE) and not is_own(user, approval)
