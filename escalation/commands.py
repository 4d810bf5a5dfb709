"""Write commands of the outbox, of linked accounts and of incoming updates."""

import logging
import secrets
from collections.abc import Callable, Sequence
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID, uuid4

from django.contrib.auth.models import User
from django.db import DatabaseError, transaction
from django.db.models import Exists, OuterRef, QuerySet, Subquery
from django.db.models.functions import Now

from approvals.models import Approval
from escalation import outbox
from escalation.channels.base import Channel, DeliveryNotice, Place
from escalation.errors import (
    ChatUnusable,
    CircuitOpen,
    DeliveryError,
    NotReached,
    Refused,
    TokenRefused,
    TooManyRequests,
)
from escalation.models import DELIVERY_FLOW, Approver, Button, Delivery, Message, Update
from escalation.policy import refused_retry_delay_s, retry_delay_s
from escalation.queries import build_delivery_notices, build_notice, read_approval
from escalation.telegram.messages.cards import hash_token
from orchestra.db import notify, sql
from orchestra.db.unit_of_work import UnitOfWork

logger = logging.getLogger(__name__)

Status = Delivery.Status
PENDING = Approval.Status.PENDING
CLAIM_LEASE = timedelta(minutes=2)  # longer than one attempt with all its quick retries
LINK_CODE_LASTS = timedelta(minutes=15)
UPDATES_KEPT = timedelta(hours=48)
NOT_SENT = "Failed to send Telegram message"


# --- the outbox


def open_delivery(approval_id: UUID) -> bool:
    """Add the approval to the outbox. Return False if it is there already or is not open."""
    return bool(
        sql.run(
            "INSERT INTO deliveries"  # noqa: S608 - constants only
            " (id, approval_id, channel, status, attempts, next_try_at, last_error, doubtful, created_at)"
            f" SELECT %s, id, 'telegram', 'waiting', 0, {sql.now()}, '', FALSE, {sql.now()} FROM approvals"
            " WHERE id = %s AND status = 'pending' ON CONFLICT DO NOTHING",
            uuid4(), approval_id,
        )
    )  # fmt: skip


def open_missing_deliveries(*, batch: int) -> int:
    """Add all open approvals that the outbox lacks; return how many. Concurrent calls are safe."""
    mine = Delivery.objects.filter(approval=OuterRef("pk"))
    missing = Approval.objects.filter(~Exists(mine), status=PENDING).order_by("expires_at")
    ids = list(missing.values_list("pk", flat=True)[:batch])
    return sum(open_delivery(approval_id) for approval_id in ids)


def claim_due_deliveries(*, limit: int, lease: timedelta = CLAIM_LEASE) -> list[Delivery]:
    """Claim up to ``limit`` due rows, the earliest deadline first.

    No other process can claim them until ``lease`` ends.

    The rows of a sender that dies come due again: messages are sent at least once.
    """
    return outbox.claim_deliveries(
        outbox.due_deliveries(Status.WAITING), limit=limit, lease=lease, deadline=_approval_deadline()
    )


def claim_refused_delivery(*, lease: timedelta = CLAIM_LEASE) -> list[Delivery]:
    """Claim one due row that Telegram refused.

    Each is retried alone, so that it cannot block a list.
    """
    return outbox.claim_deliveries(
        outbox.due_deliveries(Status.FAILED), limit=1, lease=lease, deadline=_approval_deadline()
    )


def send_deliveries(channel: Channel, deliveries: Sequence[Delivery], *, silent: bool) -> bool:
    """Send these claimed deliveries in one message. Return False if that failed; never raise.

    After a temporary failure the rows stay ``waiting`` and come due again. After a refusal they are
    ``failed``, with the reason.
    """
    try:
        notices = build_delivery_notices(deliveries, with_blocks=len(deliveries) == 1)
    except DatabaseError as error:
        logger.warning("telegram delivery failed: the database does not answer (%s)", type(error).__name__)
        return False
    return not notices or _deliver(channel, notices, lambda: channel.ask(notices, silent=silent))


