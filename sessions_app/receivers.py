"""What this app does when a doorbell rings, inside one process."""

import logging
import os
from typing import Any
from uuid import UUID

from celery.signals import worker_ready, worker_shutting_down
from django.db import DatabaseError

from approvals.models import Approval
from approvals.signals import approval_changed

logger = logging.getLogger(__name__)


def connect() -> None:
    """Called once when the app is ready."""
    approval_changed.connect(resume_if_parked, dispatch_uid="sessions_app.resume_if_parked")
    if os.environ.get("ORCHESTRA_PROCESS") == "sessions":
        worker_ready.connect(_worker_ready, dispatch_uid="sessions_app.worker_ready")
        worker_shutting_down.connect(_worker_stopping, dispatch_uid="sessions_app.worker_stopping")


def resume_if_parked(*, approval_id: UUID, **_: Any) -> None:
    """An answer for a session without a process: queue it. A live supervisor hears the doorbell itself."""
    from sessions_app.leases import resume_answered

    found = Approval.objects.filter(pk=approval_id, session__isnull=False).exclude(status=Approval.Status.PENDING)
    session_id = found.values_list("session", flat=True).first()
    if session_id is None:
        return
    try:
        resume_answered(session_id)
    except DatabaseError:
        logger.warning("session %s: resuming is left to the sweep", session_id)


def _worker_ready(**_: Any) -> None:
    from sessions_app import worker

    worker.started()


def _worker_stopping(**_: Any) -> None:
    from sessions_app import worker

    worker.stop()
