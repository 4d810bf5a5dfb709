"""Receivers of this app's own signals."""

import logging
from typing import Any
from uuid import UUID

from django.conf import settings
from django.db import DatabaseError
from kombu.exceptions import OperationalError

from approvals.models import Approval, Callback
from approvals.signals import approval_changed, approvals_swept

logger = logging.getLogger(__name__)


def connect() -> None:
    approval_changed.connect(post_callback_on_close, dispatch_uid="approvals.post_callback_on_close")
    approvals_swept.connect(enqueue_callbacks, dispatch_uid="approvals.enqueue_callbacks")


def post_callback_on_close(*, approval_id: UUID, status: str, swept: bool = False, **_: Any) -> None:
    """Enqueue the callback of an approval that was closed outside of a sweep."""
    if status != Approval.Status.PENDING and not swept:
        enqueue_callbacks(approval_ids=[approval_id])


def enqueue_callbacks(*, approval_ids: list[UUID], **_: Any) -> None:
    """Enqueue the posting task if one of these approvals has a callback.

    A failure is logged and not raised: the periodic sweep posts the callback later.
    """
    from approvals.tasks import post_callbacks

    if not settings.APPROVALS.callback_places:
        return
    try:
        if Callback.objects.filter(approval__in=approval_ids).exists():
            post_callbacks.apply_async(retry=False, expires=60)
    except (DatabaseError, OperationalError, OSError) as error:
        logger.warning("callbacks of %d approvals are left to the sweep (%s)", len(approval_ids), type(error).__name__)
