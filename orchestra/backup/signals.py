"""The signal and the registry through which apps take part in backups."""

from collections.abc import Callable, Iterator

from django.dispatch import Signal

database_restored = Signal()
"""Sent once, inside the transaction of the after-restore steps, before the copy replaces the
database.

Receivers get ``epoch`` (the new fence epoch, see ``orchestra.db.fencing``), ``taken_at`` (when the
backup was made, ISO 8601) and ``keep_rules`` (whether standing rules apply again). They ensure that
nothing that ran after the backup can run again without a new approval. They return a sentence for
the person who restores, or None. An exception cancels the restore.
"""

Check = Callable[[], Iterator[str]]
copy_checks: dict[str, Check] = {}
"""Checks of a backup's copy, which is the default database while they run; each yields the problems
it finds.
"""
