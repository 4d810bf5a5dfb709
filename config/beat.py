"""The schedule in the database follows the table in ``config.celery``."""

from django_celery_beat.models import PeriodicTask
from django_celery_beat.schedulers import DatabaseScheduler

from config.celery import OURS, SCHEDULE


class TableScheduler(DatabaseScheduler):
    """django-celery-beat's, but entries that came from the table and are no longer in it are removed at the start.

    It only adds and updates: an entry that was renamed would ring under both names for ever. Entries that people made
    in the admin, and those of schedules, are not ours and stay.
    """

    def setup_schedule(self) -> None:
        PeriodicTask.objects.filter(description=OURS).exclude(name__in=SCHEDULE).delete()
        super().setup_schedule()
