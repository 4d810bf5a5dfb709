"""Static files without a thread per open stream."""

from collections.abc import Awaitable, Callable
from typing import Any, cast

from asgiref.sync import iscoroutinefunction, markcoroutinefunction, sync_to_async
from django.http import HttpRequest, HttpResponse
from django.http.response import HttpResponseBase
from whitenoise.middleware import WhiteNoiseMiddleware


class StaticFiles(WhiteNoiseMiddleware):
    """whitenoise, able to run on the event loop.

    Its own middleware is synchronous only, so Django would run every view behind it, streams included, under a blocked
    thread; and it streams files in a way that Django must first collect, with a warning, before sending.
    """

    sync_capable = True
    async_capable = True

    def __init__(self, get_response: Callable[[HttpRequest], Any]) -> None:
        super().__init__(get_response)
        self.is_async = iscoroutinefunction(get_response)
        if self.is_async:
            markcoroutinefunction(self)

    def __call__(self, request: HttpRequest) -> HttpResponseBase | Awaitable[HttpResponseBase]:
        if self.is_async:
            return self._answer(request)
        return cast(HttpResponseBase, super().__call__(request))

    async def _answer(self, request: HttpRequest) -> HttpResponseBase:
        static_file = self.files.get(request.path_info)
        if static_file is None:
            return cast(HttpResponseBase, await self.get_response(request))
        return await sync_to_async(self._whole, thread_sensitive=False)(static_file, request)

    def _whole(self, static_file: Any, request: HttpRequest) -> HttpResponse:
        served = self.serve(static_file, request)
        content = served.getvalue() if served.streaming else served.content
        return HttpResponse(content, status=served.status_code, headers=dict(served.items()))
