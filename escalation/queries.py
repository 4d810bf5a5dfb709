"""Read queries of the outbox and of the people linked to it."""

from collections.abc import Iterable
from datetime import timedelta
from typing import Any

from django.conf import settings
from django.db.models import F, Q, QuerySet
from django.db.models.functions import Now

from approvals.deadlines import NEVER
from approvals.models import Approval
from approvals.presentation.redacted import Shown, shown_of
from approvals.presentation.render import WHOLE, questions_of
from approvals.presentation.session_scope import scope_label, scope_sentence
from approvals.queries import readable_approvals
from approvals.reopening import may_be_reopened
from approvals.stop.commands import stop_in_force
from escalation.channels.base import DeliveryNotice, Notice, Outcome, Place
from escalation.models import Approver, Delivery, Message, Update
from orchestra.auth.permissions import Right, may

PENDING = Approval.Status.PENDING
SAME_TIME = timedelta(seconds=1)


def read_approval(**which: Any) -> Approval | None:
    """Return the approval that matches the filters, or None: ``read_approval(pk=...)``.

    ``read_at`` is the time that deadlines are compared with; it stands still while all agents are
    stopped. ``now_at`` is the present time of the database.
    """
    return readable_approvals().annotate(now_at=Now()).filter(**which).first()


def build_notice(approval: Approval, *, with_blocks: bool = True, shown: Shown | None = None) -> Notice:
    """Return the notice of ``approval``, a row of `read_approval`.

    ``with_blocks=False`` leaves out what would run.

    Secrets are hidden here, once for every channel, so no other data of an approval may be sent
    through one. ``shown`` is ``shown_of(approval)``, if the caller has it already.
    """
    shown = shown or shown_of(approval)
    blocks = tuple(shown.blocks(longest=WHOLE)) if with_blocks else ()
    hidden = shown.approval
    base = settings.ORCHESTRA.public_url.rstrip("/")
    left = approval.expires_at - approval.read_at  # type: ignore[attr-defined]
    return Notice(
        approval_id=approval.pk,
        kind=approval.kind,
        title=hidden.title,
        summary=hidden.summary,
        risk=approval.risk,
        risk_reason=hidden.risk_reason,
        tool_name=hidden.tool_name,
        blocks=blocks,
        questions=tuple(questions_of(hidden)),
        facts=hidden.facts,
        working_directory=hidden.working_directory,
        session=approval.session,
        requested_by=approval.requested_by,
        digest=approval.run_digest or approval.input_digest,
        created_at=approval.created_at,
        expires_at=approval.expires_at,
        seconds_left=max(0.0, left.total_seconds()),
        details_url=f"{base}/approvals/{approval.pk}" if base else "",
        never_expires=approval.never_expires,
        for_session=approval.session is not None and approval.kind == Approval.Kind.TOOL,
        session_label=scope_label(approval),
        secrets=shown.secrets,
        left_out=shown.left_out,
        hide=shown.hide,
    )


def build_notice_and_outcome(approval: Approval) -> tuple[Notice, Outcome | None]:
    """Return the notice without what would run, and the outcome.

    The outcome is None while the approval is open.
    """
    shown = shown_of(approval)
    return build_notice(approval, with_blocks=False, shown=shown), None if approval.is_open else _build_outcome(
        approval, shown
    )


def _build_outcome(approval: Approval, shown: Shown) -> Outcome:
    hidden = shown.approval
    return Outcome(
        status=approval.status,
        decided_by=approval.decided_by,
        decided_via=approval.decided_via,
        decided_at=approval.decided_at,
        reason=hidden.reason,
        note=hidden.note,
        reopenable=may_be_reopened(approval),
        asked_again=approval.reopened_as is not None,
        scope=approval.scope,
        session_scope=scope_sentence(approval) if approval.scope == Approval.Scope.SESSION else "",
        answers=hidden.answers,
        edited=bool(approval.updated_input),
    )


def find_approver(telegram_user: int) -> Approver | None:
    """Return the account linked to a Telegram user, with ``user`` and the database time
    ``read_at``.

    The rights of the account must be checked at every callback query.
    """
    people = Approver.objects.select_related("user").annotate(read_at=Now())
    return people.filter(telegram_user=telegram_user).first()


def build_delivery_notices(deliveries: Iterable[Delivery], *, with_blocks: bool) -> list[DeliveryNotice]:
    """Return each delivery with its notice, in the same order.

    Deliveries of closed approvals are left out.
    """
    deliveries = list(deliveries)
    wanted = [delivery.approval_id for delivery in deliveries]
    found = {approval.pk: approval for approval in readable_approvals().filter(pk__in=wanted, status=PENDING)}
    return [
        (delivery, build_notice(found[delivery.approval_id], with_blocks=with_blocks))
        for delivery in deliveries
        if delivery.approval_id in found
    ]


