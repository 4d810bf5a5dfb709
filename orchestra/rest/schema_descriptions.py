"""Texts and examples of the OpenAPI schema, in a module that the settings can import before Django
is ready.
"""

from typing import Any

from orchestra.errors import UNAUTHENTICATED

MEANINGS = {
    400: "The request is not valid; `fields` names what is wrong.",
    401: "The request is not authenticated, or its token is not valid.",
    403: "The account lacks the permission for this.",
    404: "There is no such object, or the account may not see it.",
    409: "The current state of the object does not allow this.",
    413: "The body is larger than 10 MiB.",
    415: "The body is not JSON.",
    422: "This Idempotency-Key was used before with another body.",
    429: "There were too many requests; `Retry-After` holds the seconds to wait.",
    503: "The database or the broker does not answer; nothing was changed.",
}
# One example for each status; the fields beside code and detail depend on the error.
EXAMPLES: dict[int, dict[str, Any]] = {
    400: {
        "code": "invalid",
        "detail": "The request is not valid: prompt: This field is required.",
        "fields": {"prompt": ["This field is required."]},
    },
    401: {"code": "not_authenticated", "detail": UNAUTHENTICATED},
    403: {"code": "forbidden", "detail": "You have no right to do this."},
    404: {"code": "session_not_found", "detail": "Session not found"},
    409: {
        "code": "approval_closed",
        "detail": "This approval was already rejected by anna via telegram.",
        "status": "rejected",
        "decided_by": "anna",
        "decided_via": "telegram",
        "decided_at": "2026-11-25T09:30:00.000000Z",
    },
    413: {"code": "too_large", "detail": "A body may have at most 10 MiB."},
    415: {"code": "unsupported_media_type", "detail": 'Unsupported media type "text/plain" in request.'},
    422: {"code": "idempotency_mismatch", "detail": "This Idempotency-Key was used before with another body."},
    429: {"code": "throttled", "detail": "Request was throttled. Expected available in 12 seconds."},
    503: {"code": "unavailable", "detail": "The database does not answer just now; nothing was changed."},
}
DESCRIPTION = """Run coding agents on real machines and decide what they may do.

**Authentication.** Programs send `Authorization: Token <key>`, with a key made by
`manage.py create_token USER`; browsers use their session and send the CSRF token with every request
that changes something. Unauthenticated requests get 401, requests without the needed permission get 403.
Permissions come from groups: *Viewer* reads, *Operator* starts and stops sessions, *Approver*
decides, *Asker* sends requests and reads its own, *Administrator* may do all of it.

**Errors** are JSON: a stable `code`, a `detail` in one sentence, and further fields such as
`fields` or `decided_by`. A 503 comes with `Retry-After` and means that nothing was changed.

**Idempotency.** Every POST takes an `Idempotency-Key`. A request with the same key and body within
24 hours gets the first response again; the same key with another body gets 422, and 409 while the
first request still runs.

**Lists** come in pages (`page`, `page_size` up to 200). `count` is exact up to 10,000;
`count_exact` is false above.

A request with an unknown field gets 400, and the error names the field.

Paths work with and without a slash at their end. Every response has the id of its request in
`X-Request-ID`; the logs have the same id.
"""
TAGS = [
    {"name": "sessions", "description": "Dialogs with agents: start, send a message, stop, and read the transcript."},
    {
        "name": "approvals",
        "description": "Requests that a person decides. The first decision wins, whichever surface it comes from.",
    },
    {"name": "stop", "description": "One switch that stops all agents, and lets them continue where they stopped."},
    {"name": "agents", "description": "The CLIs found on the workers."},
    {"name": "schedules", "description": "Sessions that start at set times."},
    {
        "name": "diagnostics",
        "description": "The state of the database, workers, queues and Telegram.",
    },
]
