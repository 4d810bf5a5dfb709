"""The figures that every installation has: its processes, queues, beat, liveness checks of workers,
and disk.
"""

import math
import shutil
from collections.abc import Iterable, Iterator

from django.conf import settings
from prometheus_client.core import GaugeMetricFamily, Metric

from orchestra.db import leases
from orchestra.diagnostics import probes
from orchestra.metrics import migrations, process
from orchestra.runtime import heartbeats, queues

CANARY = "canary:"


def families() -> Iterator[Metric]:
    """Yield every family from the first scrape on.

    The age of a process that never reported is infinite, for alerts.
    """
    yield from process.families()
    yield from migrations.families()
    processes = heartbeats.read_recent()
    yield from heartbeats.families(processes)
    beat = leases.ages(probes.BEAT).get(probes.BEAT, math.inf)
    yield GaugeMetricFamily("beat_age_seconds", "Seconds since a worker received beat's message.", value=beat)
    canaries = GaugeMetricFamily(
        "worker_canary_age_seconds", "Seconds since a worker proved that it consumes.", labels=["worker"]
    )
    ages = {name.removeprefix(CANARY): age for name, age in leases.ages(CANARY).items()}
    for worker in sorted({"worker", "sessions", *ages}):
        canaries.add_metric([worker], ages.get(worker, math.inf))
    yield canaries
    yield from _broker(queue for heartbeat in processes for queue in heartbeat.state.get("queues", ()))
    free = shutil.disk_usage(settings.ORCHESTRA.data_dir)
    yield GaugeMetricFamily("orchestra_disk_free_bytes", "Free bytes on the disk of the data folder.", value=free.free)
    yield GaugeMetricFamily("orchestra_disk_size_bytes", "Size of the disk of the data folder.", value=free.total)


def _broker(names: Iterable[str]) -> Iterator[Metric]:
    depths = queues.depths(names)
    yield GaugeMetricFamily("broker_up", "1 if the broker answers.", value=int(depths is not None))
    waiting = GaugeMetricFamily("celery_queue_length", "Messages that no worker has taken.", labels=["queue"])
    for queue, depth in (depths or {}).items():
        waiting.add_metric([queue], depth)
    yield waiting
