"""The Prometheus page. Figures come from the database, so they are true across processes, hosts and restarts.

Apps register sources; the page imports nobody. What must never shrink is kept in ``Tally`` rows, which
outlive the rows they were counted from.
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
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily, Metric
from prometheus_client.exposition import choose_encoder
from prometheus_client.registry import Collector

logger = logging.getLogger(__name__)

Source = Callable[[], Iterable[Metric]]
_sources: list[Source] = []


def register_source(source: Source) -> None:
    """Have every scrape ask ``source`` too; called from an app's ``ready``."""
    if source not in _sources:
        _sources.append(source)


@require_safe
@never_cache
def page(request: HttpRequest) -> HttpResponse:
    """All figures, in the format the scraper prefers; 503 while the database is out: a gap must show as a gap."""
    if not _may_read(request):
        return HttpResponse(status=401, headers={"WWW-Authenticate": "Bearer"})
    registry = CollectorRegistry()
    registry.register(_Everything())
    encode, content_type = choose_encoder(request.headers.get("Accept", ""))
    try:
        return HttpResponse(encode(registry), content_type=content_type)
    except DatabaseError as error:
        logger.warning("no metrics without the database: %s", type(error).__name__)
        return HttpResponse("the database is out\n", status=503, content_type="text/plain")


def counter(name: str, text: str, value: float) -> CounterMetricFamily:
    """A counter without labels; ``name`` ends in ``_total``."""
    return CounterMetricFamily(name.removesuffix("_total"), text, value=value)


def check_token(**_kwargs: object) -> list[CheckMessage]:
    """A production start without a token warns: the figures tell how busy the house is."""
    open_house = settings.METRICS.enabled and not settings.METRICS.token
    if settings.ORCHESTRA.environment == "production" and open_house:
        return [
            Warning("/metrics is readable by anybody who reaches it.", hint="Set METRICS_TOKEN.", id="orchestra.W001")
        ]
    return []


def _may_read(request: HttpRequest) -> bool:
    token = settings.METRICS.token
    given = request.headers.get("Authorization", "")
    return not token or hmac.compare_digest(given.encode(), f"Bearer {token}".encode())


class _Everything(Collector):
    """Every source's families; then, at zero, the promised ones that nobody supplies."""

    def collect(self) -> Iterator[Metric]:
        said = set()
        for source in _sources:
            for family in source():
                said.add(family.name)
                yield family
        yield from (family for family in _promised() if family.name not in said)


def _promised() -> Iterator[Metric]:
    """Names that dashboards and alerts rely on whether or not Telegram is set up; without it, nothing was sent."""
    yield GaugeMetricFamily("telegram_enabled", "1 if Telegram is set up.", value=0)
    yield GaugeMetricFamily("telegram_service_health", "1 if Telegram answers; 0 when off.", value=0)
    yield counter("telegram_api_requests_total", "Calls to the Bot API.", 0)
    yield counter("telegram_api_failures_total", "Calls to the Bot API that failed.", 0)
    yield counter("telegram_api_retry_attempts_total", "Repeated calls to the Bot API.", 0)
    yield HistogramMetricFamily(
        "telegram_api_duration_seconds", "Duration of calls to the Bot API.", buckets=[("+Inf", 0)], sum_value=0
    )
