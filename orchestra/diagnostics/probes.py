"""Health probes. Apps register probes; the health pages run them all and import no app.

Each probe runs on a thread of its own and is given up after a second, so the page responds although
the database hangs or Redis is dead. A probe has at most one thread at any time: a page that comes
while it still runs waits for that one.
"""

import enum
import logging
import threading
import time
from collections.abc import Callable, Iterable
from concurrent.futures import Future
from dataclasses import dataclass
from datetime import timedelta
from typing import Literal

import redis
from django.db import DEFAULT_DB_ALIAS, connection, connections
from django.db.migrations.executor import MigrationExecutor
from django.http import HttpRequest, HttpResponse, JsonResponse
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_safe

from orchestra.db import leases
from orchestra.db.notify import redis_client
from orchestra.errors import RETRY_LATER

logger = logging.getLogger(__name__)

OK, DOWN = "ok", "down"
PATIENCE_S = 1.0
BEAT = "beat"
BEAT_INTERVAL_S = 10
BEAT_LATE_AFTER = timedelta(seconds=4 * BEAT_INTERVAL_S)

Status = Literal["ok", "degraded", "down"]


class Weight(enum.Enum):
    """The effect on the overall status when a part is not ok."""

    VITAL = enum.auto()
    """Nothing works without this part: the status is down, HTTP 503."""
    USEFUL = enum.auto()
    """Some function is slow or missing: the status is degraded, HTTP 200."""
    NOTE = enum.auto()
    """For information; it never changes the status."""


@dataclass(frozen=True, slots=True)
class Probe:
    """One part of the system.

    ``check`` returns a word, "ok" if the part works; an exception means "down".

    ``about`` and ``mend`` are for people: the purpose of the part, and what to do when it does not
    work.
    """

    name: str
    check: Callable[[], str]
    weight: Weight = Weight.USEFUL
    ready_only: bool = False
    about: str = ""
    mend: str = ""


_probes: dict[str, Probe] = {}
_asking: dict[str, "Future[str]"] = {}
_lock = threading.Lock()


def register(probe: Probe) -> None:
    """Add ``probe`` to the health pages; an app calls this in its ``ready``."""
    _probes[probe.name] = probe


def examine(probes: Iterable[Probe]) -> tuple[Status, dict[str, str]]:
    """Run all probes in parallel, for about a second; return the overall status and the result of
    each.
    """
    asked = [(probe, _ask(probe)) for probe in probes]
    end = time.monotonic() + PATIENCE_S
    parts = {probe.name: _answer(future, end) for probe, future in asked}
    bad = {probe.weight for probe, _ in asked if parts[probe.name] != OK}
    if Weight.VITAL in bad:
        return "down", parts
    return ("degraded" if Weight.USEFUL in bad else "ok"), parts


def parts() -> dict[str, str]:
    """Return the result of each fast probe, for pages that name the parts that fail; takes a second
    at most.
    """
    return examine([probe for probe in _probes.values() if not probe.ready_only])[1]


def asked() -> list[tuple[Probe, str]]:
    """Return every probe with its result, the slow ones included, for the page of diagnostics."""
    answers = examine(list(_probes.values()))[1]
    return [(_probes[name], answer) for name, answer in answers.items()]


@require_safe
@never_cache
def health(request: HttpRequest) -> HttpResponse:
    """Run all probes except the slow ones; 503 only while the database is unavailable."""
    return _page(probe for probe in _probes.values() if not probe.ready_only)


@require_safe
@never_cache
def ready(request: HttpRequest) -> HttpResponse:
    """Run all probes.

    Like ``health``, and 503 also while migrations are missing: whether to send traffic here.
    """
    return _page(_probes.values())


@require_safe
@never_cache
def live(request: HttpRequest) -> HttpResponse:
    """Respond at once, without any probe: whether this process is alive."""
    return JsonResponse({"status": OK, "parts": {}})


def _page(probes: Iterable[Probe]) -> HttpResponse:
    status, parts = examine(list(probes))
    answer = {"status": status, "parts": parts}
    return JsonResponse(answer, status=503, headers=RETRY_LATER) if status == "down" else JsonResponse(answer)


def _ask(probe: Probe) -> "Future[str]":
    with _lock:
        running = _asking.get(probe.name)
        if running is not None and not running.done():
            return running
        future: Future[str] = Future()
        _asking[probe.name] = future
    threading.Thread(target=_run, args=(probe, future), name=f"probe {probe.name}", daemon=True).start()
    return future


def _run(probe: Probe, future: "Future[str]") -> None:
    try:
        answer = probe.check()
    except Exception as error:  # any exception means that the part does not work, and the page has to show it
        logger.warning("health probe %s: %s", probe.name, type(error).__name__)
        answer = DOWN
    finally:
        connections.close_all()
    future.set_result(answer)


def _answer(future: "Future[str]", end: float) -> str:
    try:
        return future.result(timeout=max(0.0, end - time.monotonic()))
    except TimeoutError:
        return DOWN


def database() -> str:
    """Check that the database executes a statement."""
    with connection.cursor() as cursor:
        cursor.execute("SELECT 1")
    return OK


def redis_server() -> str:
    """Check that the broker responds."""
    try:
        redis_client().ping()
    except (redis.RedisError, OSError):
        return DOWN
    return OK


def beat() -> str:
    """Check that a worker received beat's message within four intervals; every sweep needs both."""
    return OK if leases.was_touched_within(BEAT, BEAT_LATE_AFTER) else DOWN


def migrations() -> str:
    """Check that no migration of this version is missing."""
    executor = MigrationExecutor(connections[DEFAULT_DB_ALIAS])
    return "missing" if executor.migration_plan(executor.loader.graph.leaf_nodes()) else OK


def register_own() -> None:
    """Register the probes that every installation has."""
    register(
        Probe(
            "database",
            database,
            Weight.VITAL,
            about="keeps every request and every decision",
            mend="Look at its own log; nothing can be decided until it answers.",
        )
    )
    register(
        Probe(
            "redis",
            redis_server,
            about="carries messages between processes",
            mend="Start it again. Decisions still count; they take effect some seconds later.",
        )
    )
    register(
        Probe(
            "beat",
            beat,
            about="runs periodic jobs",
            mend="See that beat and a worker of the queue default run; deadlines hold meanwhile.",
        )
    )
    register(
        Probe(
            "migrations",
            migrations,
            Weight.VITAL,
            ready_only=True,
            about="the tables are those this version expects",
            mend="Run: ./manage.py migrate",
        )
    )
