"""Every write to the outbox, to people's accounts and to what came in."""

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
CLAIM_LEASE = timedelta(minutes=2)  # longer than an attempt with all its quick repetitions usually takes
LINK_CODE_LASTS = timedelta(minutes=15)
UPDATES_KEPT = timedelta(hours=48)
NOT_SENT = "Failed to send Telegram message"


# --- the outbox


def open_delivery(approval_id: UUID) -> bool:
    """Note that an approval has to be told; False if that is noted already, or if it is not open."""
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
    """Note all open approvals that nobody noted; return how many. Safe to run twice at once."""
    mine = Delivery.objects.filter(approval=OuterRef("pk"))
    missing = Approval.objects.filter(~Exists(mine), status=PENDING).order_by("expires_at")
    ids = list(missing.values_list("pk", flat=True)[:batch])
    return sum(open_delivery(approval_id) for approval_id in ids)


def claim_due_deliveries(*, limit: int, lease: timedelta = CLAIM_LEASE) -> list[Delivery]:
    """Take up to ``limit`` due rows, the most urgent first; nobody else sees them until ``lease`` is over.

    A sender that dies lets its rows come due again: at least once, never lost.
    """
    return outbox.claim_deliveries(
        outbox.due_deliveries(Status.WAITING), limit=limit, lease=lease, deadline=_approval_deadline()
    )


def claim_refused_delivery(*, lease: timedelta = CLAIM_LEASE) -> list[Delivery]:
    """Take one due row that Telegram refused; each is tried alone, so that it spoils no list."""
    return outbox.claim_deliveries(
        outbox.due_deliveries(Status.FAILED), limit=1, lease=lease, deadline=_approval_deadline()
    )


def send_deliveries(channel: Channel, deliveries: Sequence[Delivery], *, silent: bool) -> bool:
    """Tell people of these claimed deliveries, in one message. False if that did not work; never raises.

    What failed for now stays ``waiting`` and comes due again; what can never work is ``failed``, with the reason.
    """
    try:
        notices = build_delivery_notices(deliveries, with_blocks=len(deliveries) == 1)
    except DatabaseError as error:
        logger.warning("telegram delivery failed: the database does not answer (%s)", type(error).__name__)
        return False
    return not notices or _deliver(channel, notices, lambda: channel.ask(notices, silent=silent))


def open_and_send(channel: Channel, approval_id: UUID, *, silent: bool) -> bool:
    """Note that an approval has to be told and tell it, by the shortest way: one read, one write, one call.

    False if there was nothing to tell, or if it did not work; never raises.
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
    """Bring the message at ``place`` up to the truth. False if that did not work; never raises."""
    try:
        # first, so that a deadline which changes meanwhile is seen
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
    """Say that these are nearly over, once for each deadline; nothing if everybody has muted. False if that did not
    work; never raises."""
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
    """Settle what closed before anybody was told of it, or told of it again; return how many."""
    return sum(_settle_undelivered(status) for status in (Status.WAITING, Status.FAILED))


def resend_deliveries(delivery_ids: Sequence[UUID]) -> int:
    """Have these told once more, whatever became of the first time; return how many are still open and will be."""
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
    """Save a new delivery, which is this process's to send for a while, with its buttons; False if there is one.

    It does not wait for the disk: what a crash of the database loses is lost together, noted and told again.
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
        logger.warning("telegram delivery: its failure was not written down (%s)", type(problem).__name__)
    return False


def _postpone(rows: QuerySet[Delivery], error: DeliveryError | None, **changes: object) -> None:
    changes_of_error = {"last_error": error.detail[:300]} if error else {}
    try:
        rows.update(next_try_at=Now() + _retry_delay(error, 1), **changes_of_error, **changes)
    except DatabaseError as problem:
        logger.warning("telegram: a failure was not written down (%s)", type(problem).__name__)


def _deliveries_at(place: Place) -> QuerySet[Delivery]:
    """The deliveries that the message at ``place`` shows."""
    chat, number = place
    return Delivery.objects.filter(pk__in=Message.objects.filter(chat=chat, message=number).values("delivery"))


def _approval_deadline() -> Subquery:
    """The approval's, as the database keeps it: SQLite compares times as text, and Python would write another text."""
    return Subquery(Approval.objects.filter(pk=OuterRef("approval")).values("expires_at"))


def _approval_reminded_for() -> Subquery:
    """The deadline that people were reminded of; of what never expires, when they were."""
    return Subquery(Approval.objects.filter(pk=OuterRef("approval")).values("reminded_for"))


def _retry_delay(error: DeliveryError | None, attempts: int) -> timedelta:
    """Until the next attempt. What was not even tried comes due at once: its own gate says when to go on.

    A chat that refuses may refuse one topic or edits alone; all comes due when it takes messages again.
    """
    if isinstance(error, CircuitOpen | TokenRefused):
        return timedelta(0)
    seconds = error.retry_after_s if isinstance(error, TooManyRequests) else retry_delay_s(attempts)
    return timedelta(seconds=seconds)


def _mark_settled(place: Place) -> None:
    """Settle deliveries of this message whose approval has closed and that have no live message left."""
    for delivery in _deliveries_at(place).select_related("approval"):
        if not delivery.approval.is_open and not delivery.messages.filter(live=True).exists():
            DELIVERY_FLOW.move(Delivery.objects.filter(pk=delivery.pk), to=Status.SETTLED, settled_at=Now())


# --- people


def create_link_code(user: User) -> str:
    """A one-time code with which ``user`` proves their Telegram account: ``/link CODE``; an older one is void."""
    code = secrets.token_hex(6)
    Approver.objects.update_or_create(
        user=user, defaults={"code_sha256": hash_token(code), "code_expires_at": Now() + LINK_CODE_LASTS}
    )
    return code


def link_approver(*, code: str, telegram_user: int, telegram_name: str) -> Approver | None:
    """Bind a Telegram user to the account whose code that is; None if the code is wrong, used or too old.

    The account's earlier Telegram user, and the Telegram user's earlier account, are let go.
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
    """By ``save``, so that the audit sees it."""
    for name, value in changes.items():
        setattr(approver, name, value)
    approver.save(update_fields=list(changes))


def mute_approver(approver: Approver, *, until: datetime | None) -> None:
    """No sound and no reminders for this person until then; None ends it."""
    Approver.objects.filter(pk=approver.pk).update(muted_until=until)


# --- what came in


def record_update(update: dict[str, Any]) -> bool:
    """Mark an update as applied; False if it was before, by its exact id or that of its press.

    Call it in the transaction of its effect, so that both commit or neither.
    """
    update_id = int(update["update_id"])
    callback_id = str(update["callback_query"]["id"]) if "callback_query" in update else None
    waiting = "UPDATE telegram_updates SET applied_at = {now}, payload = '' WHERE update_id = %s AND applied_at IS NULL"
    new = (
        "INSERT INTO telegram_updates (update_id, callback_id, payload, received_at, applied_at, failures)"
        " VALUES (%s, %s, '', {now}, {now}, 0) ON CONFLICT DO NOTHING"  # whichever of its two ids is known
    )
    now = sql.now()
    return bool(sql.run(waiting.format(now=now), update_id) or sql.run(new.format(now=now), update_id, callback_id))


def store_webhook_update(update: dict[str, Any], payload: str) -> bool:
    """Keep an update that came by webhook, until the process that applies it does; False if it is known already."""
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
    """Applied ones are kept while Telegram might send them again (24 hours at most); return how many went."""
    return Update.objects.filter(applied_at__isnull=False, received_at__lt=Now() - UPDATES_KEPT).delete()[0]
