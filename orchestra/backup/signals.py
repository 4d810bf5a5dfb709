"""How apps take part in backups without being known here."""

from collections.abc import Callable, Iterator

from django.dispatch import Signal

database_restored = Signal()
"""Sent once, inside the transaction that makes a restored copy fit for use, before anybody sees it.

Receivers get ``epoch`` (the new fence epoch, see ``orchestra.db.fencing``), ``taken_at`` (when the backup was made, ISO
8601) and ``keep_rules`` (standing rules shall apply again). They make true that nothing which ran after the backup runs
again without a new approval, and return a sentence for the person who restores, or None. Raising undoes the restore.
"""

Check = Callable[[], Iterator[str]]
copy_checks: dict[str, Check] = {}
"""Looks at a backup's copy, which stands in for the database while they run; each yields what is wrong with it."""