def open_and_send(channel: Channel, approval_id: UUID, *, silent: bool) -> bool:
    """Add an approval to the outbox and send it at once, with one read, one write and one call.

    Return False if the approval is not open or if sending failed; never raise.
    """
    try:
        approval = read_approval(pk=approval_id, status=PENDING)
        if approval is None:
            return False
        delivery = Delivery(pk=uuid4(), approval_id=approval_id, attempts=1)
        notice = (delivery, build_notice(approval))
        prepared = channel.prepare(notice, silent=silent)
        if not _open_claimed(delivery, prepared.buttons):
            return False
    except DatabaseError as error:
        logger.warning("telegram delivery failed: the database does not answer (%s)", type(error).__name__)
        return False
    except Exception:
        logger.exception("telegram delivery failed: a bug; it is tried again")
        open_delivery(approval_id)
        return False
    return _deliver(channel, [notice], lambda: channel.send_prepared(prepared, notice, silent=silent))


def settle_message(channel: Channel, place: Place) -> bool:
    """Update the message at ``place`` to the present state.

    Return False if that failed; never raise.
    """
    try:
        # before the edit, so that a deadline that changes during the edit is detected
        _deliveries_at(place).update(shown_deadline=_approval_deadline())
        channel.settle(place)
        _mark_settled(place)
        return True
    except DeliveryError as error:
        _postpone(_deliveries_at(place), error, shown_deadline=None)
    except DatabaseError as error:
        logger.warning("telegram card not settled: the database does not answer (%s)", type(error).__name__)
    except Exception:
        logger.exception("telegram card not settled: a bug; it is tried again")
        _postpone(_deliveries_at(place), None, shown_deadline=None)
    return False


def send_reminder(channel: Channel, deliveries: Sequence[Delivery], *, silent: bool) -> bool:
    """Send a reminder for these deliveries, once for each deadline; ``silent`` records it without a
    message. Return False if that failed; never raise.
    """
    try:
        notices = build_delivery_notices(deliveries, with_blocks=False)
        if notices and not silent:
            channel.remind(notices)
        Delivery.objects.filter(pk__in=[delivery.pk for delivery, _ in notices]).update(
            reminded_for=_approval_reminded_for()
        )
        return True
    except DeliveryError as error:
        _postpone(Delivery.objects.filter(pk__in=[one.pk for one in deliveries]), error)
    except DatabaseError as error:
        logger.warning("telegram reminder failed: the database does not answer (%s)", type(error).__name__)
    except Exception:
        logger.exception("telegram reminder failed: a bug")
        _postpone(Delivery.objects.filter(pk__in=[one.pk for one in deliveries]), None)
    return False


def settle_undelivered() -> int:
    """Settle deliveries whose request closed before it was sent, or sent again; return how many."""
    return sum(_settle_undelivered(status) for status in (Status.WAITING, Status.FAILED))


def resend_deliveries(delivery_ids: Sequence[UUID]) -> int:
    """Queue these deliveries again, whatever their status; return how many are open and will be
    sent.
    """
    open_ones = Approval.objects.filter(pk=OuterRef("approval"), status=PENDING)
    ids = list(Delivery.objects.filter(Exists(open_ones), pk__in=delivery_ids).values_list("pk", flat=True))
    rows = Delivery.objects.filter(pk__in=ids)
    DELIVERY_FLOW.move(rows, to=Status.WAITING)
    return rows.filter(status=Status.WAITING).update(next_try_at=Now(), last_error="")


def _settle_undelivered(status: str) -> int:
    closed = Approval.objects.filter(pk=OuterRef("approval")).exclude(status=PENDING)
    ids = list(Delivery.objects.filter(Exists(closed), status=status).values_list("pk", flat=True)[:1000])
    return DELIVERY_FLOW.move(Delivery.objects.filter(pk__in=ids), to=Status.SETTLED, settled_at=Now()) if ids else 0


