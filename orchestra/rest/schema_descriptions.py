"""Texts and examples of the OpenAPI schema; apart from the rest, since the settings name them."""

from typing import Any

from orchestra.errors import UNAUTHENTICATED

MEANINGS = {
    400: "The request is not valid; `fields` names what is wrong.",
    401: "Nobody is signed in, or the token is not valid.",
    403: "The right to do this is missing.",
    404: "There is no such thing, or not for you.",
    409: "Its state does not allow this now.",
    413: "The body is larger than 10 MiB.",
    415: "The body is not JSON.",
    422: "This Idempotency-Key was used before with another body.",
    429: "Too much at once; `Retry-After` says when to come back.",
    503: "The database or the broker does not answer just now.",
}
# What such a refusal looks like; the facts beside code and detail differ.
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
DESCRIPTION = """Run coding agents on real machines and stay in charge.

**Signing in.** `Authorization: Token <key>`, with a key made by `manage.py create_token USER`; browsers use their
session and send the CSRF token with everything that changes something. Who is nobody gets 401, who lacks a right 403.
Rights come from groups: *Viewer* reads, *Operator* starts and stops sessions, *Approver* decides, *Asker* sends
requests and reads its own, *Administrator* may do all of it.

**Errors** are JSON: a stable `code`, a `detail` in one sentence, and facts such as `fields` or who decided first. A 503
comes with `Retry-After` and means that nothing was changed.

**Repeating safely.** Every POST takes an `Idempotency-Key`: the same key and body within 24 hours get the first answer
again; another body is 422, and a first request that still runs is 409.

**Lists** come in pages (`page`, `page_size` up to 200). `count` is exact up to 10,000, and says so in `count_exact`.

A field that a request does not know is refused (400) by its name.

Paths work with and without a slash at their end. Every answer names its request in `X-Request-ID`, as the logs do.
"""
TAGS = [
    {"name": "sessions", "description": "Dialogs with agents: start, message, stop, and read what happened."},
    {
        "name": "approvals",
        "description": "Requests to people. The first decision wins, on whichever surface it is made.",
    },
    {"name": "stop", "description": "One switch that holds all agents, and lets them go on where they stood."},
    {"name": "agents", "description": "The CLIs found on the workers."},
    {"name": "schedules", "description": "Sessions that start by the clock."},
    {"name": "diagnostics", "description": "For whoever is on call: database, workers, queues, Telegram."},
]
