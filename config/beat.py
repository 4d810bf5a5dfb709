"""The beat scheduler, which keeps the schedule in the database equal to the table in
``config.celery``.
"""

import time
from datetime import UTC, datetime, timedelta
from typing import Final

from django_celery_beat.models import PeriodicTask
from django_celery_beat.schedulers import DatabaseScheduler

from config.celery import OURS, SCHEDULE

LOOK_EVERY_S: Final = 2.0
SWEEP: Final = timedelta(minutes=5)  # the longest interval of a sweep


class TableScheduler(DatabaseScheduler):
    """django-celery-beat's scheduler, which also deletes entries that the table no longer contains.

    The original only adds and updates entries, so a renamed entry would run under both names for
    ever. Entries that people made in the admin, and those of schedules, stay.
    """

    _look_at = 0.0

    def setup_schedule(self) -> None:
        PeriodicTask.objects.filter(description=OURS).exclude(name__in=SCHEDULE).delete()
        super().setup_schedule()
        self._make_sweeps_due()

    def _make_sweeps_due(self) -> None:
        """Make sweeps due now, not an interval after the start: rows may have become due while beat
        was stopped.
        """
        sweeps = [name for name, entry in self.app.conf.beat_schedule.items() if entry["schedule"] <= SWEEP]
        rows = PeriodicTask.objects.filter(description=OURS, name__in=sweeps)
        rows.update(last_run_at=datetime.now(UTC) - SWEEP)  # without a signal: no entry was changed
        self.schedule.update(self.all_as_schedule())

    def schedule_changed(self) -> bool:
        """Return whether the rows were changed.

        beat calls this twenty times a second, and each call is a query, so most calls return False
        unchecked.
        """
        now = time.monotonic()
        if now < self._look_at:
            return False
        self._look_at = now + LOOK_EVERY_S
        return bool(super().schedule_changed())
