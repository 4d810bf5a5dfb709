"""Thin shells around commands, for when no process that talks to Telegram runs; running twice at once does no harm."""

from celery import shared_task
from django.conf import settings

from escalation import commands


@shared_task(name="escalation.open_missing_deliveries", ignore_result=True)
def open_missing_deliveries() -> int:
    """Note what has to be told, and that nothing has to be told any more of what closed meanwhile."""
    if not settings.TELEGRAM.configured:
        return 0
    return commands.open_missing_deliveries(batch=500) + commands.settle_undelivered()


@shared_task(name="escalation.forget_old_updates", ignore_result=True)
def forget_old_updates() -> int:
    """Applied updates are kept only while they might come again."""
    return commands.delete_old_updates()
