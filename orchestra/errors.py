"""The base classes of Orchestra's errors. Only ``orchestra.rest.viewsets`` turns them into HTTP
responses.
"""

from typing import ClassVar

RETRY_LATER = {"Retry-After": "5"}
"""The header of a 503 response, in seconds."""
HOW_TO_SIGN_IN = "Send `Authorization: Token <key>`; make a key with `./manage.py create_token USER`."
UNAUTHENTICATED = f"Unauthenticated. {HOW_TO_SIGN_IN}"
"""The ``detail`` of a 401. It explains the cure, because the runbook's calls come from a system
without accounts.
"""


class OrchestraError(Exception):
    """A request was refused. ``code`` is stable, and ``detail`` is one sentence that a person
    understands.

    ``facts`` are further JSON fields of the response, such as the winner of a race.
    """

    code: ClassVar[str] = "error"

    def __init__(self, detail: str, **facts: object) -> None:
        super().__init__(detail)
        self.detail = detail
        self.facts = facts


class NotFound(OrchestraError):
    """The object does not exist, or the caller may not know that it exists (HTTP 404)."""

    code = "not_found"


class Conflict(OrchestraError):
    """The object exists, but its state does not allow the request now (HTTP 409)."""

    code = "conflict"


class Invalid(OrchestraError):
    """The request itself is wrong (HTTP 400). ``fields`` maps field names to lists of messages."""

    code = "invalid"

    def __init__(self, detail: str, fields: dict[str, list[str]] | None = None, **facts: object) -> None:
        super().__init__(detail, **({"fields": fields} if fields else {}), **facts)


class Forbidden(OrchestraError):
    """The caller is authenticated, but lacks the permission (HTTP 403)."""

    code = "forbidden"


class Unavailable(OrchestraError):
    """A dependency does not answer now; the same request may succeed later (HTTP 503)."""

    code = "unavailable"
