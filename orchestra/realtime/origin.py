"""Which web pages may open a socket: Orchestra's own, and those of the origins that the operator trusts."""

from collections.abc import Awaitable, Callable, Mapping
from typing import Any
from urllib.parse import urlsplit

from channels.generic.websocket import AsyncWebsocketConsumer
from channels.security.websocket import OriginValidator
from django.conf import settings
from django.http.request import validate_host

FOREIGN_ORIGIN = 4403
SCHEMES = ("http", "https")


class HubOriginValidator(OriginValidator):
    """Channels' check of the Origin header, with two differences.

    A page may also connect to the address that it came from, and a connection without an Origin header
    passes, since it is not a browser's; its cookies are then ignored (``HubAuthMiddleware``). A refused
    page gets close code 4403: browsers hide the status of a failed handshake from scripts.
    """

    def __init__(self, application: Any) -> None:
        super().__init__(application, [])

    async def __call__(
        self, scope: Mapping[str, Any], receive: Callable[[], Awaitable[Any]], send: Callable[[Any], Awaitable[None]]
    ) -> Any:
        origin = header(scope, b"origin")
        if origin is None or is_allowed(origin, header(scope, b"host") or ""):
            return await self.application(scope, receive, send)
        return await OriginRefusal.as_asgi()(scope, receive, send)


class OriginRefusal(AsyncWebsocketConsumer):
    """Accepts the handshake, since a close code cannot be sent before that, and closes the socket."""

    async def connect(self) -> None:
        await self.accept()
        await self.close(code=FOREIGN_ORIGIN)


def header(scope: Mapping[str, Any], name: bytes) -> str | None:
    """Return the first header of that name (in lower case), or None."""
    return next((value.decode("latin1") for key, value in scope["headers"] if key == name), None)


def is_allowed(origin: str, host: str) -> bool:
    """Return whether a page of ``origin`` may connect to ``host``, both spelled as in the browser's headers.

    A browser sends the cookie whichever page opens the socket, so this check does the work of a CSRF token.
    Allowed are pages with the scheme-default or explicit port and the name of ``host``, if the name is in
    ALLOWED_HOSTS, and pages of ``ORCHESTRA_TRUSTED_ORIGINS``.
    """
    trusted = [known.replace("*", "", 1) for known in settings.CSRF_TRUSTED_ORIGINS]  # Channels spells *.a as .a
    try:
        page = urlsplit(origin)
        own = urlsplit(f"{page.scheme}://{host}")
        if page.scheme not in SCHEMES or not page.hostname:
            return False
        if page.hostname == own.hostname and validate_host(_bracketed(page.hostname), settings.ALLOWED_HOSTS):
            trusted.append(f"{page.scheme}://{host}")
        return bool(OriginValidator(None, trusted).valid_origin(page))
    except ValueError:  # a port that is no number, an IPv6 address without its bracket
        return False


def _bracketed(name: str) -> str:
    return f"[{name}]" if ":" in name else name
