"""System checks: what stops a start in production and what only warns, each with its cause and its
cure.
"""

import re
from typing import Any

from django.conf import settings
from django.core.checks import CheckMessage, Error, Warning
from django.core.exceptions import ImproperlyConfigured

SHORTEST_KEY = 50
MAKE_ONE = "python3 -c 'import secrets; print(secrets.token_urlsafe(50))'"
PLACEHOLDER = re.compile(r"change.?me|secret.?key|example|insecure", re.IGNORECASE)


def check_production(**_kwargs: Any) -> list[CheckMessage]:
    """Report debug mode, default keys, wildcard hosts, plain HTTP and SQLite in production."""
    if settings.ORCHESTRA.environment != "production":
        return []
    return [*_key(), *_hosts(), *_transport(), *_servers()]


def check_console_host(**_kwargs: Any) -> list[CheckMessage]:
    """Warn if other ports of this machine get the console's cookies, for example preview servers of
    agents.
    """
    if not settings.ORCHESTRA.embedded or not settings.ORCHESTRA.shares_loopback:
        return []
    why = "The console has no host of its own: browsers send its cookies to every other port of this machine."
    hint = (
        "Unset ORCHESTRA_CONSOLE_HOST; behind a proxy, set ORCHESTRA_PUBLIC_URL. If your browser does not find names "
        "that end in .localhost, open no page on another port of this machine while you are signed in."
    )
    return [Warning(why, hint=hint, id="orchestra.W004")]


def _key() -> list[CheckMessage]:
    try:
        key = settings.SECRET_KEY
    except ImproperlyConfigured:
        key = ""
    if len(key) >= SHORTEST_KEY and not PLACEHOLDER.search(key) and len(set(key)) > 10:
        return []
    why = f"ORCHESTRA_SECRET_KEY is missing, shorter than {SHORTEST_KEY} characters, or a placeholder."
    return [Error(why, hint=f"Sessions and links are signed with it. Make one with: {MAKE_ONE}", id="orchestra.E001")]


def _hosts() -> list[CheckMessage]:
    found: list[CheckMessage] = []
    if settings.DEBUG:
        found.append(Error("DEBUG shows settings and code to every visitor.", id="orchestra.E002"))
    if not settings.ALLOWED_HOSTS or any("*" in host for host in settings.ALLOWED_HOSTS):
        hint = "Name the hosts that people and programs use, e.g. ORCHESTRA_ALLOWED_HOSTS=orchestra.example.com"
        found.append(Error("ORCHESTRA_ALLOWED_HOSTS is empty or a wildcard.", hint=hint, id="orchestra.E003"))
    return found


def _transport() -> list[CheckMessage]:
    if settings.ORCHESTRA.public_url.startswith("https://"):
        return []
    hint = (
        "Put TLS in front (deploy/nginx) and set ORCHESTRA_PUBLIC_URL=https://…; cookies are then sent over TLS only."
    )
    return [Warning("Passwords, tokens and cookies cross the network in the clear.", hint=hint, id="orchestra.W002")]


def _servers() -> list[CheckMessage]:
    found: list[CheckMessage] = []
    if settings.DATABASES["default"]["ENGINE"].endswith("sqlite3"):
        hint = "DATABASE_URL=postgres://… SQLite serves one machine, and one writer at a time."
        found.append(Warning("Production on SQLite.", hint=hint, id="orchestra.W003"))
    return found
