"""Reopening: a request that was rejected, expired or withdrawn is made again, as a new request.

The old request stays as it is. Both rows name each other (``reopened_from``, ``reopened_as``), so
that they form a chain, of which at most the newest is open. What a rule or a guardrail refused
cannot be reopened, because no person could have decided it.
"""

import logging
from collections.abc import Callable
from dataclasses import fields
from datetime import timedelta
from functools import partial
from uuid import UUID, uuid4

from django.conf import settings
from django.db import IntegrityError, transaction

from approvals.commands import ApprovalRequest, audit_entry, refuse_self_approval
from approvals.deadlines import FOREVER, allowed_time, deadline_after
from approvals.errors import NotReopenable
from approvals.models import Approval, Callback, DecisionSource
from approvals.queries import find_approval
from approvals.signals import approval_changed, approval_reopened
from orchestra.db import notify, sql
from orchestra.db.unit_of_work import UnitOfWork
from orchestra.logs.config import bind

logger = logging.getLogger(__name__)

REOPENABLE = (Approval.Status.REJECTED, Approval.Status.EXPIRED, Approval.Status.CANCELLED)
MOST_LINKS = 1_000  # a bound for walking a chain, in case its rows form a loop

Veto = Callable[[Approval], str]
_vetoes: list[Veto] = []


def register_veto(veto: Veto) -> None:
    """Register a function of another app that returns why a request cannot be reopened, or an empty
    text.
    """
    _vetoes.append(veto)


def reopen_approval(*, approval_id: UUID, by: str, via: str, address: str = "") -> Approval:
    """Make a closed request again and return the open one. The caller has checked that ``by`` may
    decide now.

    The newest request of the chain counts. If that is open it is returned unchanged, so that two
    people who reopen at the same time get the same request.

    Raises:
        ApprovalNotFound: there is no such approval.
        NotReopenable: it is open, was approved, was refused by a rule, or its session cannot
        continue.
        SelfApproval: ``by`` requested it, and self-approval is off.
    """
    approval = newest_of(find_approval(approval_id))
    refuse_self_approval(approval, by)
    if approval.is_open and approval.pk != approval_id:
        return approval
    if why_not := why_not_reopened(approval):
        raise NotReopenable(why_not, status=approval.status)
    fresh_id = uuid4()
    if _create_again(approval, fresh_id, by=by, via=via, address=address):
        with bind(approval=fresh_id, session=approval.session):
            logger.info("approval %s asked again as %s by %s via %s", approval.pk, fresh_id, by, via)
    return newest_of(find_approval(approval_id))


def why_not_reopened(approval: Approval) -> str:
    """Return why this request, the newest of its chain, cannot be reopened, or an empty text if it
    can.
    """
    if approval.is_open:
        return "This request is still open."
    if approval.status not in REOPENABLE:
        return "This request was approved; only one that was rejected, expired or withdrawn can be asked again."
    if approval.decided_via == DecisionSource.POLICY:
        return "A rule or a guardrail refused this, which no person can lift here."
    return next((why for veto in _vetoes if (why := veto(approval))), "")


def may_be_reopened(approval: Approval) -> bool:
    """Whether surfaces offer to reopen this request: not if it was reopened before."""
    return approval.reopened_as is None and not why_not_reopened(approval)


def newest_of(approval: Approval) -> Approval:
    """Return the newest request of the chain of ``approval``, as far as its rows still exist."""
    for _ in range(MOST_LINKS):
        following = approval.reopened_as and Approval.objects.filter(pk=approval.reopened_as).first()
        if not following:
            break
        approval = following
    return approval


def earlier_of(approval: Approval) -> list[UUID]:
    """Return the ids of the requests that ``approval`` repeats, the youngest first, as far as their
    rows still exist.
    """
    earlier: list[UUID] = []
    rows = Approval.objects.filter(reopened_as__isnull=False)
    while approval.reopened_from and len(earlier) < MOST_LINKS:
        before = rows.filter(pk=approval.reopened_from).first()
        if before is None:
            break
        earlier.append(before.pk)
        approval = before
    return earlier


def _create_again(approval: Approval, fresh_id: UUID, *, by: str, via: str, address: str) -> bool:
    """Link the old row and insert the new one in one unit of work; return False if another call was
    first.
    """
    linking = sql.Statement(
        "UPDATE approvals SET reopened_as = %s"
        " WHERE id = %s AND reopened_as IS NULL AND status IN ('rejected', 'expired', 'cancelled')",
        (fresh_id, approval.pk),
    )
    unit = UnitOfWork(linking, returning="id")
    fresh = Approval(pk=fresh_id, reopened_from=approval.pk, **_same_content(approval))
    unit.insert(fresh, expires_at=deadline_after(allowed_time(_time_given(approval))))
    entry = partial(audit_entry, won=True, by=by, via=via, address=address)
    unit.insert(entry(approval, action="reopened", reason=f"asked again as {fresh_id}"))
    unit.insert(entry(fresh, action="requested", reason=f"asks {approval.pk} again"))
    callback = Callback.objects.filter(approval=approval).first()
    if callback:
        unit.insert(Callback(pk=uuid4(), approval=fresh, url=callback.url))
    for key in (approval.pk, fresh_id):
        unit.notify("approval", str(key))
    if not notify.is_suppressed():
        unit.on_commit(partial(_send_changed_signals, approval.pk, fresh_id, approval.status))
    unit.on_commit(partial(approval_reopened.send_robust, sender=Approval, approval_id=fresh_id, by=by))
    try:
        with transaction.atomic():
            return unit.commit() is not None
    except IntegrityError:
        raise NotReopenable("This very call is being asked already.", status=approval.status) from None


def _send_changed_signals(old: UUID, fresh: UUID, status: str) -> None:
    approval_changed.send_robust(sender=Approval, approval_id=old, status=status)
    approval_changed.send_robust(sender=Approval, approval_id=fresh, status=Approval.Status.PENDING)


def _same_content(approval: Approval) -> dict[str, object]:
    """Return the content of the old request, for an agent's call with a warning that names how it
    ended.
    """
    content = {field.name: getattr(approval, field.name) for field in fields(ApprovalRequest)}
    if approval.kind != Approval.Kind.EXTERNAL and isinstance(approval.facts, dict):
        content["facts"] = approval.facts | {"warning": f"{_how_it_ended(approval)} Asked again."}
    return content


def _how_it_ended(approval: Approval) -> str:
    who = f" by {approval.decided_by}" if approval.decided_by else ""
    if approval.status == Approval.Status.EXPIRED:
        return "Nobody answered this in time before."
    if approval.status == Approval.Status.REJECTED:
        reason = f": {approval.reason[:200]}" if approval.reason else ""
        return f"This was rejected{who} before{reason}."
    return f"This was withdrawn{who} before."


def _time_given(approval: Approval) -> timedelta:
    """The time of the old request, extensions included, but at least the default: the old time was
    too short.
    """
    if approval.never_expires:
        return FOREVER
    return max(approval.expires_at - approval.created_at, settings.APPROVALS.timeout)
