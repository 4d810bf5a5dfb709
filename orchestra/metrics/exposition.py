"""The Prometheus page.

Figures come from the database, so they are true across processes, hosts and restarts.

Apps register sources, and the page imports no app. Counters are kept in ``Tally`` rows, which
outlive the rows that were counted.
"""

import hmac
import logging
from collections.abc import Callable, Iterable, Iterator

from django.conf import settings
from django.core.checks import CheckMessage, Warning
from django.db import DatabaseError
from django.http import HttpRequest, HttpResponse
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_safe
from prometheus_client import CollectorRegistry
from prometheus_client.core import CounterMetricFamily, Metric
from prometheus_client.exposition import choose_encoder
from prometheus_client.registry import Collector

from orchestra.errors import RETRY_LATER

logger = logging.getLogger(__name__)

RUNBOOK = (
    "escalation_queue_size", "escalation_queue_enqueue", "escalation_queue_dequeue", "escalation_approvals_accepted",
    "escalation_approvals_rejected", "escalation_approvals_timeout", "escalation_response_time_seconds",
    "telegram_api_requests", "telegram_api_failures", "telegram_api_retry_attempts", "telegram_api_duration_seconds",
    "approval_timeout_service_health", "telegram_service_health",
)  # fmt: skip
"""Families as the runbook lists them, counters without their ``_total``."""
PLACES = {name: place for place, name in enumerate(RUNBOOK)}
Source = Callable[[], Iterable[Metric]]
_sources: list[Source] = []
UNAUTHENTICATED = "Unauthenticated. Send `Authorization: Bearer <token>` with the value of METRICS_TOKEN."


def register_source(source: Source) -> None:
    """Add the families of ``source`` to every scrape; an app calls this in its ``ready``."""
    if source not in _sources:
        _sources.append(source)


@require_safe
@never_cache
def page(request: HttpRequest) -> HttpResponse:
    """Return all figures in the format that the scraper prefers.

    The status is 503 while the database is unavailable, so that Prometheus has a gap and not zeros.
    """
    if not _may_read(request):
        return HttpResponse(
            f"{UNAUTHENTICATED}\n", status=401, content_type="text/plain", headers={"WWW-Authenticate": "Bearer"}
        )
    registry = CollectorRegistry()
    registry.register(_Everything())
    encode, content_type = choose_encoder(request.headers.get("Accept", ""))
    try:
        return HttpResponse(encode(registry), content_type=content_type)
    except DatabaseError as error:
        logger.warning("no metrics without the database: %s", type(error).__name__)
        return HttpResponse("the database is out\n", status=503, content_type="text/plain", headers=RETRY_LATER)


def collect() -> Iterable[Metric]:
    """Return the current families of all sources."""
    return _Everything().collect()


def counter(name: str, text: str, value: float) -> CounterMetricFamily:
    """Return a counter without labels; ``name`` ends in ``_total``."""
    return CounterMetricFamily(name.removesuffix("_total"), text, value=value)


def check_token(**_kwargs: object) -> list[CheckMessage]:
    """Warn in production without a token: the figures show how much the installation is used."""
    is_open = settings.METRICS.enabled and not settings.METRICS.token
    if settings.ORCHESTRA.environment == "production" and is_open:
        return [
            Warning("/metrics is readable by anybody who reaches it.", hint="Set METRICS_TOKEN.", id="orchestra.W001")
        ]
    return []


def _may_read(request: HttpRequest) -> bool:
    token = settings.METRICS.token
    given = request.headers.get("Authorization", "")
    return not token or hmac.compare_digest(given.encode(), f"Bearer {token}".encode())


class _Everything(Collector):
    """The families of all sources, for a registry of prometheus_client."""

    def collect(self) -> Iterator[Metric]:
        """Yield the families of the runbook first, in its order: its ``head -50`` must show them."""
        families = [family for source in _sources for family in source()]
        yield from sorted(families, key=lambda family: PLACES.get(family.name, len(PLACES)))
