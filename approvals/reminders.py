"""Reminders of approval requests whose deadline is near."""

import logging
from datetime import datetime
from functools import partial
from uuid import UUID

from django.conf import settings
from django.db import transaction
from django.db.models import F, Q, QuerySet
from django.db.models.functions import Coalesce, Now

from approvals.deadlines import NEVER
from approvals.models import Approval
from approvals.signals import approval_expiring
from approvals.stop.commands import deadline_now, stop_in_force
from orchestra.db import notify

logger = logging.getLogger(__name__)


def remind_of_deadlines(*, batch: int) -> int:
    """Send ``approval_expiring`` for every open request that is nearly due, the most urgent first;
    return how many.

    While agents are stopped, deadlines stand still and no reminder is sent.

    Concurrent runs are safe: the row records the deadline of its last reminder (``reminded_for``),
    so each deadline has one reminder. The signal follows the commit; a listener that missed it
    reads ``queries.reminded_approvals``.
    """
    total = 0
    while sent := _remind_batch(batch):
        total += sent
    while sent := _remind_of_endless(batch):
        total += sent
    return total


def _remind_batch(batch: int) -> int:
    with transaction.atomic():
        due = _nearly_over().order_by("expires_at").select_for_update(skip_locked=True)
        deadlines = dict(due.values_list("pk", "expires_at")[:batch])
        Approval.objects.filter(pk__in=deadlines).update(reminded_for=F("expires_at"))
        for approval_id, expires_at in deadlines.items():
            notify.send("approval_expiring", str(approval_id))
            transaction.on_commit(partial(_send_reminder, approval_id, expires_at), robust=True)
    return len(deadlines)


def _remind_of_endless(batch: int) -> int:
    """Remind of requests that never expire, at intervals; ``reminded_for`` holds the time of the
    last reminder.
    """
    every = settings.APPROVALS.reminder
    if not every:
        return 0
    endless = Approval.objects.filter(~stop_in_force(), status=Approval.Status.PENDING, expires_at__gte=NEVER)
    due = endless.annotate(last=Coalesce("reminded_for", "created_at")).filter(last__lte=Now() - every)
    with transaction.atomic():
        ids = list(due.order_by("created_at").select_for_update(skip_locked=True).values_list("pk", flat=True)[:batch])
        Approval.objects.filter(pk__in=ids).update(reminded_for=Now())
        for approval_id in ids:
            notify.send("approval_expiring", str(approval_id))
            transaction.on_commit(partial(_send_reminder, approval_id, NEVER), robust=True)
    return len(ids)


def _nearly_over() -> QuerySet[Approval]:
    """Open requests with little time left and no reminder of this deadline yet.

    A request whose whole time is shorter than the warning gets no reminder: people have just been
    notified of it.
    """
    warning = settings.APPROVALS.warning
    now = deadline_now()
    near = Approval.objects.filter(
        ~stop_in_force(), status=Approval.Status.PENDING, expires_at__gt=now, expires_at__lte=now + warning
    )
    fresh = Q(reminded_for__isnull=True) | ~Q(reminded_for=F("expires_at"))
    return near.filter(fresh, created_at__lt=F("expires_at") - warning)


def _send_reminder(approval_id: UUID, expires_at: datetime) -> None:
    when = "never expires" if expires_at == NEVER else f"expires at {expires_at.isoformat('T', 'seconds')}"
    logger.warning("approval %s %s and is still open", approval_id, when)
    approval_expiring.send_robust(sender=Approval, approval_id=approval_id, expires_at=expires_at)
