"""Celery tasks that keep the outbox in order while no telegram process runs.

They may run twice at once.
"""

from celery import shared_task
from django.conf import settings

from escalation import commands, outbox


@shared_task(name="escalation.open_missing_deliveries", ignore_result=True)
def open_missing_deliveries() -> int:
    """Open missing deliveries, and settle those whose request closed before it was sent."""
    if not settings.TELEGRAM.configured:
        return 0
    return outbox.open_missing_deliveries(batch=500) + outbox.settle_undelivered()


@shared_task(name="escalation.forget_old_updates", ignore_result=True)
def forget_old_updates() -> int:
    """Delete applied updates that Telegram cannot send again."""
    return commands.delete_old_updates()
