"""Which rows of this app and of django-celery-beat are audited: those that start work by
themselves.

``approvals.audit.changes`` records each change of them.
"""

from django_celery_beat.models import ClockedSchedule, CrontabSchedule, IntervalSchedule, PeriodicTask, SolarSchedule

from approvals.audit.changes import Watched, watch
from sessions_app.models import Schedule

SCHEDULE = ("title", "session", "cron", "every_seconds", "timezone", "overlap", "enabled", "requested_by")
CRONTAB = ("minute", "hour", "day_of_week", "day_of_month", "month_of_year", "timezone")
TASK = (
    "name", "task", "args", "kwargs", "queue", "exchange", "routing_key", "headers", "expires", "one_off", "start_time",
    "enabled", "interval", "crontab", "solar", "clocked",
)  # fmt: skip


def watch_all() -> None:
    """Register the audited models; the app's ``ready`` calls this once.

    The models of django-celery-beat are audited for changes by people (in the admin) only, because
    beat itself writes to the same rows.
    """
    watch(Schedule, Watched(noun="schedule", fields=SCHEDULE))
    watch(PeriodicTask, Watched(noun="task", fields=TASK, by_people=True))
    watch(IntervalSchedule, Watched(noun="interval", fields=("every", "period"), by_people=True))
    watch(CrontabSchedule, Watched(noun="crontab", fields=CRONTAB, name=_crontab_name, by_people=True))
    watch(SolarSchedule, Watched(noun="solar", fields=("event", "latitude", "longitude"), by_people=True))
    watch(ClockedSchedule, Watched(noun="clocked", fields=("clocked_time",), by_people=True))


def _crontab_name(crontab: CrontabSchedule) -> str:
    """Name a crontab by its primary key: its own ``__str__`` raises when a field is invalid."""
    return f"crontab {crontab.pk}"
