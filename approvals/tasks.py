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
    """Beat rings this; running twice at once, or missing a turn, does no harm."""
    _say_started()
    expired = commands.expire_due_approvals(batch=settings.APPROVALS.sweep_batch)
    leases.touch(metrics.TIMEOUT_SERVICE)
    reminders.remind_of_deadlines(batch=settings.APPROVALS.sweep_batch)
    return expired


@shared_task(name="approvals.seal_audit", ignore_result=True)
def seal_audit() -> int:
    """Chain what the audit gained since the last time."""
    return chain.seal_new_entries()


@shared_task(name="approvals.count_closed", ignore_result=True)
def count_closed() -> int:
    """Move closed approvals into the counters that outlive them."""
    return metrics.count_closed()


@shared_task(name="approvals.post_callbacks", ignore_result=True)
def post_callbacks() -> int:
    """Tell programs what became of what they asked; rung when such a question is closed, and repeated."""
    return delivery.post_due_callbacks()


@cache
def _say_started() -> None:
    """Once a process: the line people look for after a start."""
    logger.info("ApprovalTimeoutService started")
