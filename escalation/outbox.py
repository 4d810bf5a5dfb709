"""What the outbox does beside the straight way: refused requests, a chat that moved, one that takes messages again."""

from datetime import timedelta

from django.db import transaction
from django.db.models import Exists, F, OuterRef, QuerySet
from django.db.models.functions import Now

from approvals.models import Approval
from escalation.models import DELIVERY_FLOW, Delivery, Message

Status = Delivery.Status
PENDING = Approval.Status.PENDING


def claim_deliveries(due: QuerySet[Delivery], *, limit: int, lease: timedelta, deadline: object) -> list[Delivery]:
    """Take up to ``limit`` of these rows, the most urgent first; nobody else sees them until ``lease`` is over."""
    with transaction.atomic():
        rows = list(due.select_for_update(skip_locked=True, of=("self",)).order_by("approval__expires_at")[:limit])
        claimed = Delivery.objects.filter(pk__in=[row.pk for row in rows])
        claimed.update(next_try_at=Now() + lease, attempts=F("attempts") + 1, shown_deadline=deadline)
    for row in rows:
        row.attempts += 1
    return rows


def due_deliveries(status: str) -> QuerySet[Delivery]:
    """Those of still open requests that are to be tried now."""
    return Delivery.objects.filter(status=status, next_try_at__lte=Now(), approval__status=PENDING)


def retry_postponed_deliveries() -> int:
    """Telegram takes messages again: try everything now that was put off; return how many."""
    put_off = Delivery.objects.filter(next_try_at__gt=Now())
    number = sum(put_off.filter(status=status).update(next_try_at=Now()) for status in (Status.WAITING, Status.FAILED))
    live = Message.objects.filter(delivery=OuterRef("pk"), live=True)
    return number + put_off.filter(Exists(live), status=Status.SENT).update(next_try_at=Now())


def resend_after_chat_move(old_chat: int) -> int:
    """A group became a supergroup and left its messages behind: send open requests anew; return how many.

    The old messages stay known, so that a press on them is judged and a rejection that waits for its reason counts.
    """
    there = Message.objects.filter(delivery=OuterRef("pk"), chat=old_chat, live=True)
    rows = Delivery.objects.filter(Exists(there), status=Status.SENT)
    keys = list(rows.filter(approval__status=PENDING).values_list("pk", flat=True))
    return DELIVERY_FLOW.move(Delivery.objects.filter(pk__in=keys), to=Status.WAITING, next_try_at=Now()) if keys else 0
