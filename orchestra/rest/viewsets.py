"""What all REST views share: the mapping of errors to HTTP statuses, permission checks, routes."""

import logging
import math
import sys
from collections.abc import Mapping
from copy import copy
from typing import Any, ClassVar
from urllib.parse import quote
from uuid import UUID

import structlog
from django.conf import settings
from django.contrib.auth import get_user
from django.core.exceptions import PermissionDenied, RequestDataTooBig
from django.db import DatabaseError, InterfaceError, OperationalError
from django.http import Http404, HttpRequest, HttpResponse, HttpResponseRedirect, JsonResponse
from django.urls import is_valid_path
from django.views.defaults import page_not_found, server_error
from rest_framework import exceptions
from rest_framework.negotiation import DefaultContentNegotiation
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.routers import SimpleRouter
from rest_framework.views import set_rollback
from rest_framework.viewsets import GenericViewSet

from orchestra.auth.api_authentication import HasRight
from orchestra.auth.csrf import why_refused
from orchestra.auth.permissions import Right
from orchestra.errors import (
    HOW_TO_SIGN_IN,
    RETRY_LATER,
    UNAUTHENTICATED,
    Conflict,
    Forbidden,
    Invalid,
    NotFound,
    OrchestraError,
    Unavailable,
)
from orchestra.logs.config import IDS
from orchestra.rest.idempotency import IdempotencyMismatch
from orchestra.rest.unknown_fields import unknown_fields

logger = logging.getLogger(__name__)

STATUS_OF: tuple[tuple[type[OrchestraError], int], ...] = (
    (NotFound, 404),
    (Conflict, 409),
    (Invalid, 400),
    (Forbidden, 403),
    (IdempotencyMismatch, 422),
    (Unavailable, 503),
)
CSRF_FAILED = "CSRF Failed: "  # DRF's prefix of the reason that Django's check gives
ENTITY_GONE = "Attempted to update or delete an entity that does not exist"
DATABASE_OUT = "The database does not answer just now; nothing was changed."


def answer_for_error(error: Exception, context: Mapping[str, Any]) -> Response | None:
    """Turn an exception into an HTTP response.

    DRF turns None, which means a bug of ours, into a 500.
    """
    set_rollback()
    if isinstance(error, OrchestraError):
        status = next((status for kind, status in STATUS_OF if isinstance(error, kind)), None)
        headers = RETRY_LATER if status == 503 else {}
        return _answer(status, error.code, error.detail, error.facts, headers) if status else None
    if isinstance(error, OperationalError | InterfaceError):
        logger.error("database unavailable: %s", type(error).__name__)
        return _answer(503, Unavailable.code, DATABASE_OUT, headers=RETRY_LATER)
    if isinstance(error, DatabaseError) and "did not affect any rows" in str(error):  # Django, save(force_update=True)
        return _answer(409, Conflict.code, ENTITY_GONE)
    if isinstance(error, RequestDataTooBig):
        limit = settings.DATA_UPLOAD_MAX_MEMORY_SIZE // (1024 * 1024)
        return _answer(413, "too_large", f"A body may have at most {limit} MiB.")
    if isinstance(error, Http404):
        return _answer(404, "not_found", "There is nothing here.")
    if isinstance(error, PermissionDenied):
        return _answer(403, "forbidden", "You have no right to do this.")
    if isinstance(error, exceptions.ValidationError):
        fields = _fields(error.detail)
        return _answer(400, "invalid", f"The request is not valid: {_first(fields)}", {"fields": fields})
    if isinstance(error, exceptions.APIException):
        return _answer(error.status_code, _code(error), _detail(error, context), headers=_headers(error))
    return None


def not_found(request: HttpRequest, exception: Exception) -> HttpResponse:
    """Django's handler404: JSON below /api, the ordinary page elsewhere.

    A GET with a surplus or missing slash at the end of its path is redirected to the page, if there
    is one.
    """
    if (other := _other_form(request)) is not None:
        return HttpResponseRedirect(other)
    if request.path.startswith("/api/"):
        return JsonResponse({"code": "not_found", "detail": "There is nothing here."}, status=404)
    return page_not_found(request, exception)