def _deliver(channel: Channel, notices: Sequence[DeliveryNotice], send_message: Callable[[], None]) -> bool:
    deliveries = [delivery for delivery, _ in notices]
    try:
        send_message()
        for delivery in deliveries:
            mine = Delivery.objects.filter(pk=delivery.pk)
            DELIVERY_FLOW.move(mine, to=Status.SENT, sent_at=Now(), next_try_at=Now(), last_error="")
        return True
    except DeliveryError as error:
        return _record_failure(deliveries, error)
    except DatabaseError as error:
        logger.warning("telegram delivery failed: the database does not answer (%s)", type(error).__name__)
    except Exception:
        logger.exception("telegram delivery failed: a bug; it is tried again")
    return False


def _open_claimed(delivery: Delivery, buttons: Sequence[Button]) -> bool:
    """Insert a new delivery, claimed by this process, together with its buttons.

    Return False if a row exists already.

    The commit does not wait for the disk. A crash of the database loses the row and its buttons
    together, and the sweep then opens the delivery again.
    """
    deadline = sql.Statement("(SELECT expires_at FROM approvals WHERE id = %s)", (delivery.approval_id,))
    into, row = sql.insertion(delivery, next_try_at=sql.from_now(CLAIM_LEASE), shown_deadline=deadline)
    text = f"INSERT INTO {into} SELECT {row.text}{sql.hasty_source()} ON CONFLICT DO NOTHING"
    unit = UnitOfWork(sql.Statement(text, row.values))
    for button in buttons:
        unit.insert(button)
    return unit.commit() is not None


def _record_failure(deliveries: Sequence[Delivery], error: DeliveryError) -> bool:
    rows = Delivery.objects.filter(pk__in=[one.pk for one in deliveries], status__in=(Status.WAITING, Status.FAILED))
    attempts = max(one.attempts for one in deliveries)
    detail = f"{NOT_SENT}: {error.detail}"[:300]
    try:
        if isinstance(error, Refused) and not isinstance(error, ChatUnusable | TokenRefused):
            logger.error("telegram delivery failed, Telegram refuses it; it is tried again slowly: %s", detail)
            DELIVERY_FLOW.move(rows, to=Status.FAILED)
            alone = timedelta(0) if len(deliveries) > 1 else timedelta(seconds=refused_retry_delay_s(attempts))
            rows.update(next_try_at=Now() + alone, last_error=detail)
            return False
        logger.warning("telegram delivery failed, it stays in the outbox: %s", detail)
        doubt = {"doubtful": True} if isinstance(error, NotReached) and error.may_have_succeeded else {}
        rows.update(next_try_at=Now() + _retry_delay(error, attempts), last_error=detail, **doubt)
    except DatabaseError as problem:
        logger.warning("telegram delivery: its failure was not saved (%s)", type(problem).__name__)
    return False


def _postpone(rows: QuerySet[Delivery], error: DeliveryError | None, **changes: object) -> None:
    changes_of_error = {"last_error": error.detail[:300]} if error else {}
    try:
        rows.update(next_try_at=Now() + _retry_delay(error, 1), **changes_of_error, **changes)
    except DatabaseError as problem:
        logger.warning("telegram: a failure was not saved (%s)", type(problem).__name__)


def _deliveries_at(place: Place) -> QuerySet[Delivery]:
    """Return the deliveries that the message at ``place`` shows."""
    chat, number = place
    return Delivery.objects.filter(pk__in=Message.objects.filter(chat=chat, message=number).values("delivery"))


def _approval_deadline() -> Subquery:
    """Return the deadline of the approval as a subquery.

    SQLite compares times as text, and Python would write a different text.
    """
    return Subquery(Approval.objects.filter(pk=OuterRef("approval")).values("expires_at"))


def _approval_reminded_for() -> Subquery:
    """Return the deadline that the approval announced last; for approvals without a deadline, the
    time of that reminder.
    """
    return Subquery(Approval.objects.filter(pk=OuterRef("approval")).values("reminded_for"))


def _retry_delay(error: DeliveryError | None, attempts: int) -> timedelta:
    """Return the time until the next attempt.

    A call that was not made comes due at once, because the breaker or the chat state decides when
    to continue. A chat that refuses one topic or edits alone is retried with a delay; all its rows
    become due when the chat accepts messages again.
    """
    if isinstance(error, CircuitOpen | TokenRefused):
        return timedelta(0)
    seconds = error.retry_after_s if isinstance(error, TooManyRequests) else retry_delay_s(attempts)
    return timedelta(seconds=seconds)


