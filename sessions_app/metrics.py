"""Figures about sessions."""

from collections.abc import Iterator

from django.db.models import Count
from prometheus_client.core import GaugeMetricFamily, Metric

from sessions_app.models import AgentSession


def families() -> Iterator[Metric]:
    """Sessions by status; every status is there from the first scrape."""
    counted = dict(AgentSession.objects.order_by().values_list("status").annotate(number=Count("pk")))
    sessions = GaugeMetricFamily("agent_sessions", "Sessions by status.", labels=["status"])
    for status in AgentSession.Status.values:
        sessions.add_metric([status], counted.get(status, 0))
    yield sessions
