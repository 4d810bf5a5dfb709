import logging

from celery import shared_task
from django.conf import settings

from orchestra.archive import commands as archiving
from orchestra.db import leases
from orchestra.diagnostics import probes
from orchestra.metrics import otlp
from orchestra.runtime import worker_liveness

logger = logging.getLogger(__name__)


@shared_task(name="orchestra.beat", ignore_result=True)
def beat() -> None:
    """Record that beat sends and a worker receives; the health pages read the age of this record."""
    leases.touch(probes.BEAT)


@shared_task(name="orchestra.runtime.worker_liveness", ignore_result=True)
def receive_liveness_check(token: str) -> None:
    """Record a task that a worker has sent to itself."""
    worker_liveness.record_return(token)


@shared_task(name="orchestra.archive", ignore_result=True)
def archive() -> None:
    """Run retention once a day. Of two concurrent runs one works, and an unfinished run is
    continued by the next.
    """
    try:
        archiving.archive(settings.KEEPING.retention)
    except archiving.ArchiverBusy:
        logger.info("archive: another process is archiving")


@shared_task(name="orchestra.export_figures", ignore_result=True)
def export_figures() -> int:
    """Send the metrics to the collector; beat schedules this task only if a collector is
    configured.
    """
    return otlp.export()
