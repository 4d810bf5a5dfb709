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
    """Proof that beat sends and a worker works; the health pages look at its age."""
    leases.touch(probes.BEAT)


@shared_task(name="orchestra.runtime.worker_liveness", ignore_result=True)
def receive_liveness_check(token: str) -> None:
    """Sent by a worker to itself."""
    worker_liveness.record_return(token)


@shared_task(name="orchestra.archive", ignore_result=True)
def archive() -> None:
    """Once a day; two at once: one works. What it does not get done, the next one does."""
    try:
        archiving.archive(settings.KEEPING.retention)
    except archiving.ArchiverBusy:
        logger.info("archive: another process is at it")


@shared_task(name="orchestra.export_figures", ignore_result=True)
def export_figures() -> int:
    """Send the figures to the collector; beat rings this only if there is one."""
    return otlp.export()
