"""Every write to the outbox: open deliveries, claim them, send, settle, remind, retry."""

import logging
from collections.abc import Callable, Sequence
from datetime import timedelta
from uuid import UUID, uuid4

from django.db import DatabaseError, transaction
from django.db.models import Exists, F, OuterRef, QuerySet, Subquery
from django.db.models.functions import Now

from approvals.models import Approval
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
from escalation.models import DELIVERY_FLOW, Button, Delivery, Message
from escalation.policy import refused_retry_delay_s, retry_delay_s
from escalation.queries import build_delivery_notices, build_notice, read_approval
from orchestra.db import sql
from orchestra.db.unit_of_work import UnitOfWork

logger = logging.getLogger(__name__)

Status = Delivery.Status
PENDING = Approval.Status.PENDING
CLAIM_LEASE = timedelta(minutes=2)  # longer than one attempt with all its quick retries
NOT_SENT = "Failed to send Telegram message"


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
    return _claim_deliveries(_due_deliveries(Status.WAITING), limit=limit, lease=lease, deadline=_approval_deadline())


def claim_refused_delivery(*, lease: timedelta = CLAIM_LEASE) -> list[Delivery]:
    """Claim one due row that Telegram refused.

    Each is retried alone, so that it cannot block a list.
    """
    return _claim_deliveries(_due_deliveries(Status.FAILED), limit=1, lease=lease, deadline=_approval_deadline())


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
    """Send a reminder for these deliveries, once for each deadline.

    ``silent`` records it without a message. Return False if that failed; never raise.
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
    """Queue these deliveries again, whatever their status.

    Return how many are open and will be sent.
    """
    open_ones = Approval.objects.filter(pk=OuterRef("approval"), status=PENDING)
    ids = list(Delivery.objects.filter(Exists(open_ones), pk__in=delivery_ids).values_list("pk", flat=True))
    rows = Delivery.objects.filter(pk__in=ids)
    DELIVERY_FLOW.move(rows, to=Status.WAITING)
    return rows.filter(status=Status.WAITING).update(next_try_at=Now(), last_error="")


def retry_postponed_deliveries() -> int:
    """Make every postponed delivery due now; return how many.

    The sender calls this when Telegram accepts messages again.
    """
    put_off = Delivery.objects.filter(next_try_at__gt=Now())
    number = sum(put_off.filter(status=status).update(next_try_at=Now()) for status in (Status.WAITING, Status.FAILED))
    live = Message.objects.filter(delivery=OuterRef("pk"), live=True)
    return number + put_off.filter(Exists(live), status=Status.SENT).update(next_try_at=Now())


def resend_after_chat_move(old_chat: int) -> int:
    """Queue open requests again after a group became a supergroup; return how many.

    The old messages stayed in the old group. Their rows are kept, so that callback queries on them
    are still checked and a pending rejection with its reason still counts.
    """
    there = Message.objects.filter(delivery=OuterRef("pk"), chat=old_chat, live=True)
    rows = Delivery.objects.filter(Exists(there), status=Status.SENT)
    keys = list(rows.filter(approval__status=PENDING).values_list("pk", flat=True))
    return DELIVERY_FLOW.move(Delivery.objects.filter(pk__in=keys), to=Status.WAITING, next_try_at=Now()) if keys else 0


def _settle_undelivered(status: str) -> int:
    # ids first: rows that `Flow.move` updates may be filtered on their own table only
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
    into, row = sql.build_insert(delivery, next_try_at=sql.from_now(CLAIM_LEASE), shown_deadline=deadline)
    text = f"INSERT INTO {into} SELECT {row.text}{sql.async_commit_source()} ON CONFLICT DO NOTHING"
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
            # a refused list is split: each delivery is retried alone, at once
            delay = timedelta(0) if len(deliveries) > 1 else timedelta(seconds=refused_retry_delay_s(attempts))
            rows.update(next_try_at=Now() + delay, last_error=detail)
            return False
        logger.warning("telegram delivery failed, it stays in the outbox: %s", detail)
        doubt = {"doubtful": True} if isinstance(error, NotReached) and error.may_have_succeeded else {}
        rows.update(next_try_at=Now() + _retry_delay(error, attempts), last_error=detail, **doubt)
    except DatabaseError as problem:
        logger.warning("telegram delivery: its failure was not saved (%s)", type(problem).__name__)
    return False


def _postpone(rows: QuerySet[Delivery], error: DeliveryError | None, **changes: object) -> None:
    reason = {"last_error": error.detail[:300]} if error else {}
    try:
        rows.update(next_try_at=Now() + _retry_delay(error, 1), **reason, **changes)
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
    """Return the deadline that the approval announced last.

    For approvals without a deadline this is the time of that reminder.
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
    """Settle deliveries of this message that are closed and have no live message left."""
    for delivery in _deliveries_at(place).select_related("approval"):
        if not delivery.approval.is_open and not delivery.messages.filter(live=True).exists():
            DELIVERY_FLOW.move(Delivery.objects.filter(pk=delivery.pk), to=Status.SETTLED, settled_at=Now())


def _claim_deliveries(due: QuerySet[Delivery], *, limit: int, lease: timedelta, deadline: object) -> list[Delivery]:
    """Claim up to ``limit`` of the ``due`` rows, the earliest deadline first.

    No other process can claim them until ``lease`` ends.
    """
    with transaction.atomic():
        rows = list(due.select_for_update(skip_locked=True, of=("self",)).order_by("approval__expires_at")[:limit])
        claimed = Delivery.objects.filter(pk__in=[row.pk for row in rows])
        claimed.update(next_try_at=Now() + lease, attempts=F("attempts") + 1, shown_deadline=deadline)
    for row in rows:
        row.attempts += 1
    return rows


def _due_deliveries(status: str) -> QuerySet[Delivery]:
    """Return the deliveries of open approval requests in ``status`` whose next attempt is due."""
    return Delivery.objects.filter(status=status, next_try_at__lte=Now(), approval__status=PENDING)
