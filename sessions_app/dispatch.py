"""Dispatcher of turns: it sends ``run_turn`` messages to workers.

A message is a hint. A sweep sends it again until a worker has taken the turn.
"""

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
STALE_AFTER_S = 60.0  # a worker may ignore older messages: the sweep sends newer ones


def dispatch_on_commit(turn_id: UUID, host: str) -> None:
    """Send ``run_turn`` after the commit.

    ``host`` holds the session's files, or is empty before its first run.
    """
    transaction.on_commit(partial(dispatch, turn_id, host), robust=True)


def dispatch(turn_id: UUID, host: str) -> bool:
    """Send ``run_turn``; return False if the broker did not take it (the sweep then tries again)."""
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
    """Send ``run_turn`` again for queued sessions, oldest turn first; return how many were sent.

    Turns whose last message is younger than ``older_than`` are left out. The status of the session
    counts, because a resumed turn itself is still running. While all agents are stopped no message
    is sent: no worker would take the turn.
    """
    open_turns = Turn.objects.filter(~stop_in_force(), status__in=OPEN_TURN)
    stale = open_turns.filter(session__status=AgentSession.Status.QUEUED).exclude(dispatched_at__gt=Now() - older_than)
    sent = 0
    for turn_id, host in list(stale.order_by("created_at").values_list("pk", "session__host")[:limit]):
        # the conditional update lets one of several concurrent sweeps send it
        if Turn.objects.filter(pk=turn_id).exclude(dispatched_at__gt=Now() - older_than).update(dispatched_at=Now()):
            sent += dispatch(turn_id, host)
    return sent


def dispatch_discovery() -> None:
    """Ask every known host to look for agents now; if no host is known, any one worker.

    Raises:
        Unavailable: the broker did not take the message.
    """
    hosts = Agent.objects.order_by("host").values_list("host", flat=True).distinct()
    queues = [f"sessions.{host}" for host in hosts] or ["sessions"]
    try:
        for queue in queues:
            current_app.send_task("sessions_app.discover_agents", queue=queue, retry=False, expires=STALE_AFTER_S)
    except (OperationalError, OSError) as error:
        raise Unavailable(
            "The broker did not take the message; the workers look by themselves every few minutes."
        ) from error