def _other_form(request: HttpRequest) -> str | None:
    """Return the path with or without a slash at its end, whichever resolves to a view; None if
    neither does.

    Paths below ``/admin/`` are left out: the admin resolves all of them, to a 404 of its own.
    """
    path = request.path_info
    bare = path.rstrip("/")
    if request.method not in ("GET", "HEAD") or path.startswith(("/api/", "/admin/")) or not bare:
        return None
    other = bare if path != bare else f"{path}/"
    if other.startswith("//") or not is_valid_path(other):
        return None
    return f"{quote(other)}?{request.META['QUERY_STRING']}" if request.META.get("QUERY_STRING") else quote(other)


def failed(request: HttpRequest) -> HttpResponse:
    """Django's handler500: JSON below /api. The response gives no cause, except that the database
    is unavailable (503).
    """
    if isinstance(sys.exc_info()[1], OperationalError | InterfaceError):
        return _database_out(request)
    if request.path.startswith("/api/"):
        return JsonResponse({"code": "error", "detail": "Something went wrong on our side; it was logged."}, status=500)
    return server_error(request)


def _database_out(request: HttpRequest) -> HttpResponse:
    """Used for pages as well, whose session cannot be read without the database."""
    if request.path.startswith("/api/"):
        refusal = {"code": Unavailable.code, "detail": DATABASE_OUT}
        return JsonResponse(refusal, status=503, headers=RETRY_LATER)
    return HttpResponse(f"{DATABASE_OUT}\n", status=503, headers=RETRY_LATER, content_type="text/plain")


class OnlyJSON(DefaultContentNegotiation):
    """Ignore ``Accept``: errors are always JSON, and a browser's EventSource accepts event streams
    only.
    """

    def select_renderer(self, request: Request, renderers: Any, format_suffix: str | None = None) -> Any:
        return renderers[0], renderers[0].media_type


class OrchestraViewSet(GenericViewSet[Any]):
    """Base of all REST views.

    ``rights`` maps each action to the permissions of which one is enough.
    """

    rights: ClassVar[Mapping[str, frozenset[Right]]]
    permission_classes = [HasRight]
    content_negotiation_class = OnlyJSON

    def initial(self, request: Request, *args: Any, **kwargs: Any) -> None:
        """Set Content-Length from the body that arrived.

        Without the header (chunked) DRF takes the body for empty, and an empty body approves.
        """
        django_request = request._request
        body = django_request.body  # raises RequestDataTooBig if Content-Length exceeds the limit
        if len(body) > settings.DATA_UPLOAD_MAX_MEMORY_SIZE:
            raise RequestDataTooBig
        django_request.META["CONTENT_LENGTH"] = str(len(body))
        if self.basename in IDS and (pk := _uuid(self.kwargs.get("pk", ""))):
            structlog.contextvars.bind_contextvars(**{self.basename: str(pk)})  # to the end of the request
        super().initial(request, *args, **kwargs)

    def permission_denied(self, request: Request, message: str | None = None, code: str | None = None) -> Any:
        """Answer 405, not 403, to an authenticated request with a method that the view does not
        have.
        """
        if self.action in (None, "metadata") and request.user and request.user.is_authenticated:
            raise exceptions.MethodNotAllowed(str(request.method))
        super().permission_denied(request, message, code)

    def body(self, serializer: type[Any]) -> dict[str, Any]:
        """Validate the request's body with ``serializer``, and refuse unknown fields."""
        return checked(serializer, self.request.data)

    @property
    def username(self) -> str:
        """The name of the authenticated user, as database rows store it."""
        return self.request.user.get_username()

    @property
    def address(self) -> str:
        """The IP address of the client, for the audit."""
        return str(self.request.META.get("REMOTE_ADDR", ""))


