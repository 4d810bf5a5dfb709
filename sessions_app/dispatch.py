"""Telling a worker that a turn waits; a hint, repeated by a sweep until somebody took it."""

import logging
from datetime import timedelta
from functools import partial
from uuid import UUID

from celery import current_app
from django.db import transaction
from django.db.models.functions import Now
from kombu.exceptions import OperationalError

from approvals.stop.commands import stop_in_force
from orchestra.errors import Unavailable
from sessions_app.models import OPEN_TURN, Agent, AgentSession, Turn

logger = logging.getLogger(__name__)

REPEAT_AFTER = timedelta(seconds=15)
STALE_AFTER_S = 60.0  # older messages need not be read: newer ones follow


def dispatch_on_commit(turn_id: UUID, host: str) -> None:
    """Send ``run_turn`` once the rows are there; ``host`` is where the dialog's files live, if it has any."""
    transaction.on_commit(partial(dispatch, turn_id, host), robust=True)


def dispatch(turn_id: UUID, host: str) -> bool:
    """Send ``run_turn``; False if the broker did not take it, in which case the sweep tries again."""
    queue = f"sessions.{host}" if host else "sessions"
    try:
        current_app.send_task(
            "sessions_app.run_turn", args=[str(turn_id)], queue=queue, retry=False, expires=STALE_AFTER_S
        )
    except (OperationalError, OSError) as error:
        logger.warning("turn %s not dispatched yet: %s", turn_id, type(error).__name__)
        return False
    return True


def dispatch_queued_turns(*, older_than: timedelta = REPEAT_AFTER, limit: int | None = None) -> int:
    """Send again the turns of queued sessions whose last message is older than that, oldest first; return how many.

    A resumed turn is running by its own status while its session is queued. While all agents are stopped none is sent:
    no worker would take it.
    """
    open_turns = Turn.objects.filter(~stop_in_force(), status__in=OPEN_TURN)
    stale = open_turns.filter(session__status=AgentSession.Status.QUEUED).exclude(dispatched_at__gt=Now() - older_than)
    sent = 0
    for turn_id, host in list(stale.order_by("created_at").values_list("pk", "session__host")[:limit]):
        # of several sweepers one sends
        if Turn.objects.filter(pk=turn_id).exclude(dispatched_at__gt=Now() - older_than).update(dispatched_at=Now()):
            sent += dispatch(turn_id, host)
    return sent


def dispatch_discovery() -> None:
    """Have every known host look for agents now; without any, whichever hears it first.

    Raises:
        Unavailable: the broker did not take the message.
    """
    hosts = Agent.objects.order_by("host").values_list("host", flat=True).distinct()
    queues = [f"sessions.{host}" for host in hosts] or ["sessions"]
    try:
        for queue in queues:
            current_app.send_task("sessions_app.discover_agents", queue=queue, retry=False, expires=STALE_AFTER_S)
    except (OperationalError, OSError) as error:
        raise Unavailable("The workers cannot be told just now; they look by themselves every few minutes.") from error
