"""Who is calling the REST door, and whether they may. Apart from the views, which name these as defaults."""

from typing import Any

from knox.auth import TokenAuthentication
from rest_framework.exceptions import AuthenticationFailed
from rest_framework.permissions import BasePermission
from rest_framework.request import Request

from orchestra.auth.permissions import rights_of


class KnownToken(TokenAuthentication):
    """knox's tokens; one that is not even text is wrong like any other."""

    def authenticate_credentials(self, token: bytes) -> Any:
        if not token.isascii() or b"\0" in token:
            raise AuthenticationFailed("Invalid token.")
        return super().authenticate_credentials(token)


class HasRight(BasePermission):
    """The caller holds one of the rights that the view's table names for this action; no row, no way in."""

    message = "You have no right to do this."

    def has_permission(self, request: Request, view: Any) -> bool:
        table = getattr(view, "rights", {})
        return bool(table.get(getattr(view, "action", None), frozenset()) & rights_of(request.user))
