"""Receivers of the signals of other apps; ``connect`` attaches them once per process."""

import logging
from typing import Any
from uuid import UUID

from celery.signals import worker_ready, worker_shutting_down
from django.conf import settings
from django.db import DatabaseError

from approvals.models import Approval
from approvals.reopening import register_veto
from approvals.signals import (
    agents_stopping,
    approval_changed,
    approval_expiring,
    approval_reopened,
    approvals_swept,
    stop_changed,
)
from orchestra.logs.config import bind
from sessions_app import stops
from sessions_app.errors import StaleFence
from sessions_app.traces import trace_decision

logger = logging.getLogger(__name__)


def connect() -> None:
    """Connect the receivers; the app's ``ready`` calls this once."""
    from sessions_app import reopened

    approval_changed.connect(resume_if_parked, dispatch_uid="sessions_app.resume_if_parked")
    approval_reopened.connect(reopened.record_reopening, dispatch_uid="sessions_app.record_reopening")
    register_veto(reopened.reopening_problem)
    approvals_swept.connect(resume_parked_sessions, dispatch_uid="sessions_app.resume_parked_sessions")
    if settings.METRICS.export_to:
        approval_changed.connect(trace_decision, dispatch_uid="sessions_app.trace_decision")
    agents_stopping.connect(stops.interrupt_running, dispatch_uid="sessions_app.interrupt_running")
    stop_changed.connect(stops.dispatch_after_lift, dispatch_uid="sessions_app.dispatch_after_lift")
    approval_expiring.connect(record_reminder, dispatch_uid="sessions_app.record_reminder")
    if settings.ORCHESTRA.process == "sessions":
        worker_ready.connect(_worker_ready, dispatch_uid="sessions_app.worker_ready")
        worker_shutting_down.connect(_worker_stopping, dispatch_uid="sessions_app.worker_stopping")


def resume_if_parked(*, approval_id: UUID, status: str, swept: bool = False, **_: Any) -> None:
    """Queue the parked session of a decided approval.

    A live supervisor gets the notification itself.
    """
    from sessions_app import reopened
    from sessions_app.supervisor.leases import answered_parked_sessions, is_held_live, resume_answered

    if status == Approval.Status.PENDING or swept:
        return
    try:
        if is_held_live(approval_id):
            return
        for session_id in answered_parked_sessions(approval_ids=[approval_id]):
            resume_answered(session_id)
        if status == Approval.Status.APPROVED:
            reopened.start_turn_for_grant(approval_id)
    except DatabaseError:
        with bind(approval=approval_id):
            logger.warning("approval %s: resuming its session is left to the sweep", approval_id)


def resume_parked_sessions(*, approval_ids: list[UUID], **_: Any) -> None:
    """Queue the parked sessions of all approvals that a sweep closed."""
    from sessions_app.supervisor.leases import answered_parked_sessions, resume_answered

    try:
        for session_id in answered_parked_sessions(approval_ids=approval_ids):
            resume_answered(session_id)
    except DatabaseError:
        logger.warning("resuming the sessions of %d expired approvals is left to the sweep", len(approval_ids))


def record_reminder(*, approval_id: UUID, **_: Any) -> None:
    """Add the reminder of an approval to the transcript of its session, where the requester sees
    it.
    """
    from sessions_app.transcript.writer import append, reminder_line

    approval = Approval.objects.filter(pk=approval_id, session__isnull=False).first()
    if approval is None or approval.session is None:
        return
    try:
        append(approval.session, [reminder_line(approval)])
    except StaleFence:
        logger.info("approval %s: its session is gone", approval_id)


def _worker_ready(**_: Any) -> None:
    from orchestra.runtime import worker_liveness
    from sessions_app.supervisor import worker
    from sessions_app.supervisor.dispatcher import dispatcher

    worker_liveness.add_busy_check(dispatcher.is_beating)
    worker.started()


def _worker_stopping(**_: Any) -> None:
    from sessions_app.supervisor import worker

    worker.stop()
