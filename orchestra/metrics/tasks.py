"""Every task is counted and timed, and names itself on every line that it writes."""

import time
from typing import Any

import structlog
from celery.signals import task_postrun, task_prerun

from orchestra.metrics.process import TASK_SECONDS, TASKS

_began: dict[str, float] = {}


def observe_tasks() -> None:
    """Called once, where workers are set up."""
    task_prerun.connect(_begin, dispatch_uid="orchestra.metrics.tasks")
    task_postrun.connect(_end, dispatch_uid="orchestra.metrics.tasks")


def _begin(*, task_id: str, task: Any, **_signal: object) -> None:
    structlog.contextvars.clear_contextvars()  # threads are used again and again
    structlog.contextvars.bind_contextvars(task=task.name)
    _began[task_id] = time.perf_counter()


def _end(*, task_id: str, task: Any, state: str | None = None, **_signal: object) -> None:
    TASKS.labels(task.name, (state or "unknown").lower()).inc()
    if (began := _began.pop(task_id, None)) is not None:
        TASK_SECONDS.labels(task.name).observe(time.perf_counter() - began)
    structlog.contextvars.clear_contextvars()
