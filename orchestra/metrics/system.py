"""The figures every installation has: its processes, queues, beat, canaries and disk."""

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
    """Every name is there from the first scrape. What was never heard of is infinitely old, so that alerts see it."""
    yield from process.families()
    yield from migrations.families()
    processes = heartbeats.said()
    yield from heartbeats.families(processes)
    beat = leases.ages(probes.BEAT).get(probes.BEAT, math.inf)
    yield GaugeMetricFamily("beat_age_seconds", "Seconds since beat's message reached a worker.", value=beat)
    canaries = GaugeMetricFamily(
        "worker_canary_age_seconds", "Seconds since a worker proved that it consumes.", labels=["worker"]
    )
    heard = {name.removeprefix(CANARY): age for name, age in leases.ages(CANARY).items()}
    for worker in sorted({"worker", "sessions", *heard}):
        canaries.add_metric([worker], heard.get(worker, math.inf))
    yield canaries
    yield from _broker(queue for vital in processes for queue in vital.state.get("queues", ()))
    free = shutil.disk_usage(settings.ORCHESTRA.data_dir)
    yield GaugeMetricFamily("orchestra_disk_free_bytes", "Room left where the data folder is.", value=free.free)
    yield GaugeMetricFamily("orchestra_disk_size_bytes", "Size of the disk the data folder is on.", value=free.total)


def _broker(names: Iterable[str]) -> Iterator[Metric]:
    depths = queues.depths(names)
    yield GaugeMetricFamily("broker_up", "1 if the broker answers.", value=int(depths is not None))
    waiting = GaugeMetricFamily("celery_queue_length", "Messages no worker has taken.", labels=["queue"])
    for queue, depth in (depths or {}).items():
        waiting.add_metric([queue], depth)
    yield waiting
