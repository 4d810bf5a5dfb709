"""Receivers of the stop of all agents, and of its lift; see ``approvals.stop.commands``."""

import logging
from datetime import timedelta
from typing import Any

from django.db import DatabaseError
from django.db.models import Exists, OuterRef
from django.db.models.functions import Now

from approvals.models import Stop
from orchestra.db import notify
from sessions_app.models import Run, Turn

logger = logging.getLogger(__name__)


def interrupt_running(*, stop: Stop, **_: Any) -> None:
    """Request an interrupt of each turn with a live process, in the transaction of the stop.

    A parked turn has no process and stays: its request can still be decided, and it continues after
    the lift.
    """
    if stop.mode != Stop.Mode.INTERRUPT:
        return
    live = Run.objects.filter(turn=OuterRef("pk"), ended_at__isnull=True)
    turns = Turn.objects.filter(Exists(live), status=Turn.Status.RUNNING, interrupt_requested_at=None)
    sessions = list(turns.values_list("session", flat=True))
    turns.update(interrupt_requested_at=Now())
    notify.send_many("session", [str(session_id) for session_id in sessions])


def dispatch_after_lift(*, stop: Stop, **_: Any) -> None:
    """Dispatch the turns that were queued during the stop, without waiting for the sweep."""
    from sessions_app.dispatch import dispatch_queued_turns

    if stop.is_in_force:
        return
    try:
        dispatch_queued_turns(older_than=timedelta())
    except DatabaseError as error:
        logger.warning("queued turns are left to the sweep: the database did not answer (%s)", type(error).__name__)
