"""What a socket was signed in with, a browser's session or a token, and the account behind it."""

from collections.abc import Collection
from dataclasses import dataclass, field
from importlib import import_module
from typing import Any, Literal

from channels.auth import AuthMiddleware
from django.conf import settings
from django.contrib.auth import get_user
from django.contrib.auth.models import AnonymousUser
from django.http import HttpRequest
from django.utils import timezone
from knox.models import AuthToken
from rest_framework.exceptions import AuthenticationFailed

from orchestra.auth.api_authentication import KnownToken
from orchestra.auth.permissions import rights_of
from orchestra.db.async_notify import in_thread
from orchestra.middleware import console_host
from orchestra.realtime.origin import header


@dataclass(frozen=True, slots=True)
class Credential:
    """A session's key, or the digest of a token (never the token)."""

    kind: Literal["session", "token"]
    key: str = field(repr=False)


class HubAuthMiddleware(AuthMiddleware):
    """Channels' ``AuthMiddleware``, with ``scope["user"]`` read as HTTP requests read it.

    It opens the session itself: Channels' ``SessionMiddleware`` would look at the session with each message
    that is sent, which doubles the cost of one. Django's own ``get_user`` accepts SECRET_KEY_FALLBACKS,
    where Channels' would delete the session. The cookie counts only for a page (``HubOriginValidator`` has
    checked its origin) that connects to the host on which the console keeps its sessions.
    """

    def populate_scope(self, scope: dict[str, Any]) -> None:
        scope["session"] = _open_session(scope["cookies"].get(settings.SESSION_COOKIE_NAME))
        super().populate_scope(scope)

    async def resolve_scope(self, scope: dict[str, Any]) -> None:
        user = None
        is_page = header(scope, b"origin") is not None
        key = scope["session"].session_key
        if key and is_page and console_host.keeps_sessions(header(scope, b"host") or ""):
            user = await in_thread(find_account, Credential("session", key))
        scope["user"]._wrapped = user or AnonymousUser()


def credential_of_token(token: str) -> Credential | None:
    """Return the credential of a token; None if it is wrong or has expired, or its account is closed."""
    try:
        _, known = KnownToken().authenticate_credentials(token.encode("utf-8", "replace"))
    except AuthenticationFailed:
        return None
    return Credential("token", known.digest)


def find_account(credential: Credential) -> Any | None:
    """Return the account behind ``credential`` with its current rights.

    None if the credential no longer counts: signed out, expired, account closed, password changed.
    """
    user = _user_of_session(credential.key) if credential.kind == "session" else _user_of_token(credential.key)
    if user is None or not user.is_active:
        return None
    rights_of(user)  # cached on the account here, on a thread: the event loop may not query the database
    return user


def find_accounts(credentials: Collection[Credential]) -> dict[Credential, Any | None]:
    """Return the result of ``find_account`` for each."""
    return {credential: find_account(credential) for credential in credentials}


def _open_session(key: str | None) -> Any:
    return import_module(settings.SESSION_ENGINE).SessionStore(key)


def _user_of_session(key: str) -> Any | None:
    request = HttpRequest()
    request.session = _open_session(key)
    user = get_user(request)  # compares the hash that a new password changes
    return user if user.is_authenticated else None


def _user_of_token(digest: str) -> Any | None:
    known = AuthToken.objects.select_related("user").filter(digest=digest).first()
    if known is None or (known.expiry and known.expiry <= timezone.now()):
        return None
    return known.user
