"""What this app does when approvals ring inside its own process; other processes are heard by `orchestra.db.notify`.

A press that is decided here is told to the sender without a detour.
"""

from collections.abc import Callable
from typing import Any
from uuid import UUID

from approvals.signals import approval_changed, approval_expiring

_listener: Callable[[UUID], None] | None = None


def connect() -> None:
    """Called once when the app is ready."""
    approval_changed.connect(_forward, dispatch_uid="escalation.changed")
    approval_expiring.connect(_forward, dispatch_uid="escalation.expiring")


def set_listener(listener: Callable[[UUID], None] | None) -> None:
    """Have ``ring`` called for every approval that changes in this process, or nobody."""
    global _listener  # noqa: PLW0603 - there is one sender in the one process that sends
    _listener = listener


def _forward(*, approval_id: UUID, **_: Any) -> None:
    if _listener is not None:
        _listener(approval_id)
