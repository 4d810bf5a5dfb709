"""Authentication and permission classes of REST, in a module without views: the settings name them
as defaults.
"""

from typing import Any

from knox.auth import TokenAuthentication
from rest_framework.exceptions import AuthenticationFailed
from rest_framework.permissions import BasePermission
from rest_framework.request import Request

from orchestra.auth.permissions import rights_of


class KnownToken(TokenAuthentication):
    """knox's tokens.

    A token that is not ASCII text is invalid; knox alone would raise an error on it.
    """

    def authenticate_credentials(self, token: bytes) -> Any:
        if not token.isascii() or b"\0" in token:
            raise AuthenticationFailed("Invalid token.")
        return super().authenticate_credentials(token)


class HasRight(BasePermission):
    """Allow callers with one of the rights that the view's ``rights`` names for the action; an
    action without a row is refused.
    """

    message = "You have no right to do this."

    def has_permission(self, request: Request, view: Any) -> bool:
        table = getattr(view, "rights", {})
        return bool(table.get(getattr(view, "action", None), frozenset()) & rights_of(request.user))
