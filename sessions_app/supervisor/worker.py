"""The sessions worker: it takes turns, stops them in order, and cleans up after an earlier worker."""

import logging
import os
import sys
import threading
from contextlib import AbstractContextManager
from datetime import timedelta
from functools import partial
from typing import Any
from uuid import UUID

import psutil
from django.conf import settings
from django.db import DatabaseError, connection

from orchestra.db.sweeps import process_each
from orchestra.diagnostics import tracing
from orchestra.logs.config import bind
from sessions_app.agents.discovery import check_agents, discover_agents
from sessions_app.dispatch import dispatch_queued_turns
from sessions_app.models import Run
from sessions_app.supervisor import leases, orphan_reaper
from sessions_app.supervisor.dispatcher import dispatcher
from sessions_app.supervisor.supervisor import supervise, worker_stopping

logger = logging.getLogger(__name__)

CLEANUP_INTERVAL_S = 5.0
SWITCH_S = 0.0005
JUST_SENT = timedelta(seconds=1)
_slots = threading.Lock()
_taken = 0


def this_worker() -> leases.Worker:
    """Return this process; its start time tells it apart from an earlier one with the same pid."""
    pid = os.getpid()
    return leases.Worker(host=settings.ORCHESTRA.hostname, pid=pid, started=psutil.Process(pid).create_time())


def take_turn(turn_id: UUID) -> str:
    """Claim and supervise a turn; return ``full``, ``taken`` or how the turn ended.

    On a full or stopping host the turn stays queued, for another worker or a later moment.
    """
    if worker_stopping.is_set() or not _take_slot():
        return "full"
    try:
        claim = leases.claim_turn(turn_id, this_worker())
        if claim is None:
            return "taken"
        with bind(session=claim.session_id), _span(claim) as span:
            outcome = supervise(claim)
            if span is not None:
                span.set_attribute("outcome", outcome.code or outcome.status)
            return outcome.status
    finally:
        _give_slot()
        connection.close()
        if not worker_stopping.is_set():
            _dispatch_next_turn()


def _span(claim: leases.Claim) -> AbstractContextManager[Any]:
    about = {"session": str(claim.session_id), "turn": str(claim.turn_id), "agent": claim.agent}
    return tracing.span("turn", parent=claim.trace_parent, **about)


def _take_slot() -> bool:
    global _taken  # noqa: PLW0603 - one counter per process, guarded by its lock
    with _slots:
        if _taken >= settings.AGENTS.max_concurrent:
            return False
        _taken += 1
        return True


def _give_slot() -> None:
    global _taken  # noqa: PLW0603
    with _slots:
        _taken -= 1


def _dispatch_next_turn() -> None:
    """Dispatch the next queued turn to the slot that became free."""
    try:
        dispatch_queued_turns(older_than=JUST_SENT, limit=1)
    except DatabaseError:
        logger.warning("the next turn is left to the sweep: the database did not answer")
    finally:
        connection.close()


def shorten_thread_switches() -> None:
    """Let Python switch threads ten times as often as by default.

    Supervisors work in short bursts: with fifty concurrent requests the slowest decisions arrived a
    fifth sooner.
    """
    sys.setswitchinterval(SWITCH_S)


def started() -> None:
    """Start the cleanup of this host; called once, when a sessions worker is ready."""
    shorten_thread_switches()
    threading.Thread(target=_clean_up_host, name="orphan-reaper", daemon=True).start()


def stop() -> None:
    """Stop this worker: its supervisors park or interrupt their turns, and end their processes."""
    worker_stopping.set()
    dispatcher.wake_all()


def _clean_up_host() -> None:
    first = True
    while not worker_stopping.is_set():
        try:
            reclaim_orphans()
            orphan_reaper.kill_leftovers()
            if first:
                check_agents(discover_agents())
                first = False
        except DatabaseError as error:
            logger.warning("host cleanup: the database did not answer (%s)", type(error).__name__)
        except Exception:
            logger.exception("host cleanup failed")
        finally:
            connection.close()
        worker_stopping.wait(CLEANUP_INTERVAL_S)


def reclaim_orphans() -> int:
    """Give up the runs of this host whose worker process no longer exists, without waiting for
    their heartbeat.

    Return how many were given up.
    """
    here = Run.objects.filter(ended_at__isnull=True, host=settings.ORCHESTRA.hostname)
    why = "The worker that ran the agent was killed."
    orphans = [run for run in here if not _alive(run.worker_pid, run.worker_started)]
    return process_each(orphans, partial(leases.reclaim, why=why, dead=True))


def _alive(pid: int, started_at: float) -> bool:
    try:
        return abs(psutil.Process(pid).create_time() - started_at) < 1.0
    except psutil.Error:
        return False
