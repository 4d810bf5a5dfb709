"""Which approvals may leave the database, what stays of them, and the legal hold that keeps them."""

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

S = Approval.Status

Spare = Callable[[QuerySet[Approval]], QuerySet[Approval]]
spares: list[Spare] = []
"""Other apps take out what they still need."""


def register() -> None:
    """Called once, when the apps are ready."""
    registry.add(
        ArchivedModel(
            name="approvals",
            model=Approval,
            due_for_archive=due_for_archive,
            prepare=prepare,
            before_delete=leave_seals,
        )
    )


def closed(age: timedelta) -> QuerySet[Approval]:
    """Those closed longer ago than that, counted, and under no hold."""
    old = Approval.objects.filter(created_at__lt=Now() - age, decided_at__lt=Now() - age)
    return old.filter(counted=True, legal_hold=False).exclude(status=S.PENDING)


def due_for_archive(age: timedelta) -> QuerySet[Approval]:
    """Those closed longer ago than that which nobody keeps."""
    rows = closed(age)
    for spare in spares:
        rows = spare(rows)
    return rows


def prepare() -> None:
    """What is archived is sealed and counted before."""
    chain.seal_new_entries()
    metrics.count_closed()


def leave_seals(archive: Archive, rows: Sequence[Rows]) -> None:
    """The seals of archived audit entries stay, and name the archive.

    Raises:
        Changed: an entry has no seal yet.
    """
    for entries in rows:
        if entries.model is AuditEntry:
            sealed = AuditSeal.objects.filter(entry__in=entries.values("pk")).update(archive=archive)
            if sealed != entries.count():
                raise RowsChanged


def set_hold(ids: Collection[UUID], *, held: bool, by: str, via: str) -> int:
    """Keep approvals whatever their age, or no longer; audited. Returns how many that changed."""
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
    """Note a hold on something else that has approvals."""
    action = "held" if held else "released"
    AuditEntry.objects.create(approval=None, action=action, won=True, by=by, via=via, reason=what)
