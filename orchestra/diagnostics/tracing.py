"""Spans of OpenTelemetry: one tree for each session, from the request that started it to the end of
its processes.

Without ``OTEL_EXPORTER_OTLP_ENDPOINT`` no span is made and no library is imported. A session stores
the trace context (W3C ``traceparent``) of the request that started it, since its turns run in other
processes, some of them days later. Spans carry ids, names and codes, never what a person or an
agent wrote.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime
from functools import cache
from importlib.util import find_spec
from typing import Any

from django.conf import settings
from django.core.checks import CheckMessage, Error

SERVER, INTERNAL = "SERVER", "INTERNAL"
LIBRARY = "opentelemetry.sdk"


def enabled() -> bool:
    """Whether spans are exported."""
    return bool(settings.METRICS.export_to) and installed()


def installed() -> bool:
    """Whether the optional packages are installed."""
    try:
        return find_spec(LIBRARY) is not None
    except ModuleNotFoundError:
        return False


def check_installed(**_kwargs: object) -> list[CheckMessage]:
    """Report an endpoint without the packages, which would export nothing."""
    if settings.METRICS.export_to and not installed():
        hint = "Install requirements-otel.txt, or unset OTEL_EXPORTER_OTLP_ENDPOINT."
        return [
            Error(
                "OTEL_EXPORTER_OTLP_ENDPOINT is set, and OpenTelemetry is not installed.",
                hint=hint,
                id="orchestra.E020",
            )
        ]
    return []


@contextmanager
def span(name: str, *, parent: str = "", kind: str = INTERNAL, **attributes: object) -> Iterator[Any]:
    """Run the ``with`` block in a span and yield the span, or None if spans are not exported.

    ``parent`` is a ``traceparent``; without one the surrounding span is the parent, if there is
    one.
    """
    if not enabled():
        yield None
        return
    from opentelemetry.trace import SpanKind

    with _tracer().start_as_current_span(
        name, context=_context(parent), kind=SpanKind[kind], attributes=_plain(attributes)
    ) as current:
        yield current


def past_span(name: str, *, parent: str, start: datetime, end: datetime, **attributes: object) -> None:
    """Record a span that has ended, such as the time a person took to decide."""
    if enabled():
        began = _tracer().start_span(
            name, context=_context(parent), start_time=_nanoseconds(start), attributes=_plain(attributes)
        )
        began.end(_nanoseconds(end))


def traceparent() -> str:
    """Return the current span as a ``traceparent`` for other processes; empty if there is none."""
    if not enabled():
        return ""
    from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

    carrier: dict[str, str] = {}
    TraceContextTextMapPropagator().inject(carrier)
    return carrier.get("traceparent", "")


def resource() -> Any:
    """Return the OpenTelemetry resource of this process."""
    from opentelemetry.sdk.resources import Resource

    orchestra = settings.ORCHESTRA
    return Resource.create(
        {
            "service.name": settings.METRICS.service_name,
            "service.instance.id": f"{orchestra.process or 'manage'}@{orchestra.hostname}",
            "deployment.environment.name": orchestra.environment,
        }
    )


@cache
def _tracer() -> Any:
    from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
    from opentelemetry.sdk.trace import TracerProvider
    from opentelemetry.sdk.trace.export import BatchSpanProcessor

    provider = TracerProvider(resource=resource())  # it sends what is left when the process ends
    exporter = OTLPSpanExporter(endpoint=f"{settings.METRICS.export_to.rstrip('/')}/v1/traces")
    provider.add_span_processor(BatchSpanProcessor(exporter))
    return provider.get_tracer("orchestra")


def _context(parent: str) -> Any:
    from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

    return TraceContextTextMapPropagator().extract({"traceparent": parent}) if parent else None


def _plain(attributes: dict[str, object]) -> dict[str, Any]:
    return {
        name.replace("__", "."): value if isinstance(value, bool | int | float) else str(value)
        for name, value in attributes.items()
        if value is not None
    }


def _nanoseconds(moment: datetime) -> int:
    return int(moment.timestamp() * 1_000_000_000)
