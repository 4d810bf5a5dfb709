"""One-time sign-in links.

A shell command makes one; it signs one person in, once, within ten minutes.
"""

import hashlib
import secrets
from datetime import timedelta
from urllib.parse import urlencode

from django.conf import settings
from django.contrib.auth import login
from django.contrib.auth.models import User
from django.db.models.functions import Now
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect, render
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_http_methods

from orchestra.auth import next_page
from orchestra.middleware import console_host
from orchestra.models import SignInLink

LIFETIME = timedelta(minutes=10)
FIRST_ACCOUNT = "admin"


def make_link(user: User, *, wanted: str = "") -> str:
    """Return a new link for ``user`` that leads to the page ``wanted``, a path.

    Only the returned URL holds the token; the table keeps its hash.
    """
    token = secrets.token_urlsafe(32)
    SignInLink.objects.filter(expires_at__lte=Now()).delete()
    SignInLink.objects.create(token_sha256=_digest(token), user=user, expires_at=Now() + LIFETIME)
    query = f"?{urlencode({'next': wanted})}" if wanted else ""
    return f"{base_url()}/sign-in/{token}{query}"


def owner() -> User:
    """Return the account of the person at this machine: the oldest active superuser, created if
    there is none.
    """
    found = User.objects.filter(is_superuser=True, is_active=True).order_by("pk").first()
    if found is None:
        found, _ = User.objects.get_or_create(username=FIRST_ACCOUNT)
        found.is_superuser = found.is_staff = found.is_active = True
        found.set_unusable_password()
        found.save()
    return found


def base_url() -> str:
    """Return the address of the web process: the public one if it is set, else the one for browsers
    of this machine.
    """
    orchestra = settings.ORCHESTRA
    if orchestra.public_url:
        return str(orchestra.public_url).rstrip("/")
    if orchestra.console_host:
        return f"http://{orchestra.console_host}:{orchestra.port}"
    return local_url(orchestra.host, orchestra.port)


def local_url(host: str, port: int) -> str:
    """Return the address at which a browser of this machine reaches a server that listens on
    ``host``.
    """
    everywhere = {"0.0.0.0": "127.0.0.1", "::": "::1", "": "127.0.0.1"}  # noqa: S104 - compared, not bound
    name = everywhere.get(host, host)
    return f"http://[{name}]:{port}" if ":" in name else f"http://{name}:{port}"


@never_cache
@require_http_methods(["GET", "HEAD", "POST"])
def sign_in(request: HttpRequest, token: str) -> HttpResponse:
    """Show a button on GET, because link previews send GET; use the link up and sign in on POST.

    Used, expired and unknown links get the same page. Only the holder of a working link is
    redirected to the console's host, whose name is private.
    """
    alive = SignInLink.objects.filter(token_sha256=_digest(token), used_at__isnull=True, expires_at__gt=Now())
    if not console_host.keeps_sessions(request.get_host()):
        if alive.exists():
            return redirect(console_host.address(request, settings.ORCHESTRA.console_host, request.get_full_path()))
        return _gone(request)
    if request.method == "POST" and alive.update(used_at=Now()):
        user = SignInLink.objects.select_related("user").get(token_sha256=_digest(token)).user
        if user.is_active:
            login(request, user)
            response = redirect(next_page.wanted_by(request) or "/")
            next_page.remember(response, "")
            return response
    elif request.method != "POST" and (link := alive.select_related("user").first()) and link.user.is_active:
        context = {"user": link.user, "wanted": next_page.wanted_by(request)}
        return _page(request, "sign_in/ask.html", context, 200)
    return _gone(request)


def _gone(request: HttpRequest) -> HttpResponse:
    return _page(request, "sign_in/gone.html", {"wanted": next_page.wanted_by(request)}, 410)


def _page(request: HttpRequest, template: str, context: dict[str, object], status: int) -> HttpResponse:
    response = render(request, template, context, status=status)
    # The address is the secret. With "no-referrer" browsers would post "Origin: null", which the
    # CSRF check refuses.
    response["Referrer-Policy"] = "same-origin"
    return response


def _digest(token: str) -> str:
    return hashlib.sha256(token.encode()).hexdigest()
