"""Addresses with a NUL in them: it names nothing here, and PostgreSQL refuses every statement with one.

REST judges its own: an unknown id is 404 there, a wrong filter names itself.
"""

from inspect import iscoroutinefunction
from typing import Any

from django.http import HttpRequest, HttpResponse
from django.http.response import HttpResponseBase
from django.utils.decorators import sync_and_async_middleware

REFUSAL = "This address contains a NUL character (%00), which names nothing here."


@sync_and_async_middleware
def without_nul(get_response: Any) -> Any:
    """Middleware: such an address is answered by 400 before a view looks at it. Bodies are their readers' business."""

    async def answer_async(request: HttpRequest) -> HttpResponseBase:
        return refused(request) or await get_response(request)

    def answer(request: HttpRequest) -> HttpResponseBase:
        return refused(request) or get_response(request)

    return answer_async if iscoroutinefunction(get_response) else answer


def refused(request: HttpRequest) -> HttpResponse | None:
    """The refusal, or None."""
    odd = "%00" in request.META.get("QUERY_STRING", "") or "\0" in request.path_info
    if not odd or request.path_info.startswith("/api/"):
        return None
    return HttpResponse(f"{REFUSAL}\n", status=400, content_type="text/plain")
