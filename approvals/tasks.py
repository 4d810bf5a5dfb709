import logging
from functools import cache

from celery import shared_task
from django.conf import settings

from approvals import commands, metrics, reminders
from approvals.audit import chain
from approvals.callbacks import delivery
from orchestra.db import leases

logger = logging.getLogger(__name__)


@shared_task(name="approvals.expire_due", ignore_result=True)
def expire_due() -> int:
    """Expire overdue approvals and send reminders. Concurrent and missed runs do no harm."""
    _log_start()
    expired = commands.expire_due_approvals(batch=settings.APPROVALS.sweep_batch)
    leases.touch(metrics.TIMEOUT_SERVICE)
    reminders.remind_of_deadlines(batch=settings.APPROVALS.sweep_batch)
    return expired


@shared_task(name="approvals.seal_audit", ignore_result=True)
def seal_audit() -> int:
    """Add new audit entries to the chain of seals."""
    return chain.seal_new_entries()


@shared_task(name="approvals.count_closed", ignore_result=True)
def count_closed() -> int:
    """Add closed approvals to the counters, which are kept after retention removes the rows."""
    return metrics.count_closed()


@shared_task(name="approvals.post_callbacks", ignore_result=True)
def post_callbacks() -> int:
    """Post outcomes to the programs that requested approvals.

    Enqueued when one is closed, and by beat.
    """
    return delivery.post_due_callbacks()


@cache
def _log_start() -> None:
    """Log the line that the runbook looks for, once in each process."""
    logger.info("ApprovalTimeoutService started")
