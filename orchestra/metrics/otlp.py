"""Sends the figures of the metrics page to an OpenTelemetry collector.

One task of beat sends them, so an installation sends each figure once, however many processes it
has.
"""

import itertools
import logging
import time
from collections.abc import Iterable, Iterator, Sequence
from functools import cache
from typing import Any

from django.conf import settings
from prometheus_client.core import Metric
from prometheus_client.samples import Sample

from orchestra.diagnostics import tracing
from orchestra.metrics import exposition

logger = logging.getLogger(__name__)

TIMEOUT_S = 10
SINCE_NS = time.time_ns()


def export() -> int:
    """Send all figures, at most ``METRICS_MAX_POINTS``; return how many were sent.

    It is 0 without a configured collector, and if the collector does not accept them.
    """
    if not tracing.enabled():
        return 0
    from opentelemetry.sdk.metrics.export import MetricExportResult

    most = settings.METRICS.max_points
    families, points, left_out = capped(list(exposition.collect()), most)
    if left_out:
        logger.warning("%d figures were not exported: METRICS_MAX_POINTS is %d", left_out, most)
    sent = _exporter().export(as_otlp(families), timeout_millis=TIMEOUT_S * 1000)
    if sent is not MetricExportResult.SUCCESS:
        logger.warning("the collector did not take the figures")
        return 0
    return points


def capped(families: Sequence[Metric], most: int) -> tuple[list[Metric], int, int]:
    """Return the families that fit, how many points they have, and how many points are left out."""
    kept: list[Metric] = []
    points = left_out = 0
    for family in families:
        size = len(_histograms(family)) if family.type == "histogram" else len(family.samples)
        if points + size > most:
            left_out += size
        else:
            kept.append(family)
            points += size
    return kept, points, left_out


def as_otlp(families: Iterable[Metric]) -> Any:
    """Return the families as data of the SDK, with the current time."""
    from opentelemetry.sdk.metrics.export import MetricsData, ResourceMetrics, ScopeMetrics
    from opentelemetry.sdk.util.instrumentation import InstrumentationScope

    now = time.time_ns()
    scope = ScopeMetrics(InstrumentationScope("orchestra"), [_metric(family, now) for family in families], "")
    return MetricsData([ResourceMetrics(tracing.resource(), [scope], "")])


def _metric(family: Metric, now: int) -> Any:
    from opentelemetry.sdk.metrics.export import (
        AggregationTemporality,
        Gauge,
        Histogram,
        HistogramDataPoint,
        NumberDataPoint,
        Sum,
    )
    from opentelemetry.sdk.metrics.export import Metric as OtlpMetric

    cumulative = AggregationTemporality.CUMULATIVE
    data: Any
    if family.type == "histogram":
        points = [HistogramDataPoint(labels, SINCE_NS, now, *shape, 0.0, 0.0) for labels, shape in _histograms(family)]
        data = Histogram(points, cumulative)
    else:
        numbers = [NumberDataPoint(sample.labels, SINCE_NS, now, sample.value) for sample in family.samples]
        data = Sum(numbers, cumulative, is_monotonic=True) if family.type == "counter" else Gauge(numbers)
    name = f"{family.name}_total" if family.type == "counter" else family.name
    return OtlpMetric(name, family.documentation, "", data)


Shape = tuple[int, float, list[int], list[float]]
"""Count, sum, numbers per bucket, and the bounds between buckets."""


def _histograms(family: Metric) -> list[tuple[dict[str, str], Shape]]:
    """Convert buckets: Prometheus counts all values up to a bound, OpenTelemetry those between two
    bounds.
    """

    def labels_without_bound(sample: Sample) -> list[tuple[str, str]]:
        return sorted((name, value) for name, value in sample.labels.items() if name != "le")

    found = []
    for labels, group in itertools.groupby(sorted(family.samples, key=labels_without_bound), key=labels_without_bound):
        samples = list(group)
        edges = sorted((float(s.labels["le"]), s.value) for s in samples if s.name.endswith("_bucket"))
        total = next((s.value for s in samples if s.name.endswith("_sum")), 0.0)
        if edges:
            counts = [int(count) for count in _differences(value for _, value in edges)]
            found.append((dict(labels), (int(edges[-1][1]), total, counts, [edge for edge, _ in edges[:-1]])))
    return found


def _differences(values: Iterable[float]) -> Iterator[float]:
    before = 0.0
    for value in values:
        yield value - before
        before = value


@cache
def _exporter() -> Any:
    from opentelemetry.exporter.otlp.proto.http.metric_exporter import OTLPMetricExporter

    return OTLPMetricExporter(endpoint=f"{settings.METRICS.export_to.rstrip('/')}/v1/metrics", timeout=TIMEOUT_S)
