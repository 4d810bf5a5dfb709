"""What processes count for themselves: requests and tasks, in files that the metrics page joins.

Each process of a machine writes files of its own into one folder (``PROMETHEUS_MULTIPROC_DIR``, set by the settings
before prometheus_client is imported), so a scrape sees all of them, whichever process answers it. Files of processes
that have ended stay until everything starts anew: a counter must not shrink. Figures about the state of things are in
the database instead, since files cannot tell that a process is gone.
"""

import os
import re
import shutil
import socket
from collections.abc import Iterable
from pathlib import Path

from prometheus_client import CollectorRegistry, Counter, Metric, disable_created_metrics, values
from prometheus_client import Histogram as ProcessHistogram
from prometheus_client.multiprocess import MultiProcessCollector
from prometheus_client.values import MultiProcessValue

FOLDER = os.environ.get("PROMETHEUS_MULTIPROC_DIR", "")
REQUEST_BUCKETS_S = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 60)
TASK_BUCKETS_S = (0.005, 0.025, 0.1, 0.5, 1, 5, 15, 60, 300, 900, 3600, 14400)


def _who_writes() -> str:
    """Part of a file's name. Containers that share the folder have the same process ids, but not the same name."""
    return f"{re.sub('[^A-Za-z0-9.-]', '-', socket.gethostname())}-{os.getpid()}"


if FOLDER:
    values.ValueClass = MultiProcessValue(_who_writes)  # type: ignore[no-untyped-call]

disable_created_metrics()  # type: ignore[no-untyped-call]  # a series more for each, which the joined files do not have either
_registry = CollectorRegistry()

REQUESTS = Counter("http_requests_total", "Requests answered.", ["method", "view", "status"], registry=_registry)
REQUEST_SECONDS = ProcessHistogram(
    "http_request_duration_seconds",
    "Seconds from a request to the head of its answer.",
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


def families() -> Iterable[Metric]:
    """All processes of this machine together; of this one alone where there is no folder to share."""
    if not FOLDER:
        return _registry.collect()
    joined = MultiProcessCollector(None, FOLDER).collect()  # type: ignore[no-untyped-call]
    found = {family.name: family for family in joined}
    # nothing in the files yet: the name is there all the same
    return [found.get(family.name, family) for family in _registry.collect()]


def start_anew(folder: Path) -> None:
    """Forget what processes of an earlier start counted; for whoever starts them all."""
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(mode=0o700, parents=True)
