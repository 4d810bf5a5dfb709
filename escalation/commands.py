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
from escalation.channels.base import Channel, Place, Told
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
from escalation.policy import next_try_in_s, refused_try_in_s
from escalation.queries import asked, notice_of, told_of
from escalation.telegram.messages.cards import hashed
from orchestra.db import notify, sql
from orchestra.db.unit_of_work import UnitOfWork

logger = logging.getLogger(__name__)

S = Delivery.Status
PENDING = Approval.Status.PENDING
CLAIM = timedelta(minutes=2)  # longer than an attempt with all its quick repetitions usually takes
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


def claim_due_deliveries(*, limit: int, lease: timedelta = CLAIM) -> list[Delivery]:
    """Take up to ``limit`` due rows, the most urgent first; nobody else sees them until ``lease`` is over.

    A sender that dies lets its rows come due again: at least once, never lost.
    """
    return outbox.claim(outbox.due_deliveries(S.WAITING), limit=limit, lease=lease, deadline=_deadline())


def claim_refused_delivery(*, lease: timedelta = CLAIM) -> list[Delivery]:
    """Take one due row that Telegram refused; each is tried alone, so that it spoils no list."""
    return outbox.claim(outbox.due_deliveries(S.FAILED), limit=1, lease=lease, deadline=_deadline())


def send(channel: Channel, deliveries: Sequence[Delivery], *, silent: bool) -> bool:
    """Tell people of these claimed deliveries, in one message. False if that did not work; never raises.

    What failed for now stays ``waiting`` and comes due again; what can never work is ``failed``, with the reason.
    """
    try:
        told = told_of(deliveries, whole=len(deliveries) == 1)
    except DatabaseError as error:
        logger.warning("telegram delivery failed: the database does not answer (%s)", type(error).__name__)
        return False
    return not told or _tell(channel, told, lambda: channel.ask(told, silent=silent))


def send_at_once(channel: Channel, approval_id: UUID, *, silent: bool) -> bool:
    """Note that an approval has to be told and tell it, by the shortest way: one read, one write, one call.

    False if there was nothing to tell, or if it did not work; never raises.
    """
    try:
        approval = asked(pk=approval_id, status=PENDING)
        if approval is None:
            return False
        delivery = Delivery(pk=uuid4(), approval_id=approval_id, attempts=1)
        told = (delivery, notice_of(approval))
        drawn = channel.draw(told, silent=silent)
        if not _open_claimed(delivery, drawn.buttons):
            return False
    except DatabaseError as error:
        logger.warning("telegram delivery failed: the database does not answer (%s)", type(error).__name__)
        return False
    except Exception:
        logger.exception("telegram delivery failed: a bug; it is tried again")
        open_delivery(approval_id)
        return False
    return _tell(channel, [told], lambda: channel.deliver(drawn, told, silent=silent))


def settle(channel: Channel, place: Place) -> bool:
    """Bring the message at ``place`` up to the truth. False if that did not work; never raises."""
    try:
        # first, so that a deadline which changes meanwhile is seen
        _at(place).update(shown_deadline=_deadline())
        channel.settle(place)
        _close_settled(place)
        return True
    except DeliveryError as error:
        _put_off(_at(place), error, shown_deadline=None)
    except DatabaseError as error:
        logger.warning("telegram card not settled: the database does not answer (%s)", type(error).__name__)
    except Exception:
        logger.exception("telegram card not settled: a bug; it is tried again")
        _put_off(_at(place), None, shown_deadline=None)
    return False


def remind(channel: Channel, deliveries: Sequence[Delivery], *, silent: bool) -> bool:
    """Say that these are nearly over, once for each deadline; nothing if everybody has muted. False if that did not
    work; never raises."""
    try:
        told = told_of(deliveries, whole=False)
        if told and not silent:
            channel.remind(told)
        Delivery.objects.filter(pk__in=[delivery.pk for delivery, _ in told]).update(reminded_for=_reminded())
        return True
    except DeliveryError as error:
        _put_off(Delivery.objects.filter(pk__in=[one.pk for one in deliveries]), error)
    except DatabaseError as error:
        logger.warning("telegram reminder failed: the database does not answer (%s)", type(error).__name__)
    except Exception:
        logger.exception("telegram reminder failed: a bug")
        _put_off(Delivery.objects.filter(pk__in=[one.pk for one in deliveries]), None)
    return False


def close_unsent() -> int:
    """Settle what closed before anybody was told of it, or told of it again; return how many."""
    return sum(_close_unsent(status) for status in (S.WAITING, S.FAILED))


def send_again(delivery_ids: Sequence[UUID]) -> int:
    """Have these told once more, whatever became of the first time; return how many are still open and will be."""
    open_ones = Approval.objects.filter(pk=OuterRef("approval"), status=PENDING)
    ids = list(Delivery.objects.filter(Exists(open_ones), pk__in=delivery_ids).values_list("pk", flat=True))
    rows = Delivery.objects.filter(pk__in=ids)
    DELIVERY_FLOW.move(rows, to=S.WAITING)
    return rows.filter(status=S.WAITING).update(next_try_at=Now(), last_error="")


def _close_unsent(status: str) -> int:
    closed = Approval.objects.filter(pk=OuterRef("approval")).exclude(status=PENDING)
    ids = list(Delivery.objects.filter(Exists(closed), status=status).values_list("pk", flat=True)[:1000])
    return DELIVERY_FLOW.move(Delivery.objects.filter(pk__in=ids), to=S.SETTLED, settled_at=Now()) if ids else 0


