"""The two middlewares of django-prometheus, on the event loop and with bounded label values."""

from collections.abc import Callable
from typing import Any

from django.http import HttpRequest
from django_prometheus import middleware

from orchestra.middleware.request_id import METHODS

UNKNOWN_METHOD = "<invalid method>"


class _OnEventLoop:
    """Call the hooks directly: they count and never wait.

    Django would change to a thread and back for each of them.
    """

    async def __acall__(self: Any, request: HttpRequest) -> Any:
        self.process_request(request)
        response = await self.get_response(request)
        return self.process_response(request, response)


class Before(_OnEventLoop, middleware.PrometheusBeforeMiddleware):
    """The outermost middleware: all requests, and their seconds with all middlewares."""


class After(_OnEventLoop, middleware.PrometheusAfterMiddleware):
    """The innermost middleware: requests and responses by method, view, status and size.

    A client chooses methods and paths. An unknown method is counted as ``<invalid method>`` and an
    unresolved path as ``<unnamed view>``, so the number of series depends on the routes alone.
    """

    def __init__(self, get_response: Callable[[HttpRequest], Any]) -> None:
        super().__init__(get_response)
        if self.async_mode:
            self.process_view = self._process_view
            self.process_template_response = self._process_template_response

    async def _process_view(self, *args: Any) -> None:
        super().process_view(*args)

    async def _process_template_response(self, request: HttpRequest, response: Any) -> Any:
        return super().process_template_response(request, response)

    def process_request(self, request: HttpRequest) -> None:
        try:
            super().process_request(request)
        except ValueError:  # a Content-Length that is no number: the seconds of this request stay unknown
            return

    def label_metric(self, metric: Any, request: HttpRequest, response: Any = None, **labels: str) -> Any:
        """Replace the method, which ``process_response`` of django-prometheus takes from the
        request unchecked.
        """
        if "method" in labels:
            labels["method"] = self._method(request)
        return super().label_metric(metric, request, response, **labels)

    def _method(self, request: HttpRequest) -> str:
        return request.method if request.method in METHODS else UNKNOWN_METHOD
