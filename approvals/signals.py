"""Signals of this app within one process; other processes get notifications
(``orchestra.db.notify``).
"""

from django.dispatch import Signal

approval_changed = Signal()
"""Sent after commit, robustly, with ``approval_id`` and its ``status``, when an approval was
created or changed. ``swept`` is True for each approval that a sweep closed; ``approvals_swept``
follows, once for the whole batch."""

approvals_swept = Signal()
"""Sent after commit, robustly, with ``approval_ids``, when a sweep has expired these approvals. It
is for receivers that query the database: one query for a batch costs little more than one for a
single approval."""

approval_expiring = Signal()
"""Sent after commit, robustly, with ``approval_id`` and ``expires_at``, when the deadline of an
open approval is near. It is sent once for each deadline; an extension makes a new deadline. For an
approval that never expires it is sent at intervals, with ``deadlines.NEVER``. See
``approvals.reminders``."""

agents_stopping = Signal()
"""Sent in the transaction that stops all agents, with ``stop``; what receivers write commits
together with the stop.
"""

stop_changed = Signal()
"""Sent after commit, robustly, with ``stop``, when it was started, changed to interrupt, or lifted
(``lifted_at``).
"""

approval_reopened = Signal()
"""Sent after commit, robustly, with ``approval_id`` and ``by``; the new request repeats a closed
one.
"""
