"""``Idempotency-Key``: a repeated POST gets the response of the first, and its action runs once."""

import hashlib
from collections.abc import Callable
from datetime import timedelta
from functools import wraps
from typing import Any
from uuid import UUID

from django.db import IntegrityError, transaction
from django.db.models.functions import Now
from rest_framework.request import Request
from rest_framework.response import Response

from orchestra.errors import Conflict, Invalid, OrchestraError
from orchestra.models import IdempotentRequest
from orchestra.rest.exact_json import RawJSON, dumps

HEADER = "Idempotency-Key"
LONGEST_KEY, LONGEST_PATH = 200, 300  # characters
KEPT = timedelta(hours=24)
ABANDONED_AFTER = timedelta(minutes=2)  # without a response: its process has died, and the key may be used again

Action = Callable[..., Response]


class IdempotencyMismatch(OrchestraError):
    """The key was used before with another body (HTTP 422)."""

    code = "idempotency_mismatch"


class RequestInProgress(Conflict):
    """The first request with this key still runs."""

    code = "request_in_progress"


def idempotent(action: Action) -> Action:
    """Return a view action that is safe to repeat with the same key; without the header it runs as
    before.

    What the action writes commits together with its response: after a crash there are both or
    neither. A 4xx is stored like any response; a 5xx is rolled back and not stored, so the client
    may retry.
    """

    @wraps(action)
    def once(view: Any, request: Request, *args: Any, **kwargs: Any) -> Response:
        key = request.headers.get(HEADER)
        if key is None or not _names_something(request.path):
            return action(view, request, *args, **kwargs)
        claim, earlier = _claim(request, key)
        if earlier is not None:
            return Response(RawJSON(earlier.answer), status=earlier.status_code)
        try:
            with transaction.atomic():
                response = _answer(view, action, request, *args, **kwargs)
                if response.status_code >= 500:
                    transaction.set_rollback(True)
                else:
                    _keep(claim, response)
                return response
        finally:
            IdempotentRequest.objects.filter(pk=claim, status_code=None).delete()

    return once


def _names_something(path: str) -> bool:
    """Whether the table can hold this path.

    Every valid path fits; the action refuses all others with 404.
    """
    return "\0" not in path and len(path) <= LONGEST_PATH


def _claim(request: Request, key: str) -> tuple[UUID, IdempotentRequest | None]:
    """Return the id of a new row, or the row of an earlier request with its response.

    Expired rows are deleted.
    """
    if not (key.isascii() and key.isprintable() and 0 < len(key) <= LONGEST_KEY):
        raise Invalid(f"{HEADER} is 1 to {LONGEST_KEY} printable ASCII characters.")
    IdempotentRequest.objects.filter(created_at__lt=Now() - KEPT).delete()
    body_sha256 = hashlib.sha256(request.body).hexdigest()
    mine = {"username": request.user.get_username(), "path": request.path.rstrip("/"), "key": key}
    IdempotentRequest.objects.filter(**mine, status_code=None, created_at__lt=Now() - ABANDONED_AFTER).delete()
    try:
        with transaction.atomic():
            return IdempotentRequest.objects.create(**mine, body_sha256=body_sha256).pk, None
    except IntegrityError:
        earlier = IdempotentRequest.objects.filter(**mine).first()
    if earlier is None or earlier.status_code is None:
        raise RequestInProgress("The first request with this key still runs; ask again in a moment.")
    if earlier.body_sha256 != body_sha256:
        raise IdempotencyMismatch("This key was used before with another body.")
    return earlier.pk, earlier


def _answer(view: Any, action: Action, *args: Any, **kwargs: Any) -> Response:
    """Return the action's response, or that of the `OrchestraError` it raised, whose audit entries
    stay.

    Other exceptions pass.
    """
    try:
        return action(view, *args, **kwargs)
    except Exception as error:
        response: Response = view.handle_exception(error)
        return response


def _keep(claim: UUID, response: Response) -> None:
    """Store the response; raise ``RequestInProgress``, which rolls the action back, if another
    request took the claim.
    """
    unanswered = IdempotentRequest.objects.filter(pk=claim, status_code=None)
    if not unanswered.update(status_code=response.status_code, answer=dumps(response.data)):
        raise RequestInProgress("This request took too long, and another with its key took over.")
