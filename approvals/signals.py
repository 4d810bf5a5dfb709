"""The doorbell of this app inside one process; other processes hear ``orchestra.doorbell``."""

from django.dispatch import Signal

approval_changed = Signal()
"""Sent after commit, robustly, with ``approval_id`` and its ``status``: something about that approval is new."""
