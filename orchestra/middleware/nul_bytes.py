"""Refuses addresses with a NUL character: no route has one, and PostgreSQL refuses every statement
with one.

REST views refuse it themselves: with 404 for an unknown id, with 400 and the name of the filter for
a query.
"""

from inspect import iscoroutinefunction
from typing import Any

from django.http import HttpRequest, HttpResponse
from django.http.response import HttpResponseBase
from django.utils.decorators import sync_and_async_middleware

REFUSAL = "This address contains a NUL character (%00), which names nothing here."


@sync_and_async_middleware
def without_nul(get_response: Any) -> Any:
    """Middleware that answers such an address with 400 before any view runs.

    Views check bodies themselves.
    """

    async def answer_async(request: HttpRequest) -> HttpResponseBase:
        return refused(request) or await get_response(request)

    def answer(request: HttpRequest) -> HttpResponseBase:
        return refused(request) or get_response(request)

    return answer_async if iscoroutinefunction(get_response) else answer


def refused(request: HttpRequest) -> HttpResponse | None:
    """Return the 400 response, or None for a valid address."""
    odd = "%00" in request.META.get("QUERY_STRING", "") or "\0" in request.path_info
    if not odd or request.path_info.startswith("/api/"):
        return None
    return HttpResponse(f"{REFUSAL}\n", status=400, content_type="text/plain")
