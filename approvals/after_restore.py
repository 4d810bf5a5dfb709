"""What a restore does to questions, grants and rules: nothing that ran since the backup may run again unasked."""

from typing import Any

from django.db import transaction
from django.db.models.functions import Now

from approvals.audit import changes
from approvals.commands import cancel_approval
from approvals.models import CALLBACK_FLOW, Approval, AuditEntry, Callback, DecisionSource, Rule
from approvals.queries import rules_in_force

S = Approval.Status
EXTERNAL = Approval.Kind.EXTERNAL


def reset_after_restore(*, taken_at: str, keep_rules: bool, **_: Any) -> str:
    """Withdraw what agents asked, void what they were given, end rules; questions of programs stay, with a warning."""
    why = f"The database was restored from a backup of {taken_at}."
    withdrawn = _withdraw(why)
    voided = _void(why)
    ended = _end_rules(keep_rules, why)
    AuditEntry.objects.create(approval=None, action="restored", won=True, via=DecisionSource.SYSTEM, reason=why)
    _stop_callbacks(why)
    for approval in Approval.objects.filter(status=S.PENDING):
        approval.facts = approval.facts | {"warning": f"{why} This may have been answered since."}
        approval.save(update_fields=["facts"])
    return f"{withdrawn} open requests withdrawn, {voided} unspent approvals voided, {ended} standing rules ended"


def _withdraw(why: str) -> int:
    asked = list(Approval.objects.filter(status=S.PENDING).exclude(kind=EXTERNAL).values_list("pk", flat=True))
    for approval_id in asked:
        cancel_approval(approval_id=approval_id, by="", via=DecisionSource.SYSTEM, reason=why)
    return len(asked)


def _void(why: str) -> int:
    """A grant that was unspent in the backup may have been spent since: it counts as spent, so the call asks again."""
    unspent = Approval.objects.filter(status=S.APPROVED, consumed_at=None).exclude(kind=EXTERNAL)
    digests = dict(unspent.values_list("pk", "run_digest"))
    unspent.update(consumed_at=Now())
    AuditEntry.objects.bulk_create(
        AuditEntry(approval_id=pk, action="voided", won=True, via=DecisionSource.SYSTEM, reason=why, digest=digest)
        for pk, digest in digests.items()
    )
    return len(digests)


def _stop_callbacks(why: str) -> None:
    """An outcome that was posted since would be acted upon a second time; who asked can still read it."""
    closed = Callback.objects.exclude(approval__status=S.PENDING)  # nobody else writes to a copy: a join does no harm
    CALLBACK_FLOW.move(closed, to=Callback.Status.FAILED, last_error=why)


def _end_rules(keep: bool, why: str) -> int:
    """A rule that was withdrawn since would apply again. A session's rules go with the answers they were made by."""
    alive = rules_in_force().filter(effect=Rule.Effect.ALLOW)
    if keep:
        alive = alive.filter(scope=Rule.ScopeKind.SESSION)
    with transaction.atomic():
        rules = list(alive)
        alive.update(ends_at=Now())
        if rules:
            changes.record(action="rules_ended", what=f"{why}\n{changes.described(rules)}", via=DecisionSource.SYSTEM)
    return len(rules)