def _mark_settled(place: Place) -> None:
    """Settle the deliveries of this message whose approval has closed and that have no live message
    left.
    """
    for delivery in _deliveries_at(place).select_related("approval"):
        if not delivery.approval.is_open and not delivery.messages.filter(live=True).exists():
            DELIVERY_FLOW.move(Delivery.objects.filter(pk=delivery.pk), to=Status.SETTLED, settled_at=Now())


# --- linked accounts


def create_link_code(user: User) -> str:
    """Return a one-time code that links the Telegram account of ``user``: ``/link CODE``.

    An older code becomes invalid.
    """
    code = secrets.token_hex(6)
    Approver.objects.update_or_create(
        user=user, defaults={"code_sha256": hash_token(code), "code_expires_at": Now() + LINK_CODE_LASTS}
    )
    return code


def link_approver(*, code: str, telegram_user: int, telegram_name: str) -> Approver | None:
    """Link a Telegram user to the account that owns ``code``; return None if the code is wrong,
    used or expired.

    An earlier Telegram user of the account, and an earlier account of the Telegram user, are
    unlinked.
    """
    with transaction.atomic():
        rows = Approver.objects.filter(code_sha256=hash_token(code.strip().lower()), code_expires_at__gt=Now())
        approver = rows.select_related("user").first()
        if approver is None or not rows.filter(pk=approver.pk).update(code_sha256="", code_expires_at=None):
            return None
        for earlier in Approver.objects.filter(telegram_user=telegram_user):
            _save_fields(earlier, telegram_user=None, linked_at=None)
        _save_fields(approver, telegram_user=telegram_user, telegram_name=telegram_name[:150], linked_at=Now())
    approver.refresh_from_db()
    return approver


def _save_fields(approver: Approver, **changes: Any) -> None:
    """Change fields through ``save``, so that the audit records the change."""
    for name, value in changes.items():
        setattr(approver, name, value)
    approver.save(update_fields=list(changes))


def mute_approver(approver: Approver, *, until: datetime | None) -> None:
    """Suppress sound and reminders for this person until ``until``; None ends the mute."""
    Approver.objects.filter(pk=approver.pk).update(muted_until=until)


# --- incoming updates


def record_update(update: dict[str, Any]) -> bool:
    """Mark an update as applied.

    Return False if its id, or the id of its callback query, was applied before.

    Call this in the transaction of the effect, so that both commit or neither does.
    """
    update_id = int(update["update_id"])
    callback_id = str(update["callback_query"]["id"]) if "callback_query" in update else None
    waiting = "UPDATE telegram_updates SET applied_at = {now}, payload = '' WHERE update_id = %s AND applied_at IS NULL"
    new = (
        "INSERT INTO telegram_updates (update_id, callback_id, payload, received_at, applied_at, failures)"
        " VALUES (%s, %s, '', {now}, {now}, 0) ON CONFLICT DO NOTHING"  # either of its two ids may exist
    )
    now = sql.now()
    return bool(sql.run(waiting.format(now=now), update_id) or sql.run(new.format(now=now), update_id, callback_id))


def store_webhook_update(update: dict[str, Any], payload: str) -> bool:
    """Store an update that arrived by webhook, until the telegram process applies it.

    Return False if it is known.
    """
    callback_id = str(update["callback_query"]["id"]) if "callback_query" in update else None
    with transaction.atomic():
        taken = sql.run(
            "INSERT INTO telegram_updates (update_id, callback_id, payload, received_at, failures)"  # noqa: S608 - constants only
            f" VALUES (%s, %s, %s, {sql.now()}, 0) ON CONFLICT DO NOTHING",
            int(update["update_id"]), callback_id, payload,
        )  # fmt: skip
        if taken:
            notify.send("telegram", "update")
    return bool(taken)


def delete_old_updates() -> int:
    """Delete applied updates; return how many.

    They are kept while Telegram may send them again (up to 24 hours).
    """
    return Update.objects.filter(applied_at__isnull=False, received_at__lt=Now() - UPDATES_KEPT).delete()[0]
