"""A rejection that waits for its reason.

The first decision is final, so a reason cannot be added later, and a reason must stay optional.
Reject therefore asks for it and saves the pending rejection on the message. A reply rejects with
the reason, "Reject now" without one, and so does `close_due_rejections` when the time is over, in
whichever process runs then. Until then no approval is accepted in Telegram. See docs/decisions.
"""

import logging
from dataclasses import replace
from datetime import datetime, timedelta
from uuid import UUID

from django.db import transaction
from django.db.models.functions import Now

from approvals.commands import decide_approval
from approvals.errors import ApprovalClosed, ApprovalExpired, SelfApproval
from approvals.models import Approval, DecisionSource
from escalation.models import Message
from escalation.telegram.inbound.after_commit import Task
from escalation.telegram.inbound.people import Person
from escalation.telegram.messages import posting
from escalation.telegram.messages.card_states import REJECTING, WINDOW, Rejection

logger = logging.getLogger(__name__)

PENDING = Approval.Status.PENDING
SWEEP = timedelta(seconds=5)  # `close_due_rejections` runs more often than that


def has_time_for_reason(approval: Approval) -> bool:
    """Return True if the deadline leaves time for a reason.

    ``approval`` is a row of `escalation.queries.read_approval`.
    """
    left: timedelta = approval.expires_at - approval.read_at  # type: ignore[attr-defined]
    return left > WINDOW + SWEEP


def start_rejection(message: Message, person: Person, now: datetime) -> None:
    """Save a pending rejection on the message, whose row the caller has locked.

    ``now`` is the database time.
    """
    rejection = Rejection(
        by=person.account, telegram_user=person.telegram_user, address=person.address, until=now + WINDOW
    )
    _save_value(message, message.value | {REJECTING: rejection.to_json()})


def withdraw_rejection(message: Message) -> None:
    """Remove a pending rejection that was withdrawn or is not permitted."""
    _save_value(message, {name: value for name, value in message.value.items() if name != REJECTING})


def find_pending_rejection(approval_id: UUID) -> Rejection | None:
    """Return the pending rejection of this approval, or None."""
    rows = Message.objects.filter(delivery__approval=approval_id, live=True, value__has_key=REJECTING)
    return next((found for row in rows if (found := Rejection.read_from(row))), None)


def find_rejection_message(person: Person) -> Message | None:
    """Return the message on which this person rejects in this chat, locked until the commit.

    Return None unless there is exactly one.
    """
    waiting = Message.objects.filter(chat=person.chat, live=True, value__has_key=REJECTING)
    theirs = [
        row for row in waiting if (found := Rejection.read_from(row)) and found.telegram_user == person.telegram_user
    ]
    rows = Message.objects.select_for_update(of=("self",)).select_related("delivery")
    return rows.filter(pk=theirs[0].pk).first() if len(theirs) == 1 else None


def close_due_rejections() -> list[Task]:
    """Reject, without a reason, what has waited long enough.

    Return tasks that redraw cards of refused rejections.

    Concurrent calls are safe. The query reads live messages only, of which there are few.
    """
    waiting = Message.objects.filter(live=True, value__has_key=REJECTING, delivery__approval__status=PENDING)
    rows = waiting.annotate(read_at=Now())
    due = [row.pk for row in rows if (found := Rejection.read_from(row)) and found.until <= row.read_at]
    return [task for key in due if (task := _close_rejection(key))]


def _close_rejection(key: UUID) -> Task | None:
    with transaction.atomic():
        message = Message.objects.select_for_update(of=("self",)).select_related("delivery").get(pk=key)
        rejection = Rejection.read_from(message)
        if rejection is None:
            return None
        person = _reload_person(rejection, message)
        why_not = person.refusal() or _record_rejection(rejection, message.delivery.approval_id)
        if why_not:
            person.audit_refusal(why_not, message.delivery.approval_id)
            withdraw_rejection(message)
    if not why_not:
        return None
    logger.warning("telegram: a rejection was refused: %s", why_not)
    return lambda api: posting.redraw_message(api, key)


def _reload_person(rejection: Rejection, message: Message) -> Person:
    """Return the person with their present rights, which are checked when the decision is made."""
    chat = {"id": message.chat}
    known = Person.from_update({"id": rejection.telegram_user}, chat, 0)
    return known if known.approver and known.account == rejection.by else replace(known, approver=None)


def _record_rejection(rejection: Rejection, approval_id: UUID) -> str:
    try:
        decide_approval(
            approval_id=approval_id, decision=Approval.Status.REJECTED, by=rejection.by, via=DecisionSource.TELEGRAM,
            address=rejection.address,
        )  # fmt: skip
    except (ApprovalClosed, ApprovalExpired):
        return ""  # closed elsewhere: its card is settled as usual
    except SelfApproval as error:
        return error.detail
    return ""


def _save_value(message: Message, value: dict[str, object]) -> None:
    message.value = value
    message.save(update_fields=["value"])
