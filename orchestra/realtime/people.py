"""Who is at a socket: by the browser's session or by a token, and whether that still holds."""

from collections.abc import Collection
from dataclasses import dataclass, field
from importlib import import_module
from typing import Any, Literal

from django.conf import settings
from django.contrib.auth import get_user
from django.http import HttpRequest
from django.utils import timezone
from knox.models import AuthToken
from rest_framework.exceptions import AuthenticationFailed

from orchestra.auth.api_authentication import KnownToken
from orchestra.auth.permissions import rights_of


@dataclass(frozen=True, slots=True)
class Credential:
    """What somebody signed in with: a session's key, or a token's digest (never the token)."""

    kind: Literal["session", "token"]
    key: str = field(repr=False)


def by_token(token: str) -> Credential | None:
    """What a token stands for; None if it is wrong, has ended, or its account is closed."""
    try:
        _, known = KnownToken().authenticate_credentials(token.encode("utf-8", "replace"))
    except AuthenticationFailed:
        return None
    return Credential("token", known.digest)


def person(credential: Credential) -> Any | None:
    """The account behind ``credential`` with its rights, as of now; None: signed out, expired, closed, new password."""
    user = _of_session(credential.key) if credential.kind == "session" else _of_token(credential.key)
    if user is None or not user.is_active:
        return None
    rights_of(user)  # read here, on a thread; the event loop may not ask the database
    return user


def people(credentials: Collection[Credential]) -> dict[Credential, Any | None]:
    """``person`` for each."""
    return {credential: person(credential) for credential in credentials}


def _of_session(key: str) -> Any | None:
    request = HttpRequest()
    request.session = import_module(settings.SESSION_ENGINE).SessionStore(key)
    user = get_user(request)  # compares the hash that a new password changes
    return user if user.is_authenticated else None


def _of_token(digest: str) -> Any | None:
    known = AuthToken.objects.select_related("user").filter(digest=digest).first()
    if known is None or (known.expiry and known.expiry <= timezone.now()):
        return None
    return known.user
