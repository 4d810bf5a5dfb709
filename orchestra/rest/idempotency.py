"""``Idempotency-Key``: a POST that is sent again gets the first answer again, and is done once."""

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
ABANDONED_AFTER = timedelta(minutes=2)  # no answer for so long: its process is gone, the key may be used again

Action = Callable[..., Response]


class IdempotencyMismatch(OrchestraError):
    """The key was used before with another body (HTTP 422)."""

    code = "idempotency_mismatch"


class RequestInProgress(Conflict):
    """The first request with this key still runs."""

    code = "request_in_progress"


def idempotent(action: Action) -> Action:
    """Make a view's POST safe to send again under the same key; without the header nothing changes.

    What the action writes commits together with its answer: after a crash there are both or neither.
    Refusals are answers too; a 5xx is undone and forgotten, so that it may be tried again.
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
    """Whether the table can hold this path; all that leads to something is of the kind, the action refuses the rest."""
    return "\0" not in path and len(path) <= LONGEST_PATH


def _claim(request: Request, key: str) -> tuple[UUID, IdempotentRequest | None]:
    """A new row's id, or the answered row of an earlier request; what has aged goes on the way."""
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
    """The action's answer, or the refusal it raised (its audit entries stay); a bug is raised on."""
    try:
        return action(view, *args, **kwargs)
    except Exception as error:
        response: Response = view.handle_exception(error)
        return response


def _keep(claim: UUID, response: Response) -> None:
    """Raises ``RequestInProgress``, undoing the action, if the claim was taken over in the meantime."""
    unanswered = IdempotentRequest.objects.filter(pk=claim, status_code=None)
    if not unanswered.update(status_code=response.status_code, answer=dumps(response.data)):
        raise RequestInProgress("This request took too long, and another with its key took over.")
