"""What this app does when a doorbell rings, inside one process."""

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
from sessions_app.traces import trace_answer

logger = logging.getLogger(__name__)


def connect() -> None:
    """Called once when the app is ready."""
    from sessions_app import reopened

    approval_changed.connect(resume_if_parked, dispatch_uid="sessions_app.resume_if_parked")
    approval_reopened.connect(reopened.write_down_reopening, dispatch_uid="sessions_app.write_down_reopening")
    register_veto(reopened.why_no_reopening)
    approvals_swept.connect(resume_parked_of, dispatch_uid="sessions_app.resume_parked_of")
    if settings.METRICS.export_to:
        approval_changed.connect(trace_answer, dispatch_uid="sessions_app.trace_answer")
    agents_stopping.connect(stops.interrupt_running, dispatch_uid="sessions_app.interrupt_running")
    stop_changed.connect(stops.go_on, dispatch_uid="sessions_app.go_on")
    approval_expiring.connect(write_down_reminder, dispatch_uid="sessions_app.write_down_reminder")
    if settings.ORCHESTRA.process == "sessions":
        worker_ready.connect(_worker_ready, dispatch_uid="sessions_app.worker_ready")
        worker_shutting_down.connect(_worker_stopping, dispatch_uid="sessions_app.worker_stopping")


def resume_if_parked(*, approval_id: UUID, status: str, swept: bool = False, **_: Any) -> None:
    """An answer for a session without a process: queue it. A live supervisor hears the doorbell itself."""
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
            reopened.go_on_with(approval_id)
    except DatabaseError:
        with bind(approval=approval_id):
            logger.warning("approval %s: resuming its session is left to the sweep", approval_id)


def resume_parked_of(*, approval_ids: list[UUID], **_: Any) -> None:
    """The same for all that a sweep closed."""
    from sessions_app.supervisor.leases import answered_parked_sessions, resume_answered

    try:
        for session_id in answered_parked_sessions(approval_ids=approval_ids):
            resume_answered(session_id)
    except DatabaseError:
        logger.warning("resuming the sessions of %d expired approvals is left to the sweep", len(approval_ids))


def write_down_reminder(*, approval_id: UUID, **_: Any) -> None:
    """A line in the transcript of the session that asked, for whoever submitted the work."""
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

    worker_liveness.spare_while(dispatcher.is_beating)
    worker.started()


def _worker_stopping(**_: Any) -> None:
    from sessions_app.supervisor import worker

    worker.stop()