def messages_at(place: Place) -> list[Message]:
    """Return the rows of one message in the order of its list.

    The approval of each delivery is read as in `read_approval`.
    """
    chat, number = place
    rows = list(Message.objects.filter(chat=chat, message=number).select_related("delivery").order_by("id"))
    found = {one.pk: one for one in readable_approvals().filter(pk__in=[row.delivery.approval_id for row in rows])}
    for row in rows:
        row.delivery.approval = found[row.delivery.approval_id]
    return rows


def outdated_messages() -> QuerySet[Message]:
    """Return live messages whose approval has closed or got another deadline."""
    closed = ~Q(delivery__approval__status=PENDING)
    shown = Q(kind__in=(Message.Kind.CARD, Message.Kind.LIST))
    other = Q(delivery__shown_deadline__isnull=True) | _has_other_deadline("delivery__shown_deadline", "delivery__")
    return Message.objects.filter(closed | (shown & other), live=True)


def next_outdated_place() -> Place | None:
    """Return the place of the oldest outdated message that is due; None if there is none."""
    due = outdated_messages().filter(delivery__next_try_at__lte=Now())
    return due.order_by("id").values_list("chat", "message").first()


def open_deliveries(*, limit: int) -> list[Delivery]:
    """Return up to ``limit`` deliveries of open approvals, the earliest deadline first."""
    return list(Delivery.objects.filter(approval__status=PENDING).order_by("approval__expires_at")[:limit])


def count_stale_cards() -> int:
    """Count the live messages of closed requests.

    It returns to 0 a moment after each close while Telegram works.
    """
    return Message.objects.filter(live=True).exclude(delivery__approval__status=PENDING).count()


def count_waiting_deliveries() -> int:
    """Count the deliveries that wait to be sent.

    Refused ones are counted by `count_refused_deliveries`.
    """
    return Delivery.objects.filter(status=Delivery.Status.WAITING).count()


def count_refused_deliveries() -> int:
    """Count the open approval requests that Telegram refused in every form."""
    return Delivery.objects.filter(status=Delivery.Status.FAILED, approval__status=PENDING).count()


def count_undelivered() -> int:
    """Return the depth of the outbox: approval requests that no message has shown yet."""
    return count_waiting_deliveries() + count_refused_deliveries()


def due_reminders(*, limit: int) -> list[Delivery]:
    """Return sent deliveries of open requests that need a reminder now.

    `approvals.reminders` marks requests whose deadline is near; a delivery records the one it
    reminded of.
    """
    due = Delivery.objects.filter(
        ~stop_in_force(),
        status=Delivery.Status.SENT,
        approval__status=PENDING,
        next_try_at__lte=Now(),
    )
    ending = Q(approval__reminded_for=F("approval__expires_at")) & _has_other_deadline("reminded_for")
    endless = Q(approval__expires_at__gte=NEVER, approval__reminded_for__gt=F("reminded_for") + SAME_TIME)
    never_yet = Q(reminded_for__isnull=True) & (
        Q(approval__reminded_for=F("approval__expires_at")) | Q(approval__expires_at__gte=NEVER)
    )
    fresh = Q(approval__reminded_for__isnull=False) & (ending | endless | never_yet)
    return list(due.filter(fresh).order_by("approval__expires_at")[:limit])


def read_mute_states() -> list[bool]:
    """Return, for each linked person who may decide, whether this person has muted now."""
    people = Approver.objects.filter(telegram_user__isnull=False).select_related("user").annotate(read_at=Now())
    return [
        one.muted_until is not None and one.muted_until > one.read_at for one in people if may(one.user, Right.DECIDE)
    ]


def unapplied_updates() -> list[Update]:
    """Return up to 100 stored updates that were not applied yet, in the order of their ids."""
    return list(Update.objects.filter(applied_at=None).order_by("update_id")[:100])


def count_unapplied_updates() -> int:
    return Update.objects.filter(applied_at=None).count()


def latest_error() -> str:
    """Return the error of the latest delivery that has one, or an empty text."""
    troubled = Delivery.objects.exclude(last_error="").order_by("-created_at")
    return troubled.values_list("last_error", flat=True).first() or ""


def undelivered_reason() -> str:
    """Return why the oldest undelivered open request could not be sent, or an empty text."""
    open_ones = Delivery.objects.filter(approval__status=PENDING).exclude(last_error="")
    for status in (Delivery.Status.FAILED, Delivery.Status.WAITING):
        if (
            reason := open_ones.filter(status=status)
            .order_by("created_at")
            .values_list("last_error", flat=True)
            .first()
        ):
            return str(reason)
    return ""


def _has_other_deadline(kept: str, delivery: str = "") -> Q:
    """Match rows whose field ``kept`` differs from the present deadline of the approval.

    Equality does not work here: SQLite stores times as text, and the database writes fewer digits
    of a second than Django does.
    """
    now = f"{delivery}approval__expires_at"
    return Q(**{f"{now}__gt": F(kept) + SAME_TIME}) | Q(**{f"{now}__lt": F(kept) - SAME_TIME})