def checked(serializer: type[Any], data: object) -> dict[str, Any]:
    """Return ``data`` as validated by ``serializer``.

    Raises:
        ValidationError: a field is invalid, or unknown to the serializer.
    """
    bound = serializer(data=data)
    if unknown := unknown_fields(bound, data):
        raise exceptions.ValidationError(unknown)
    bound.is_valid(raise_exception=True)
    values: dict[str, Any] = bound.validated_data
    return values


def _uuid(text: str) -> UUID | None:
    try:
        return UUID(text)
    except ValueError:
        return None


def id_or_not_found(text: str, error: type[NotFound], detail: str) -> UUID:
    """Return the id in a path, and raise ``error`` for a text that is no UUID, as for an unknown
    id.
    """
    found = _uuid(text)
    if found is None:
        raise error(detail)
    return found


def query_number(request: Request, name: str, *, default: int, least: int, most: int) -> int:
    """Return a whole number from the query string.

    Raises:
        ValidationError: the text is no whole number, or the number is out of range.
    """
    text = request.query_params.get(name, "")
    if not text:
        return default
    if not (text.isascii() and text.isdigit() and len(text) < 20 and least <= int(text) <= most):
        raise exceptions.ValidationError({name: [f"A whole number from {least} to {most}."]})
    return int(text)


def afresh(request: HttpRequest) -> HttpRequest:
    """Return the request with its user read anew: anonymous if the user signed out or was disabled
    since.
    """
    again = copy(request)
    again.session = type(request.session)(request.session.session_key)
    again.user = get_user(again)
    return again


def any_of(*rights: Right) -> frozenset[Right]:
    """Return the permissions of which one is enough."""
    return frozenset(rights)


class Routes(SimpleRouter):
    """``/api/x`` and ``/api/x/`` lead to the same view: a redirect would drop the body of a POST."""

    def __init__(self) -> None:
        super().__init__()
        self.trailing_slash = "/?"


def _answer(
    status: int,
    code: str,
    detail: str,
    facts: Mapping[str, object] | None = None,
    headers: Mapping[str, str] | None = None,
) -> Response:
    """Build an error response. ``facts`` cannot replace ``code`` and ``detail``."""
    error = {"code": code, "detail": detail}
    return Response({**error, **(facts or {}), **error}, status=status, headers=dict(headers or {}))


def _code(error: exceptions.APIException) -> str:
    if isinstance(error, exceptions.PermissionDenied):
        return "forbidden"
    return "not_authenticated" if isinstance(error, exceptions.AuthenticationFailed) else str(error.default_code)


def _detail(error: exceptions.APIException, context: Mapping[str, Any]) -> str:
    """Return the cause and the cure, where the library names the cause only."""
    detail = str(error.detail)
    if isinstance(error, exceptions.NotAuthenticated):
        return UNAUTHENTICATED
    if isinstance(error, exceptions.AuthenticationFailed):
        return f"Unauthenticated. {detail} {HOW_TO_SIGN_IN}"
    if detail.startswith(CSRF_FAILED):  # of the browser's session
        return why_refused(context["request"]._request, detail.removeprefix(CSRF_FAILED))
    return detail


def _headers(error: exceptions.APIException) -> dict[str, str]:
    headers = {}
    if scheme := getattr(error, "auth_header", None):  # DRF sets it for unauthenticated requests
        headers["WWW-Authenticate"] = str(scheme)
    if wait := getattr(error, "wait", None):  # of a throttle
        headers["Retry-After"] = str(math.ceil(wait))
    return headers


def _fields(detail: Any) -> dict[str, Any]:
    return dict(detail) if isinstance(detail, dict) else {"non_field_errors": detail}


def _first(fields: Mapping[str, Any]) -> str:
    name, complaint = next(iter(fields.items()))
    while isinstance(complaint, list | dict):
        complaint = next(iter(complaint.values() if isinstance(complaint, dict) else complaint), "")
    return str(complaint) if name == "non_field_errors" else f"{name}: {complaint}"
