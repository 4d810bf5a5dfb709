"""What this app does when its own doorbell rings, inside one process."""

import logging
from typing import Any
from uuid import UUID

from django.conf import settings
from django.db import DatabaseError
from kombu.exceptions import OperationalError

from approvals.models import Approval, Callback
from approvals.signals import approval_changed

logger = logging.getLogger(__name__)


def connect() -> None:
    """Called once when the app is ready."""
    approval_changed.connect(tell_asker, dispatch_uid="approvals.tell_asker")


def tell_asker(*, approval_id: UUID, status: str, **_: Any) -> None:
    """A question is closed whose asker waits for a callback: have a worker post it now. The sweep does it anyway."""
    from approvals.tasks import post_callbacks

    if status == Approval.Status.PENDING or not settings.APPROVALS.callback_places:
        return
    try:
        if Callback.objects.filter(approval=approval_id).exists():
            post_callbacks.apply_async(retry=False, expires=60)
    except (DatabaseError, OperationalError, OSError) as error:
        logger.warning("approval %s: telling its asker is left to the sweep (%s)", approval_id, type(error).__name__)