def _tell(channel: Channel, told: Sequence[Told], how: Callable[[], None]) -> bool:
    deliveries = [delivery for delivery, _ in told]
    try:
        how()
        for delivery in deliveries:
            mine = Delivery.objects.filter(pk=delivery.pk)
            DELIVERY_FLOW.move(mine, to=S.SENT, sent_at=Now(), next_try_at=Now(), last_error="")
        return True
    except DeliveryError as error:
        return _put_back(deliveries, error)
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
    into, row = sql.build_insert(delivery, next_try_at=sql.from_now(CLAIM), shown_deadline=deadline)
    text = f"INSERT INTO {into} SELECT {row.text}{sql.async_commit_source()} ON CONFLICT DO NOTHING"
    unit = UnitOfWork(sql.Statement(text, row.values))
    for button in buttons:
        unit.insert(button)
    return unit.commit() is not None


def _put_back(deliveries: Sequence[Delivery], error: DeliveryError) -> bool:
    rows = Delivery.objects.filter(pk__in=[one.pk for one in deliveries], status__in=(S.WAITING, S.FAILED))
    attempts = max(one.attempts for one in deliveries)
    told = f"{NOT_SENT}: {error.detail}"[:300]
    try:
        if isinstance(error, Refused) and not isinstance(error, ChatUnusable | TokenRefused):
            logger.error("telegram delivery failed, Telegram refuses it; it is tried again slowly: %s", told)
            DELIVERY_FLOW.move(rows, to=S.FAILED)
            alone = timedelta(0) if len(deliveries) > 1 else timedelta(seconds=refused_try_in_s(attempts))
            rows.update(next_try_at=Now() + alone, last_error=told)
            return False
        logger.warning("telegram delivery failed, it stays in the outbox: %s", told)
        perhaps = {"doubtful": True} if isinstance(error, NotReached) and error.perhaps_done else {}
        rows.update(next_try_at=Now() + _pause(error, attempts), last_error=told, **perhaps)
    except DatabaseError as problem:
        logger.warning("telegram delivery: its failure was not written down (%s)", type(problem).__name__)
    return False


def _put_off(rows: QuerySet[Delivery], error: DeliveryError | None, **changes: object) -> None:
    said = {"last_error": error.detail[:300]} if error else {}
    try:
        rows.update(next_try_at=Now() + _pause(error, 1), **said, **changes)
    except DatabaseError as problem:
        logger.warning("telegram: a failure was not written down (%s)", type(problem).__name__)


def _at(place: Place) -> QuerySet[Delivery]:
    """The deliveries that the message at ``place`` shows."""
    chat, number = place
    return Delivery.objects.filter(pk__in=Message.objects.filter(chat=chat, message=number).values("delivery"))


def _deadline() -> Subquery:
    """The approval's, as the database keeps it: SQLite compares times as text, and Python would write another text."""
    return Subquery(Approval.objects.filter(pk=OuterRef("approval")).values("expires_at"))


def _reminded() -> Subquery:
    """The deadline that people were reminded of; of what never expires, when they were."""
    return Subquery(Approval.objects.filter(pk=OuterRef("approval")).values("reminded_for"))


def _pause(error: DeliveryError | None, attempts: int) -> timedelta:
    """Until the next attempt. What was not even tried comes due at once: its own gate says when to go on.

    A chat that refuses may refuse one topic or edits alone; all comes due when it takes messages again.
    """
    if isinstance(error, CircuitOpen | TokenRefused):
        return timedelta(0)
    seconds = error.retry_after_s if isinstance(error, TooManyRequests) else next_try_in_s(attempts)
    return timedelta(seconds=seconds)


def _close_settled(place: Place) -> None:
    """Settle deliveries of this message whose approval has closed and that have no live message left."""
    for delivery in _at(place).select_related("approval"):
        if not delivery.approval.is_open and not delivery.messages.filter(live=True).exists():
            DELIVERY_FLOW.move(Delivery.objects.filter(pk=delivery.pk), to=S.SETTLED, settled_at=Now())


# --- people


def new_link_code(user: User) -> str:
    """A one-time code with which ``user`` proves their Telegram account: ``/link CODE``; an older one is void."""
    code = secrets.token_hex(6)
    Approver.objects.update_or_create(
        user=user, defaults={"code_sha256": hashed(code), "code_expires_at": Now() + LINK_CODE_LASTS}
    )
    return code


def link_approver(*, code: str, telegram_user: int, telegram_name: str) -> Approver | None:
    """Bind a Telegram user to the account whose code that is; None if the code is wrong, used or too old.

    The account's earlier Telegram user, and the Telegram user's earlier account, are let go.
    """
    with transaction.atomic():
        rows = Approver.objects.filter(code_sha256=hashed(code.strip().lower()), code_expires_at__gt=Now())
        approver = rows.select_related("user").first()
        if approver is None or not rows.filter(pk=approver.pk).update(code_sha256="", code_expires_at=None):
            return None
        for earlier in Approver.objects.filter(telegram_user=telegram_user):
            _bind(earlier, telegram_user=None, linked_at=None)
        _bind(approver, telegram_user=telegram_user, telegram_name=telegram_name[:150], linked_at=Now())
    approver.refresh_from_db()
    return approver


def _bind(approver: Approver, **changes: Any) -> None:
    """By ``save``, so that the audit sees it."""
    for name, value in changes.items():
        setattr(approver, name, value)
    approver.save(update_fields=list(changes))


def mute(approver: Approver, *, until: datetime | None) -> None:
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


def take_in(update: dict[str, Any], payload: str) -> bool:
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


def forget_old_updates() -> int:
    """Applied ones are kept while Telegram might send them again (24 hours at most); return how many went."""
    return Update.objects.filter(applied_at__isnull=False, received_at__lt=Now() - UPDATES_KEPT).delete()[0]
