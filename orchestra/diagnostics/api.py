"""REST views about the state of the system, for the person on call.

Apps add views of their own below the same path.
"""

import math
from collections.abc import Iterable
from typing import Any, ClassVar

from drf_spectacular.utils import extend_schema
from prometheus_client.core import Metric
from rest_framework.decorators import action
from rest_framework.request import Request
from rest_framework.response import Response

from orchestra.auth.permissions import Right
from orchestra.db import leases
from orchestra.diagnostics import database as database_facts
from orchestra.diagnostics import probes
from orchestra.diagnostics.serializers import (
    DatabaseSerializer,
    FiguresSerializer,
    PerformanceSerializer,
    WorkersSerializer,
)
from orchestra.metrics import exposition
from orchestra.rest.schema import read
from orchestra.rest.viewsets import OrchestraViewSet, any_of
from orchestra.runtime import heartbeats, queues

# The runbook's names, and the series of each.
FIGURES = {
    "QueueSize": "escalation_queue_size",
    "EnqueueTotal": "escalation_queue_enqueue_total",
    "DequeueTotal": "escalation_queue_dequeue_total",
    "ApprovalsAccepted": "escalation_approvals_accepted_total",
    "ApprovalsRejected": "escalation_approvals_rejected_total",
    "ApprovalsTimeout": "escalation_approvals_timeout_total",
    "TelegramRequests": "telegram_api_requests_total",
    "TelegramFailures": "telegram_api_failures_total",
    "TelegramRetryAttempts": "telegram_api_retry_attempts_total",
}
YES_OR_NO = {
    "TelegramEnabled": "telegram_enabled",
    "TelegramServiceHealthy": "telegram_service_health",
    "ApprovalTimeoutServiceHealthy": "approval_timeout_service_health",
}
AVERAGES = {
    "AverageResponseTimeSeconds": "escalation_response_time_seconds",
    "AverageTelegramDurationSeconds": "telegram_api_duration_seconds",
}


@extend_schema(tags=["diagnostics"])
class DiagnosticsViewSet(OrchestraViewSet):
    """Figures about the database, the workers and the queues."""

    rights: ClassVar = {name: any_of(Right.READ) for name in ("database", "performance", "figures", "workers")}
    pagination_class = None
    filter_backends = []

    @read("State of the database", DatabaseSerializer)
    @action(detail=False)
    def database(self, request: Request) -> Response:
        return Response(database_facts.overview())

    @read("Performance of the database", PerformanceSerializer)
    @action(detail=False, url_path="database/performance")
    def performance(self, request: Request) -> Response:
        """Values that the engine does not have are null: SQLite has no sizes of tables and no slow
        statements.
        """
        return Response(database_facts.performance())

    @read("The metrics as JSON", FiguresSerializer)
    @action(detail=False, url_path="metrics")
    def figures(self, request: Request) -> Response:
        """The figures of the metrics page that the runbook uses, under its names."""
        return Response(figures_of(exposition.collect()))

    @read("Workers, queues and beat", WorkersSerializer)
    @action(detail=False)
    def workers(self, request: Request) -> Response:
        """All processes of all machines with a heartbeat within five minutes.

        ``depth`` is null without a broker.
        """
        return Response(workers())


def figures_of(families: Iterable[Metric]) -> dict[str, Any]:
    """Return the runbook's JSON; counts are integers."""
    values: dict[str, float] = {}
    for family in families:
        for sample in family.samples:
            values[sample.name] = values.get(sample.name, 0) + sample.value
    return {
        **{name: int(values[series]) for name, series in FIGURES.items()},
        **{name: values[series] == 1 for name, series in YES_OR_NO.items()},
        **{name: _average(values, series) for name, series in AVERAGES.items()},
    }


def workers() -> dict[str, Any]:
    """Return the last heartbeat of every process, the length of the queues, and the age of beat's
    last message.
    """
    processes = heartbeats.read_recent()
    consumed = {queue for heartbeat in processes for queue in heartbeat.state.get("queues", ())}
    depths = queues.depths(consumed)
    beat = leases.ages(probes.BEAT).get(probes.BEAT)
    return {
        "broker": probes.DOWN if depths is None else probes.OK,
        "beat_age_seconds": None if beat is None else round(beat, 1),
        "queues": [
            {
                "name": queue,
                "depth": (depths or {}).get(queue),
                "workers": sum(
                    heartbeat.is_alive and queue in heartbeat.state.get("queues", ()) for heartbeat in processes
                ),
            }
            for queue in sorted({*queues.ALWAYS, *consumed})
        ],
        "processes": [_process(heartbeat) for heartbeat in processes],
    }


def _process(heartbeat: heartbeats.Heartbeat) -> dict[str, Any]:
    state = heartbeat.state
    canary = state.get("canary_age_seconds")
    return {
        "process": state["process"],
        "host": state["host"],
        "pid": state["pid"],
        "age_seconds": round(heartbeat.age, 1),
        "lives": heartbeat.is_alive,
        "worker": state.get("worker"),
        "queues": state.get("queues", []),
        # the state is as old as the heartbeat
        "canary_age_seconds": None if canary is None else round(canary + heartbeat.age, 1),
        "memory_bytes": state["memory_bytes"],
        "threads": state["threads"],
        "open_files": state["open_files"],
        "connections": state["connections"],
    }


def _average(values: dict[str, float], series: str) -> float | None:
    count = values.get(f"{series}_count", math.nan)
    return round(values[f"{series}_sum"] / count, 3) if count > 0 else None
