from celery import shared_task
from django.conf import settings

from approvals import commands


@shared_task(name="approvals.expire_due", ignore_result=True)
def expire_due() -> int:
    """Beat rings this; running twice at once, or missing a turn, does no harm."""
    return commands.expire_due_approvals(batch=settings.APPROVALS.sweep_batch)
