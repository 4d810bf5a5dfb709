"""What Orchestra refuses, as exceptions. ``orchestra.rest.viewsets`` alone turns them into HTTP answers."""

from typing import ClassVar

RETRY_LATER = {"Retry-After": "5"}
"""The header of an answer that says: not now. Seconds."""
HOW_TO_SIGN_IN = "Send `Authorization: Token <key>`; make a key with `./manage.py create_token USER`."
UNAUTHENTICATED = f"Unauthenticated. {HOW_TO_SIGN_IN}"
"""The ``detail`` of a 401. The runbook's calls were written for a system without accounts."""


class OrchestraError(Exception):
    """Something was refused; ``code`` is stable, ``detail`` is one sentence a person understands.

    ``facts`` are further JSON-ready fields of the answer, such as who won a race.
    """

    code: ClassVar[str] = "error"

    def __init__(self, detail: str, **facts: object) -> None:
        super().__init__(detail)
        self.detail = detail
        self.facts = facts


class NotFound(OrchestraError):
    """There is no such thing, or the caller may not know of it (HTTP 404)."""

    code = "not_found"


class Conflict(OrchestraError):
    """The thing exists, but its state does not allow this now (HTTP 409)."""

    code = "conflict"


class Invalid(OrchestraError):
    """The request itself is wrong (HTTP 400). ``fields`` maps field names to their complaints."""

    code = "invalid"

    def __init__(self, detail: str, fields: dict[str, list[str]] | None = None, **facts: object) -> None:
        super().__init__(detail, **({"fields": fields} if fields else {}), **facts)


class Forbidden(OrchestraError):
    """The caller is known, but lacks the right (HTTP 403)."""

    code = "forbidden"


class Unavailable(OrchestraError):
    """Something this needs does not answer just now; the same request may work later (HTTP 503)."""

    code = "unavailable"
