"""The doorbell of this app inside one process; other processes hear ``orchestra.doorbell``."""

from django.dispatch import Signal

approval_changed = Signal()
"""Sent after commit, robustly, with ``approval_id`` and its ``status``: something about that approval is new."""

approval_expiring = Signal()
"""Sent after commit, robustly, with ``approval_id`` and ``expires_at``: nobody has answered, and the deadline is near.
Once for each deadline; an extension makes a new one. See ``approvals.reminders``."""
