"""Counts and times every task, and adds its name to every log line that it writes."""

import time
from typing import Any

import structlog
from celery.signals import task_postrun, task_prerun

from orchestra.metrics.process import TASK_SECONDS, TASKS

_started: dict[str, float] = {}


def observe_tasks() -> None:
    """Connect the signals of Celery; the setup of a worker calls this once."""
    task_prerun.connect(_start_timer, dispatch_uid="orchestra.metrics.tasks")
    task_postrun.connect(_count_task, dispatch_uid="orchestra.metrics.tasks")


def _start_timer(*, task_id: str, task: Any, **_signal: object) -> None:
    structlog.contextvars.clear_contextvars()  # the thread has run other tasks before
    structlog.contextvars.bind_contextvars(task=task.name)
    _started[task_id] = time.perf_counter()


def _count_task(*, task_id: str, task: Any, state: str | None = None, **_signal: object) -> None:
    TASKS.labels(task.name, (state or "unknown").lower()).inc()
    if (started := _started.pop(task_id, None)) is not None:
        TASK_SECONDS.labels(task.name).observe(time.perf_counter() - started)
    structlog.contextvars.clear_contextvars()
