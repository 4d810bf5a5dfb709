"""What of this app, and of beat's tables, gives power, for ``approvals.audit.changes``: what starts by itself."""

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
    """Called once when the app is ready. Beat writes its table of tasks by itself; people do it in the admin."""
    watch(Schedule, Watched(noun="schedule", fields=SCHEDULE))
    watch(PeriodicTask, Watched(noun="task", fields=TASK, by_people=True))
    watch(IntervalSchedule, Watched(noun="interval", fields=("every", "period"), by_people=True))
    watch(CrontabSchedule, Watched(noun="crontab", fields=CRONTAB, name=_numbered, by_people=True))
    watch(SolarSchedule, Watched(noun="solar", fields=("event", "latitude", "longitude"), by_people=True))
    watch(ClockedSchedule, Watched(noun="clocked", fields=("clocked_time",), by_people=True))


def _numbered(crontab: CrontabSchedule) -> str:
    """Its own text needs every field to be sound."""
    return f"crontab {crontab.pk}"
