"""The doorbell of this app inside one process; other processes hear ``orchestra.db.notify``."""

from django.dispatch import Signal

approval_changed = Signal()
"""Sent after commit, robustly, with ``approval_id`` and its ``status``: something about that approval is new.
``swept`` is True for one of many that a sweep closed; ``approvals_swept`` follows, once for all of them."""

approvals_swept = Signal()
"""Sent after commit, robustly, with ``approval_ids``: a sweep closed these, their time was up. For listeners that
look something up: once for many costs little more than for one."""

approval_expiring = Signal()
"""Sent after commit, robustly, with ``approval_id`` and ``expires_at``: nobody has answered, and the deadline is near.
Once for each deadline; an extension makes a new one. Again and again, with ``deadlines.NEVER``, for what never expires.
See ``approvals.reminders``."""

agents_stopping = Signal()
"""Sent in the transaction that stops all agents, with ``stop``: what receivers write commits with it, or not at all."""

stop_changed = Signal()
"""Sent after commit, robustly, with ``stop``: it was begun, made stronger, or lifted (``lifted_at`` says so)."""

approval_reopened = Signal()
"""Sent after commit, robustly, with ``approval_id`` and ``by``: this new request asks a closed one again."""
