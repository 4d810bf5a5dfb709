"""The page that a person asked for before the sign-in.

It is kept through every step, and is never on another site.
"""

import re
from datetime import timedelta
from urllib.parse import quote, unquote, urlsplit

from django.conf import settings
from django.contrib.auth.views import redirect_to_login
from django.http import HttpRequest, HttpResponse
from django.http.response import HttpResponseBase
from django.shortcuts import redirect
from django.utils.http import url_has_allowed_host_and_scheme

COOKIE = "going_to"
COOKIE_LASTS = timedelta(minutes=10)
LONGEST = 1000  # characters
NOT_PAGES = ("/sign-in", "/sign-out", "/admin/login", "/admin/logout")
FIT_FOR_A_SHELL = re.compile(r"/[A-Za-z0-9/_.-]*")


def safe(wanted: str) -> str:
    """Return ``wanted`` if it is the path of a page on this very host, or an empty text.

    A path only: an address with a host would be compared with the header ``Host``, which a client
    writes.
    """
    is_path = wanted.startswith("/") and len(wanted) <= LONGEST and wanted.isprintable()
    if not is_path or not url_has_allowed_host_and_scheme(wanted, allowed_hosts=None):
        return ""
    return "" if urlsplit(wanted).path.startswith(NOT_PAGES) else wanted


def wanted_by(request: HttpRequest) -> str:
    """Return what the form or the address names as ``next``, else the page for which this browser
    last had to sign in.
    """
    named = request.POST.get("next") or request.GET.get("next")
    return safe(named if named is not None else unquote(request.COOKIES.get(COOKIE, "")))


def page_of(request: HttpRequest) -> str:
    """Return the page that a person looks at: the requested one, or the one whose form was sent."""
    if request.method in ("GET", "HEAD"):
        return safe(request.get_full_path())
    came_from = urlsplit(request.headers.get("Referer", ""))
    if came_from.netloc != request.get_host():
        return ""
    return safe(came_from.path + (f"?{came_from.query}" if came_from.query else ""))


def to_sign_in(wanted: str) -> HttpResponse:
    """Redirect to the sign-in, which leads on to ``wanted``."""
    return redirect_to_login(wanted, settings.LOGIN_URL) if wanted else redirect(settings.LOGIN_URL)


def remember(response: HttpResponseBase, wanted: str) -> None:
    """Keep ``wanted`` in a cookie, for a one-time link that opens in this browser; an empty
    ``wanted`` deletes it.

    The browser sends the cookie to the sign-in pages alone.
    """
    if not wanted:
        response.delete_cookie(COOKIE, path=settings.LOGIN_URL, samesite="Lax")
        return
    response.set_cookie(
        COOKIE, quote(wanted), max_age=COOKIE_LASTS, path=settings.LOGIN_URL, httponly=True, samesite="Lax",
        secure=settings.SESSION_COOKIE_SECURE,
    )  # fmt: skip


def for_a_shell(wanted: str) -> str:
    """Return ``wanted`` if it is safe in a shell command that a page offers to copy, or an empty
    text.
    """
    return wanted if wanted != "/" and FIT_FOR_A_SHELL.fullmatch(wanted) else ""
