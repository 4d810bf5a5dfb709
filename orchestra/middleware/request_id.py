"""Middleware that gives every request an id, adds it to every log line of the request, and counts
the request.
"""

import re
import time
import uuid
from contextlib import AbstractContextManager, nullcontext
from inspect import iscoroutinefunction
from typing import Any

from django.conf import settings
from django.http import HttpRequest
from django.http.response import HttpResponseBase
from django.utils.decorators import sync_and_async_middleware

from orchestra.diagnostics import tracing
from orchestra.logs.config import only
from orchestra.metrics.process import REQUEST_SECONDS, REQUESTS, VIEW_SECONDS

HEADER = "X-Request-ID"
GIVEN_ID = re.compile(r"[A-Za-z0-9._-]{8,64}")
METHODS = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"})


@sync_and_async_middleware
def observed(get_response: Any) -> Any:
    """Middleware, asynchronous under an asynchronous server, where a synchronous one would cost a
    change of threads.
    """

    async def answer_async(request: HttpRequest) -> HttpResponseBase:
        started = time.perf_counter()
        request_id = id_of(request)
        with only(request=request_id), _span(request) as span:
            response = await get_response(request)
            return _record(request, response, request_id, time.perf_counter() - started, span)

    def answer(request: HttpRequest) -> HttpResponseBase:
        started = time.perf_counter()
        request_id = id_of(request)
        with only(request=request_id), _span(request) as span:
            response = get_response(request)
            return _record(request, response, request_id, time.perf_counter() - started, span)

    return answer_async if iscoroutinefunction(get_response) else answer


def id_of(request: HttpRequest) -> str:
    """Return the id that a proxy sent, if it is a valid one, or a new id."""
    given = request.headers.get(HEADER, "")
    return given if GIVEN_ID.fullmatch(given) else uuid.uuid4().hex


def _span(request: HttpRequest) -> AbstractContextManager[Any]:
    """Return a span for a request that changes something.

    Reads, above all scrapes, would outnumber those.
    """
    if request.method in ("GET", "HEAD", "OPTIONS") or not tracing.enabled():
        return nullcontext()
    return tracing.span(f"{request.method}", parent=request.headers.get("traceparent", ""), kind=tracing.SERVER)


def _record(
    request: HttpRequest, response: HttpResponseBase, request_id: str, seconds: float, span: Any
) -> HttpResponseBase:
    """Count the request and add its id to the response.

    Labels have few values, whatever clients send: all unknown methods are one value, all unknown
    paths another.
    """
    match = request.resolver_match
    view = (match.view_name if match else "") or ""
    method = request.method if request.method in METHODS else "other"
    REQUESTS.labels(method, view, response.status_code).inc()
    REQUEST_SECONDS.observe(seconds)
    if settings.METRICS.detailed:
        VIEW_SECONDS.labels(view).observe(seconds)
    if span is not None:
        span.update_name(f"{method} {view}")  # the path contains ids
        span.set_attributes({"http.route": view, "http.response.status_code": response.status_code})
    response.headers[HEADER] = request_id
    return response
