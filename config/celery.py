"""The Celery application, its queues, and the complete schedule in one table."""

import os
import warnings
from datetime import timedelta

from celery import Celery
from celery.signals import setup_logging, worker_ready, worker_shutting_down
from django.conf import settings

from orchestra.runtime import exit_guard

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "config.settings")

# The warning is about pickled messages. Ours are JSON, and root in a container has no rights
# outside it.
warnings.filterwarnings("ignore", message="You're running the worker with superuser privileges")

app = Celery("orchestra")

OURS = "From the table in config/celery.py; changes here last until the next start."

# name: (task, interval in seconds). A message expires before the next one is due.
SCHEDULE: dict[str, tuple[str, float]] = {
    "beat": ("orchestra.beat", 10),
    "expire overdue approvals": ("approvals.expire_due", 30),
    "count closed approvals": ("approvals.count_closed", 10),
    "count ended runs": ("sessions_app.count_ended_runs", 10),
    "count sessions": ("sessions_app.count_sessions", 30),
    "seal the audit": ("approvals.seal_audit", 5),
    "post callbacks": ("approvals.post_callbacks", 10),
    "dispatch queued turns": ("sessions_app.dispatch_queued_turns", 10),
    "resume answered sessions": ("sessions_app.resume_answered", 10),
    "reclaim lost runs": ("sessions_app.reclaim_lost_runs", 10),
    "open missing deliveries": ("escalation.open_missing_deliveries", 10),
    "forget old updates": ("escalation.forget_old_updates", 3600),
    "discover and check agents": ("sessions_app.ask_for_discovery", 300),
    "start due schedules": ("sessions_app.start_due_schedules", 15),
    "archive what closed long ago": ("orchestra.archive", 24 * 3600),
}


EXPORT = ("orchestra.export_figures", 0.0)  # scheduled only if OpenTelemetry is configured


def beat_schedule(check_interval_s: float, export_interval_s: float = 0) -> dict[str, dict[str, object]]:
    """Return the table in Celery's format; settings give the intervals of the expiry sweep and the
    export.
    """
    seconds = {name: every for name, (_, every) in SCHEDULE.items()} | {"expire overdue approvals": check_interval_s}
    table = {**SCHEDULE, "export figures": EXPORT} if export_interval_s else SCHEDULE
    seconds["export figures"] = export_interval_s
    return {
        name: {
            "task": task,
            "schedule": timedelta(seconds=seconds[name]),
            "options": {"expires": max(1.0, seconds[name] * 0.9)},
            "description": OURS,
        }
        for name, (task, _) in table.items()
    }


def configuration() -> dict[str, object]:
    """Return Celery's configuration, built from Django's settings."""
    return {
        "broker_url": settings.CELERY_BROKER_URL,
        "task_default_queue": "default",
        "task_ignore_result": True,
        "task_serializer": "json",
        "accept_content": ["json"],  # never pickle, because the broker is not trusted
        # The row, its lease and its fencing token decide; a sweep repairs a lost message.
        "task_acks_late": False,
        "worker_prefetch_multiplier": 1,
        "worker_disable_prefetch": True,
        "worker_direct": True,  # each worker's own queue, for its liveness task
        "worker_hijack_root_logger": False,
        "worker_cancel_long_running_tasks_on_connection_loss": False,
        "broker_connection_retry_on_startup": True,
        "broker_connection_max_retries": None,  # workers reconnect without limit
        "broker_transport_options": {
            # Without Redis publishers fail at once, and a sweep dispatches later.
            "max_retries": 0,
            "socket_connect_timeout": 0.5,
            "visibility_timeout": 6 * 3600,
            "global_keyprefix": f"orchestra-{settings.ORCHESTRA.instance}:",
        },
        "task_routes": {"sessions_app.run_turn": {"queue": "sessions"}},
        "beat_scheduler": "config.beat:TableScheduler",
        "beat_schedule": beat_schedule(
            settings.APPROVALS.check_interval.total_seconds(),
            settings.METRICS.export_interval.total_seconds() if settings.METRICS.export_to else 0,
        ),
        "timezone": "UTC",
    }


@setup_logging.connect
def leave_logging_to_django(**_signal: object) -> None:
    """Keep Django's logging: Celery configures its own unless this signal has a receiver."""


worker_shutting_down.connect(exit_guard.limit_shutdown)


@worker_ready.connect
def start_liveness_checks(**signal: object) -> None:
    # Imported late: these modules need the settings, and the settings import this package.
    from orchestra.metrics import tasks
    from orchestra.runtime import worker_liveness

    tasks.observe_tasks()
    worker_liveness.start(**signal)


app.add_defaults(configuration)  # evaluated lazily, because the settings import this package
app.autodiscover_tasks()
