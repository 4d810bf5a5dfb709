"""Less frequent parts of the outbox: claims, refused requests, a moved chat, a chat that accepts
messages again.
"""

from datetime import timedelta

from django.db import transaction
from django.db.models import Exists, F, OuterRef, QuerySet
from django.db.models.functions import Now

from approvals.models import Approval
from escalation.models import DELIVERY_FLOW, Delivery, Message

Status = Delivery.Status
PENDING = Approval.Status.PENDING


def claim_deliveries(due: QuerySet[Delivery], *, limit: int, lease: timedelta, deadline: object) -> list[Delivery]:
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


def due_deliveries(status: str) -> QuerySet[Delivery]:
    """Return the deliveries of open approval requests in ``status`` whose next attempt is due."""
    return Delivery.objects.filter(status=status, next_try_at__lte=Now(), approval__status=PENDING)


def retry_postponed_deliveries() -> int:
    """Make every postponed delivery due now, because Telegram accepts messages again; return how
    many.
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
