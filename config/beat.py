"""The schedule in the database follows the table in ``config.celery``."""

import time
from datetime import UTC, datetime, timedelta
from typing import Final

from django_celery_beat.models import PeriodicTask
from django_celery_beat.schedulers import DatabaseScheduler

from config.celery import OURS, SCHEDULE

LOOK_EVERY_S: Final = 2.0
SWEEP: Final = timedelta(minutes=5)  # what comes less often is no sweep


class TableScheduler(DatabaseScheduler):
    """django-celery-beat's, but entries that came from the table and are no longer in it are removed at the start.

    It only adds and updates: an entry that was renamed would ring under both names for ever. Entries that people made
    in the admin, and those of schedules, are not ours and stay.
    """

    _look_at = 0.0

    def setup_schedule(self) -> None:
        PeriodicTask.objects.filter(description=OURS).exclude(name__in=SCHEDULE).delete()
        super().setup_schedule()
        self._begin_at_once()

    def _begin_at_once(self) -> None:
        """Sweeps are due when beat starts, not an interval later: what came due meanwhile has waited enough."""
        sweeps = [name for name, entry in self.app.conf.beat_schedule.items() if entry["schedule"] <= SWEEP]
        rows = PeriodicTask.objects.filter(description=OURS, name__in=sweeps)
        rows.update(last_run_at=datetime.now(UTC) - SWEEP)  # no signal: the table itself did not change
        self.schedule.update(self.all_as_schedule())

    def schedule_changed(self) -> bool:
        """Whether the rows were changed; asked twenty times a second, and each time a query, it looks less often."""
        now = time.monotonic()
        if now < self._look_at:
            return False
        self._look_at = now + LOOK_EVERY_S
        return bool(super().schedule_changed())
