"""Which approvals the archive may take out of the database, what stays of them, and the legal hold."""

from collections.abc import Callable, Collection, Sequence
from datetime import timedelta
from uuid import UUID

from django.db import transaction
from django.db.models import QuerySet
from django.db.models.functions import Now

from approvals import metrics
from approvals.audit import chain
from approvals.models import Approval, AuditEntry, AuditSeal
from orchestra.archive.registry import ArchivedModel, Rows, RowsChanged, registry
from orchestra.models import Archive

Exclusion = Callable[[QuerySet[Approval]], QuerySet[Approval]]
exclusions: list[Exclusion] = []
"""Other apps append a function here that excludes the rows which they still need."""


def register() -> None:
    registry.add(
        ArchivedModel(
            name="approvals",
            model=Approval,
            due_for_archive=archivable_approvals,
            prepare=prepare,
            before_delete=leave_seals,
        )
    )


def closed_approvals(age: timedelta) -> QuerySet[Approval]:
    """Approvals that were closed longer ago than ``age``, are counted, and are under no legal hold."""
    old = Approval.objects.filter(created_at__lt=Now() - age, decided_at__lt=Now() - age)
    return old.filter(counted=True, legal_hold=False).exclude(status=Approval.Status.PENDING)


def archivable_approvals(age: timedelta) -> QuerySet[Approval]:
    """``closed_approvals`` without those that another app still needs."""
    rows = closed_approvals(age)
    for exclude in exclusions:
        rows = exclude(rows)
    return rows


def prepare() -> None:
    """Seal and count what the archive is about to take."""
    chain.seal_new_entries()
    metrics.count_closed()


def leave_seals(archive: Archive, rows: Sequence[Rows]) -> None:
    """Keep the seals of archived audit entries, and write the archive into them.

    Raises:
        Changed: an entry has no seal yet.
    """
    for entries in rows:
        if entries.model is AuditEntry:
            sealed = AuditSeal.objects.filter(entry__in=entries.values("pk")).update(archive=archive)
            if sealed != entries.count():
                raise RowsChanged


def set_hold(ids: Collection[UUID], *, held: bool, by: str, via: str) -> int:
    """Set or release the legal hold of approvals, with an audit entry each; return how many
    changed.
    """
    with transaction.atomic():
        rows = Approval.objects.filter(pk__in=ids).exclude(legal_hold=held)
        changed = list(rows.select_for_update().values_list("pk", flat=True))
        Approval.objects.filter(pk__in=changed).update(legal_hold=held)
        AuditEntry.objects.bulk_create(
            AuditEntry(approval_id=pk, action="held" if held else "released", won=True, by=by, via=via)
            for pk in changed
        )
    return len(changed)


def audit_hold(what: str, *, held: bool, by: str, via: str) -> None:
    """Record in the audit a hold on another object, such as a session, that holds its approvals
    too.
    """
    action = "held" if held else "released"
    AuditEntry.objects.create(approval=None, action=action, won=True, by=by, via=via, reason=what)
