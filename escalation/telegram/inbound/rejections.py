"""A rejection that waits a moment for its reason.

The first answer is final, so a reason cannot be added to it; and nobody should have to type one. Reject therefore asks
"why?" and is kept on the message: a reply rejects with the reason, "Reject now" without, and so does `close_due` when
the time is up, whichever process runs by then. Meanwhile nothing can be approved in Telegram. See docs/decisions.
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
SWEEP = timedelta(seconds=5)  # `close_due` comes by more often than that


def has_time_for_reason(approval: Approval) -> bool:
    """Whether a reason can be waited for before the deadline; ``approval`` as `escalation.queries.asked` reads it."""
    left: timedelta = approval.expires_at - approval.read_at  # type: ignore[attr-defined]
    return left > WINDOW + SWEEP


def start_rejection(message: Message, person: Person, now: datetime) -> None:
    """Keep on the message that this person rejects; the caller holds its row. ``now`` is the database's."""
    rejection = Rejection(
        by=person.account, telegram_user=person.telegram_user, address=person.address, until=now + WINDOW
    )
    _save_value(message, message.value | {REJECTING: rejection.to_json()})


def withdraw_rejection(message: Message) -> None:
    """It was not meant, or may not be."""
    _save_value(message, {name: value for name, value in message.value.items() if name != REJECTING})


def find_pending_rejection(approval_id: UUID) -> Rejection | None:
    """Somebody's rejection of this approval that waits for its reason."""
    rows = Message.objects.filter(delivery__approval=approval_id, live=True, value__has_key=REJECTING)
    return next((found for row in rows if (found := Rejection.read_from(row))), None)


def find_rejection_message(person: Person) -> Message | None:
    """The message on which this person rejects in this chat, if it is one alone; locked until the commit."""
    waiting = Message.objects.filter(chat=person.chat, live=True, value__has_key=REJECTING)
    theirs = [
        row for row in waiting if (found := Rejection.read_from(row)) and found.telegram_user == person.telegram_user
    ]
    rows = Message.objects.select_for_update(of=("self",)).select_related("delivery")
    return rows.filter(pk=theirs[0].pk).first() if len(theirs) == 1 else None


def close_due_rejections() -> list[Task]:
    """Reject without a reason what had its time; returns what is to be redrawn because it may not be rejected.

    Safe to run twice at once. Looks at live messages only, of which there are few.
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
    logger.warning("telegram: a rejection did not count: %s", why_not)
    return lambda api: posting.redraw_message(api, key)


def _reload_person(rejection: Rejection, message: Message) -> Person:
    """The person as they are now: authority is judged when the decision is made."""
    chat = {"id": message.chat}
    known = Person.from_update({"id": rejection.telegram_user}, chat, 0)
    return known if known.approver and known.account == rejection.by else replace(known, approver=None)


def _record_rejection(rejection: Rejection, approval_id: UUID) -> str:
    try:
        decide_approval(
            approval_id=approval_id, verdict=Approval.Status.REJECTED, by=rejection.by, via=DecisionSource.TELEGRAM,
            address=rejection.address,
        )  # fmt: skip
    except (ApprovalClosed, ApprovalExpired):
        return ""  # closed another way: its card is settled like any
    except SelfApproval as error:
        return error.detail
    return ""


def _save_value(message: Message, value: dict[str, object]) -> None:
    message.value = value
    message.save(update_fields=["value"])
