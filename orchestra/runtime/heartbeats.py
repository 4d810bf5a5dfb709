"""Heartbeats: each process periodically records in the database that it is alive and which
resources it uses.

Rows work across hosts, which pid files do not. The row of a process that stopped is deleted after
`GONE_AFTER`.
"""

import logging
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

import psutil
from django.apps import apps
from django.conf import settings
from django.db import DatabaseError, connection
from django.db.models.functions import Now
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric

from orchestra.db import leases
from orchestra.diagnostics import database
from orchestra.models import Lease

logger = logging.getLogger(__name__)

EVERY_S = 15.0
OVERDUE_AFTER_S = 1.5 * EVERY_S
SILENT_AFTER_S = 3 * EVERY_S
GONE_AFTER = timedelta(minutes=5)
PREFIX = "process:"

_fact_sources: list[Callable[[], dict[str, Any]]] = []
_wake = threading.Event()


@dataclass(frozen=True, slots=True)
class Heartbeat:
    """The last heartbeat of a process; ``age`` is in seconds."""

    age: float
    state: dict[str, Any]

    @property
    def is_alive(self) -> bool:
        """Whether the process has missed fewer than three heartbeats."""
        return self.age < SILENT_AFTER_S


def add_facts(facts: Callable[[], dict[str, Any]]) -> None:
    """Add the values that ``facts`` returns to this process's heartbeats, and write one now."""
    _fact_sources.append(facts)
    _wake.set()


def start() -> None:
    """Start the thread that writes the heartbeats of a long-running process."""
    threading.Thread(target=_write_repeatedly, name="heartbeat", daemon=True).start()


def write() -> None:
    """Write a heartbeat now, and delete the rows of processes that stopped."""
    process = psutil.Process()
    with process.oneshot():
        state = {
            "process": settings.ORCHESTRA.process or "manage",
            "host": settings.ORCHESTRA.hostname,
            "pid": process.pid,
            "started_at": process.create_time(),
            "memory_bytes": process.memory_info().rss,
            "cpu_seconds": sum(process.cpu_times()[:2]),
            "threads": process.num_threads(),
            "open_files": process.num_fds() if hasattr(process, "num_fds") else 0,
            "connections": (database.pool() or {}).get("open", 0),
        }
    for facts in _fact_sources:
        state |= facts()
    leases.write_state(f"{PREFIX}{state['process']}@{state['host']}/{state['pid']}"[:100], state)
    Lease.objects.filter(name__startswith=PREFIX, updated_at__lt=Now() - GONE_AFTER).delete()


def read_recent() -> list[Heartbeat]:
    """Return the last heartbeat of each process, ordered by name, without processes that were
    replaced.
    """
    ages = leases.ages(PREFIX)
    states = Lease.objects.filter(name__in=ages).order_by("name").values_list("name", "state")
    heartbeats, now = [Heartbeat(ages[name], state) for name, state in states], time.time()
    return [
        heartbeat
        for heartbeat in heartbeats
        if not any(_replaced(heartbeat, other, now) for other in heartbeats if other is not heartbeat)
    ]


def _replaced(heartbeat: Heartbeat, by: Heartbeat, now: float) -> bool:
    """Return whether the process is overdue and another one of its kind has started on its host
    since.
    """
    same = all(heartbeat.state[name] == by.state[name] for name in ("process", "host"))
    return same and heartbeat.age > OVERDUE_AFTER_S and by.state["started_at"] > now - heartbeat.age


def families(heartbeats: Iterable[Heartbeat]) -> Iterator[Metric]:
    """Yield the metrics of the processes' resources."""
    labels = ["process", "host", "pid"]
    memory = GaugeMetricFamily("orchestra_process_memory_bytes", "Resident memory of a process.", labels=labels)
    cpu = CounterMetricFamily("orchestra_process_cpu_seconds", "Processor time a process has used.", labels=labels)
    files = GaugeMetricFamily("orchestra_process_open_files", "Open file descriptors of a process.", labels=labels)
    threads = GaugeMetricFamily("orchestra_process_threads", "Threads of a process.", labels=labels)
    pool = GaugeMetricFamily("orchestra_process_connections", "Database connections of a process.", labels=labels)
    ages = GaugeMetricFamily(
        "orchestra_process_age_seconds", "Seconds since the last heartbeat of a process.", labels=labels
    )
    for heartbeat in heartbeats:
        state = heartbeat.state
        values = [str(state[label]) for label in labels]
        memory.add_metric(values, state["memory_bytes"])
        cpu.add_metric(values, state["cpu_seconds"])
        files.add_metric(values, state["open_files"])
        threads.add_metric(values, state["threads"])
        pool.add_metric(values, state["connections"])
        ages.add_metric(values, heartbeat.age)
    yield from (memory, cpu, files, threads, pool, ages)


def _write_repeatedly() -> None:
    apps.ready_event.wait()
    while True:
        try:
            write()
        except (DatabaseError, psutil.Error) as error:
            logger.warning("heartbeat not written (%s); the next one follows in %g s", type(error).__name__, EVERY_S)
        finally:
            connection.close()
        _wake.wait(EVERY_S)
        _wake.clear()
