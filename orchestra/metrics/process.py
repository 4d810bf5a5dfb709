"""Counts of requests, tasks and statements, which processes keep in files and the metrics page adds
up.

Each process of a machine writes files of its own into one folder (``PROMETHEUS_MULTIPROC_DIR``, set
by the settings before prometheus_client is imported), so a scrape sees all of them, whichever
process answers it. Files of processes that have ended stay until everything starts anew: a counter
must not shrink. Figures about the state of things are in the database instead, since files do not
show that a process has ended.
"""

import os
import shutil
from collections.abc import Iterable
from pathlib import Path

from django_prometheus.cache import metrics as _cache_metrics  # noqa: F401 - makes its families
from django_prometheus.db import metrics as _database_metrics  # noqa: F401 - makes its families
from django_prometheus.middleware import Metrics as RequestMetrics
from prometheus_client import REGISTRY, CollectorRegistry, Counter, Metric, disable_created_metrics
from prometheus_client import Histogram as ProcessHistogram
from prometheus_client.multiprocess import MultiProcessCollector

FOLDER = os.environ.get("PROMETHEUS_MULTIPROC_DIR", "")
REQUEST_BUCKETS_S = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 60)
DJANGO_FAMILIES = ("django_http_", "django_db_", "django_cache_")
TASK_BUCKETS_S = (0.005, 0.025, 0.1, 0.5, 1, 5, 15, 60, 300, 900, 3600, 14400)

disable_created_metrics()  # type: ignore[no-untyped-call]  # one more series for each; the joined files have none either
_registry = CollectorRegistry()

REQUESTS = Counter("http_requests_total", "Requests answered.", ["method", "view", "status"], registry=_registry)
REQUEST_SECONDS = ProcessHistogram(
    "http_request_duration_seconds",
    "Seconds from a request to the head of its response.",
    registry=_registry,
    buckets=REQUEST_BUCKETS_S,
)
VIEW_SECONDS = ProcessHistogram(
    "http_view_duration_seconds",
    "The same by view; with METRICS_DETAILED only.",
    ["view"],
    registry=_registry,
    buckets=REQUEST_BUCKETS_S,
)
TASKS = Counter("celery_tasks_total", "Tasks that ended.", ["task", "state"], registry=_registry)
TASK_SECONDS = ProcessHistogram(
    "celery_task_duration_seconds", "Seconds a task took.", ["task"], registry=_registry, buckets=TASK_BUCKETS_S
)


RequestMetrics.get_instance()  # makes its families: a worker's export names those that only a web process fills


def families() -> Iterable[Metric]:
    """Return the counts of all processes of this machine, or of this process where there is no
    folder.
    """
    django = (family for family in REGISTRY.collect() if family.name.startswith(DJANGO_FAMILIES))
    known = [*_registry.collect(), *django]
    if not FOLDER:
        return known
    joined = MultiProcessCollector(None, FOLDER).collect()  # type: ignore[no-untyped-call]
    found = {family.name: family for family in joined}
    # a family without a count yet is in no file; its name is on the page all the same
    return [found.get(family.name, family) for family in known]


def start_anew(folder: Path) -> None:
    """Delete the counts of an earlier start.

    Only the process that starts all others may call this.
    """
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(mode=0o700, parents=True)
