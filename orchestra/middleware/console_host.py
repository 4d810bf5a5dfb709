"""The one host name of this machine that carries the console's cookies.

Browsers send a cookie to every port of the host that set it. On ``127.0.0.1`` or ``localhost``
every other server on this machine, such as the preview server of an agent, would get a person's
session. Therefore the console has a host name of its own below ``.localhost``, which browsers
resolve to this machine without DNS. The name is private: it is derived from the secret key, and
only the terminal and a person who has given a password see it, since a page that knew it could send
a browser to another port of it. ``front_host`` is the public name: it has the form for the
password, and no session.

On every other host the middleware removes the cookies of requests and responses. The API works
there unchanged.
"""

import contextlib
import socket
from inspect import iscoroutinefunction
from typing import Any
from urllib.parse import urlencode

from django.conf import settings
from django.http import HttpRequest, HttpResponse
from django.http.request import split_domain_port
from django.http.response import HttpResponseBase, HttpResponseRedirect
from django.urls import reverse
from django.utils.decorators import sync_and_async_middleware

from orchestra.auth import next_page
from orchestra.diagnostics.security_settings import Fact

FOR_PROGRAMS = ("/api", "/health", "/swagger", "/ws/", "/favicon.ico", settings.STATIC_URL)
MESSAGES_COOKIE = "messages"


@sync_and_async_middleware
def one_host(get_response: Any) -> Any:
    """Middleware; it must stand before the session middleware."""

    async def answer_async(request: HttpRequest) -> HttpResponseBase:
        cookies = _cookies_to_drop(request)
        response = _redirect_to_front(request) or await get_response(request)
        return _remove_cookies(cookies, response)

    def answer(request: HttpRequest) -> HttpResponseBase:
        cookies = _cookies_to_drop(request)
        response = _redirect_to_front(request) or get_response(request)
        return _remove_cookies(cookies, response)

    return answer_async if iscoroutinefunction(get_response) else answer


def keeps_sessions(host: str) -> bool:
    """Whether a browser may be signed in on ``host``, the value of a ``Host`` header."""
    console = settings.ORCHESTRA.console_host
    return not console or _name(host) == console


def address(request: HttpRequest, host: str, path: str) -> str:
    """Return the URL of ``path`` on another name of this server, at the port of the request (a
    tunnel may have another).
    """
    port = split_domain_port(request.get_host())[1]
    return f"{request.scheme}://{host}{f':{port}' if port else ''}{path}"


def has_ipv6_loopback() -> bool:
    """Whether this machine has the address ``::1``."""
    with contextlib.suppress(OSError), socket.socket(socket.AF_INET6) as probe:
        probe.bind(("::1", 0))
        return True
    return False


def facts() -> list[Fact]:
    """Return the line about the host for the page of diagnostics."""
    orchestra = settings.ORCHESTRA
    if not orchestra.console_host:
        return [
            Fact(
                "The console shares its cookies with every port of its host", "lock", fine=not orchestra.shares_loopback
            )
        ]
    if orchestra.console_host == orchestra.front_host:
        return [Fact("The console's host has a name that every page may know", "lock", fine=False)]
    return [Fact("The console has a private host of its own", "lock")]


def _cookies_to_drop(request: HttpRequest) -> tuple[str, ...]:
    """Remove the cookies from the request that this host must not have, and return their names."""
    host = request.get_host()
    if keeps_sessions(host):
        return ()
    names: tuple[str, ...] = (settings.SESSION_COOKIE_NAME, MESSAGES_COOKIE, next_page.COOKIE)
    if _name(host) != settings.ORCHESTRA.front_host:  # the front host needs it for the form
        names = (*names, settings.CSRF_COOKIE_NAME)
    for name in names:
        request.COOKIES.pop(name, None)
    return names


def _remove_cookies(cookies: tuple[str, ...], response: HttpResponseBase) -> HttpResponseBase:
    for name in cookies:
        response.cookies.pop(name, None)
    return response


def _redirect_to_front(request: HttpRequest) -> HttpResponse | None:
    """Return a redirect to the front host for requests of people; None for programs, which every
    host serves.
    """
    front = settings.ORCHESTRA.front_host
    host = request.get_host()
    if keeps_sessions(host) or _name(host) == front or _is_for_programs(request.path):
        return None
    if request.method in ("GET", "HEAD"):
        return HttpResponseRedirect(address(request, front, request.get_full_path()))
    wanted = next_page.safe(request.GET.get("next", "")) or next_page.page_of(request)
    query = f"?{urlencode({'next': wanted}, safe='/')}" if wanted else ""
    answer = HttpResponseRedirect(address(request, front, reverse("sign-in-form") + query))
    answer.status_code = 303
    return answer


def _is_for_programs(path: str) -> bool:
    return path.startswith(FOR_PROGRAMS) or (
        settings.METRICS.enabled and path.rstrip("/") == settings.METRICS.path.rstrip("/")
    )


def _name(host: str) -> str:
    return split_domain_port(host)[0].strip("[]")
