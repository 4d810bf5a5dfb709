"""After-restore steps for approvals: no call that ran since the backup may run again without a new
decision.
"""

from typing import Any

from django.db import transaction
from django.db.models.functions import Now

from approvals.audit import changes
from approvals.commands import cancel_approval
from approvals.models import CALLBACK_FLOW, Approval, AuditEntry, Callback, DecisionSource, Rule
from approvals.queries import rules_in_force

EXTERNAL = Approval.Kind.EXTERNAL


def invalidate_restored_rows(*, taken_at: str, keep_rules: bool, **_: Any) -> str:
    """Withdraw the open requests of agents, void unspent approvals, and end allow rules.

    External requests stay open and get a warning. ``keep_rules`` keeps those rules that belong to
    no session. Returns one line for the report of the restore.
    """
    why = f"The database was restored from a backup of {taken_at}."
    withdrawn = _withdraw_open_requests(why)
    voided = _void_unspent_approvals(why)
    ended = _end_rules(keep_rules, why)
    AuditEntry.objects.create(approval=None, action="restored", won=True, via=DecisionSource.SYSTEM, reason=why)
    _stop_callbacks(why)
    for approval in Approval.objects.filter(status=Approval.Status.PENDING):
        approval.facts = approval.facts | {"warning": f"{why} This may have been answered since."}
        approval.save(update_fields=["facts"])
    return f"{withdrawn} open requests withdrawn, {voided} unspent approvals voided, {ended} standing rules ended"


def _withdraw_open_requests(why: str) -> int:
    open_ids = list(
        Approval.objects.filter(status=Approval.Status.PENDING).exclude(kind=EXTERNAL).values_list("pk", flat=True)
    )
    for approval_id in open_ids:
        cancel_approval(approval_id=approval_id, by="", via=DecisionSource.SYSTEM, reason=why)
    return len(open_ids)


def _void_unspent_approvals(why: str) -> int:
    """Mark unspent approvals as spent: they may have been spent after the backup, so the agent must
    request again.
    """
    unspent = Approval.objects.filter(status=Approval.Status.APPROVED, consumed_at=None).exclude(kind=EXTERNAL)
    digests = dict(unspent.values_list("pk", "run_digest"))
    unspent.update(consumed_at=Now())
    AuditEntry.objects.bulk_create(
        AuditEntry(approval_id=pk, action="voided", won=True, via=DecisionSource.SYSTEM, reason=why, digest=digest)
        for pk, digest in digests.items()
    )
    return len(digests)


def _stop_callbacks(why: str) -> None:
    """Cancel callbacks of closed requests: the receiver of a repeated post might act on it a second
    time.
    """
    closed = Callback.objects.exclude(
        approval__status=Approval.Status.PENDING
    )  # a join is safe here: nothing else writes to the restored copy
    CALLBACK_FLOW.move(closed, to=Callback.Status.FAILED, last_error=why)


def _end_rules(keep: bool, why: str) -> int:
    """End allow rules: one that was revoked after the backup would apply again.

    Rules of a session end in any case, together with the approvals that made them.
    """
    alive = rules_in_force().filter(effect=Rule.Effect.ALLOW)
    if keep:
        alive = alive.filter(scope=Rule.ScopeKind.SESSION)
    with transaction.atomic():
        rules = list(alive)
        alive.update(ends_at=Now())
        if rules:
            changes.record(action="rules_ended", what=f"{why}\n{changes.described(rules)}", via=DecisionSource.SYSTEM)
    return len(rules)
