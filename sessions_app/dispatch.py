"""Telling a worker that a turn waits; a hint, repeated by a sweep until somebody took it."""

import logging
from datetime import timedelta
from functools import partial
from uuid import UUID

from celery import current_app
from django.db import transaction
from django.db.models.functions import Now
from kombu.exceptions import OperationalError

from sessions_app.models import Turn

logger = logging.getLogger(__name__)

REPEAT_AFTER = timedelta(seconds=15)


def dispatch_on_commit(turn_id: UUID, host: str) -> None:
    """Send ``run_turn`` once the rows are there; ``host`` is where the dialog's files live, if it has any."""
    transaction.on_commit(partial(dispatch, turn_id, host), robust=True)


def dispatch(turn_id: UUID, host: str) -> bool:
    """Send ``run_turn``; False if the broker did not take it, in which case the sweep tries again."""
    queue = f"sessions.{host}" if host else "sessions"
    try:
        current_app.send_task("sessions_app.run_turn", args=[str(turn_id)], queue=queue, retry=False)
    except (OperationalError, OSError) as error:
        logger.warning("turn %s not dispatched yet: %s", turn_id, type(error).__name__)
        return False
    return True


def dispatch_queued_turns() -> int:
    """Send again every queued turn whose last message is older than 15 s; return how many were sent."""
    waiting = Turn.objects.filter(status=Turn.Status.QUEUED)
    sent = 0
    for turn_id, host in waiting.order_by("created_at").values_list("pk", "session__host"):
        stale = Turn.objects.filter(pk=turn_id, status=Turn.Status.QUEUED).exclude(
            dispatched_at__gt=Now() - REPEAT_AFTER
        )
        if stale.update(dispatched_at=Now()):
            sent += dispatch(turn_id, host)
    return sent
