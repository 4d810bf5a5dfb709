"""Each process says now and then that it lives and what it uses, in a row that every other process sees.

The rows are right across machines, which files and pings are not. A process that died stops saying anything; its row
is removed after a while.
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

_more: list[Callable[[], dict[str, Any]]] = []
_news = threading.Event()


@dataclass(frozen=True, slots=True)
class Vital:
    """The last word of a process; ``age`` in seconds."""

    age: float
    state: dict[str, Any]

    @property
    def lives(self) -> bool:
        """Whether it was heard of lately."""
        return self.age < SILENT_AFTER_S


def also_say(facts: Callable[[], dict[str, Any]]) -> None:
    """Have this process say these facts too: a few names with numbers or short texts."""
    _more.append(facts)
    _news.set()


def begin() -> None:
    """Start saying so, on a thread; for processes that are meant to stay."""
    threading.Thread(target=_go_on, name="vitals", daemon=True).start()


def say() -> None:
    """Once, now."""
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
    for facts in _more:
        state |= facts()
    leases.note(f"{PREFIX}{state['process']}@{state['host']}/{state['pid']}"[:100], state)
    Lease.objects.filter(name__startswith=PREFIX, updated_at__lt=Now() - GONE_AFTER).delete()


def said() -> list[Vital]:
    """The last word of every process there was lately, in the order of their names; not of those replaced since."""
    ages = leases.ages(PREFIX)
    states = Lease.objects.filter(name__in=ages).order_by("name").values_list("name", "state")
    vitals, now = [Vital(ages[name], state) for name, state in states], time.time()
    return [
        vital for vital in vitals if not any(_replaced(vital, other, now) for other in vitals if other is not vital)
    ]


def _replaced(vital: Vital, by: Vital, now: float) -> bool:
    """Whether ``vital`` missed its turn to speak, and one of its kind has started on its host since its last word."""
    same = all(vital.state[name] == by.state[name] for name in ("process", "host"))
    return same and vital.age > OVERDUE_AFTER_S and by.state["started_at"] > now - vital.age


def families(vitals: Iterable[Vital]) -> Iterator[Metric]:
    """What processes use."""
    labels = ["process", "host", "pid"]
    memory = GaugeMetricFamily("orchestra_process_memory_bytes", "Resident memory of a process.", labels=labels)
    cpu = CounterMetricFamily("orchestra_process_cpu_seconds", "Processor time a process has used.", labels=labels)
    files = GaugeMetricFamily("orchestra_process_open_files", "Open file descriptors of a process.", labels=labels)
    threads = GaugeMetricFamily("orchestra_process_threads", "Threads of a process.", labels=labels)
    pool = GaugeMetricFamily("orchestra_process_connections", "Database connections of a process.", labels=labels)
    ages = GaugeMetricFamily("orchestra_process_age_seconds", "Seconds since a process was heard of.", labels=labels)
    for vital in vitals:
        state = vital.state
        who = [str(state[label]) for label in labels]
        memory.add_metric(who, state["memory_bytes"])
        cpu.add_metric(who, state["cpu_seconds"])
        files.add_metric(who, state["open_files"])
        threads.add_metric(who, state["threads"])
        pool.add_metric(who, state["connections"])
        ages.add_metric(who, vital.age)
    yield from (memory, cpu, files, threads, pool, ages)


def _go_on() -> None:
    apps.ready_event.wait()
    while True:
        try:
            say()
        except (DatabaseError, psutil.Error) as error:
            logger.warning("vitals: not said this time (%s)", type(error).__name__)
        finally:
            connection.close()
        _news.wait(EVERY_S)
        _news.clear()
