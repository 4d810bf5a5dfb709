"""Pass on approval signals that are sent inside this process.

Changes made in other processes arrive through `orchestra.db.notify`. A decision that a callback
query makes in the telegram process reaches the sender here, without that detour.
"""

from collections.abc import Callable
from typing import Any
from uuid import UUID

from approvals.signals import approval_changed, approval_expiring

_listener: Callable[[UUID], None] | None = None


def connect() -> None:
    """Connect the signal receivers. `EscalationConfig.ready` calls this once."""
    approval_changed.connect(_forward, dispatch_uid="escalation.changed")
    approval_expiring.connect(_forward, dispatch_uid="escalation.expiring")


def set_listener(listener: Callable[[UUID], None] | None) -> None:
    """Call ``listener`` for every approval that changes in this process; None removes it."""
    global _listener  # noqa: PLW0603 - there is one sender in the one process that sends
    _listener = listener


def _forward(*, approval_id: UUID, **_: Any) -> None:
    if _listener is not None:
        _listener(approval_id)
