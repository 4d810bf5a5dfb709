"""The one host of this machine on which the console's cookies live.

Browsers send a cookie to every port of the host that set it. On ``127.0.0.1`` or ``localhost`` that would hand a
person's session to whatever else serves pages on this machine, an agent's preview server above all. So the console has
a host of its own, a name below ``.localhost``, which browsers resolve to this machine by themselves. The name is
private: it is derived from the secret key, and only who reads the terminal or has given a password is told, since a
page that knew it could send a browser to another port of it. ``front_host`` is the name that anybody may know: it asks
for the password, and holds no session.

On every other host the cookies of a request are not looked at and none are set. Programs go on as before there.
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
    """Middleware, before the sessions."""

    async def answer_async(request: HttpRequest) -> HttpResponseBase:
        cookies = _cookies_to_drop(request)
        response = _to_the_front(request) or await get_response(request)
        return _without(cookies, response)

    def answer(request: HttpRequest) -> HttpResponseBase:
        cookies = _cookies_to_drop(request)
        response = _to_the_front(request) or get_response(request)
        return _without(cookies, response)

    return answer_async if iscoroutinefunction(get_response) else answer


def keeps_sessions(host: str) -> bool:
    """Whether a browser may be signed in on that host, given as the header ``Host`` spells it."""
    console = settings.ORCHESTRA.console_host
    return not console or _name(host) == console


def address(request: HttpRequest, host: str, path: str) -> str:
    """That path on another name of this server, at the port by which the browser came: it may be a tunnel's."""
    port = split_domain_port(request.get_host())[1]
    return f"{request.scheme}://{host}{f':{port}' if port else ''}{path}"


def has_ipv6_loopback() -> bool:
    """Whether this machine has the address ``::1``."""
    with contextlib.suppress(OSError), socket.socket(socket.AF_INET6) as probe:
        probe.bind(("::1", 0))
        return True
    return False


def facts() -> list[Fact]:
    """For the page of diagnostics."""
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
    """Which cookies are nobody's on this host; they are taken out of the request."""
    host = request.get_host()
    if keeps_sessions(host):
        return ()
    names: tuple[str, ...] = (settings.SESSION_COOKIE_NAME, MESSAGES_COOKIE, next_page.COOKIE)
    if _name(host) != settings.ORCHESTRA.front_host:  # whose form for the password needs it
        names = (*names, settings.CSRF_COOKIE_NAME)
    for name in names:
        request.COOKIES.pop(name, None)
    return names


def _without(cookies: tuple[str, ...], response: HttpResponseBase) -> HttpResponseBase:
    for name in cookies:
        response.cookies.pop(name, None)
    return response


def _to_the_front(request: HttpRequest) -> HttpResponse | None:
    """People who come to another name of this machine are sent on; programs are served."""
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
