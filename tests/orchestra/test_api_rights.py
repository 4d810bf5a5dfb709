"""Who may use which REST route: one row per route and method, and no route without a row."""

import json
from collections.abc import Iterator

import pytest
from django.contrib.admindocs.views import simplify_regex
from django.urls import URLPattern, URLResolver, get_resolver
from rest_framework.test import APIClient

from tests.factories import client_of, make_approval, make_schedule, make_session, make_user

ROLES = ("anonymous", "nobody", "viewer", "operator", "approver", "asker", "administrator")
OPEN = "open"  # even to who is not signed in; not this test's business beyond that
TELEGRAM = "telegram"  # knows a secret of its own; no account opens it

# Route and method, and who gets in. "nobody" has an account and no group. An asker sees only its own:
# "own" means that the rows of others do not exist for it.
TABLE: dict[tuple[str, str], str] = {
    ("/api/sessions", "GET"): "viewer operator approver administrator",
    ("/api/sessions", "POST"): "operator administrator",
    ("/api/sessions/<pk>", "GET"): "viewer operator approver administrator",
    ("/api/sessions/<pk>/messages", "POST"): "operator administrator",
    ("/api/sessions/<pk>/interrupt", "POST"): "operator administrator",
    ("/api/sessions/<pk>/cancel", "POST"): "operator administrator",
    ("/api/sessions/<pk>/events", "GET"): "viewer operator approver administrator",
    ("/api/sessions/<pk>/events/stream", "GET"): "viewer operator approver administrator",
    ("/api/sessions/<pk>/transcript", "GET"): "viewer operator approver administrator",
    ("/api/approvals", "GET"): "viewer operator approver asker administrator",
    ("/api/approvals", "POST"): "asker administrator",
    ("/api/approvals/<pk>", "GET"): "viewer operator approver own administrator",
    ("/api/approvals/<pk>/approve", "POST"): "approver administrator",
    ("/api/approvals/<pk>/reject", "POST"): "approver administrator",
    ("/api/approvals/<pk>/extend", "POST"): "approver administrator",
    ("/api/approvals/<pk>/reopen", "POST"): "approver administrator",
    # by the requester, whom this test's approval does not have, or an administrator
    ("/api/approvals/<pk>/cancel", "POST"): "own administrator",
    ("/api/schedules", "GET"): "viewer operator approver administrator",
    ("/api/schedules", "POST"): "operator administrator",
    ("/api/schedules/<pk>", "GET"): "viewer operator approver administrator",
    # by whoever made it, which this test's operator is not, or an administrator
    ("/api/schedules/<pk>", "PATCH"): "administrator",
    ("/api/schedules/<pk>", "DELETE"): "administrator",
    ("/api/schedules/<pk>/run", "POST"): "administrator",
    ("/api/agents", "GET"): "viewer operator approver administrator",
    ("/api/agents/discover", "POST"): "operator administrator",
    ("/api/diagnostics/telegram/status", "GET"): "viewer operator approver administrator",
    ("/api/diagnostics/circuit-breaker", "GET"): "viewer operator approver administrator",
    ("/api/telegram/webhook", "POST"): TELEGRAM,
    ("/api/diagnostics/database", "GET"): "viewer operator approver administrator",
    ("/api/diagnostics/database/performance", "GET"): "viewer operator approver administrator",
    ("/api/diagnostics/metrics", "GET"): "viewer operator approver administrator",
    ("/api/diagnostics/workers", "GET"): "viewer operator approver administrator",
    ("/api/stop", "GET"): "viewer operator approver asker administrator",
    ("/api/stop", "POST"): "operator approver administrator",
    ("/api/stop", "DELETE"): "approver administrator",
    ("/api/schema", "GET"): OPEN,
}
METHODS = {"/api/telegram/webhook": "post"}  # of the views that are plain functions
BODIES = {
    "/api/sessions": {"prompt": "hello"},
    "/api/sessions/<pk>/messages": {"prompt": "hello"},
    "/api/schedules": {"session": {"prompt": "hello"}, "every_seconds": 3600},
    "/api/approvals": {"title": "May I?"},
    "/api/approvals/<pk>/extend": {"minutes": 1},
}


def api_routes() -> Iterator[tuple[str, str]]:
    """Every route below /api with each of its methods, as the URL resolver knows them."""
    for path, pattern in _patterns(get_resolver().url_patterns, ""):
        if path.startswith("/api/"):
            actions = getattr(pattern.callback, "actions", None) or {METHODS.get(path.rstrip("/"), "get"): ""}
            for method in actions:
                if method != "head":
                    yield path.rstrip("/"), method.upper()


def _patterns(patterns: list[URLPattern | URLResolver], prefix: str) -> Iterator[tuple[str, URLPattern]]:
    for pattern in patterns:
        whole = prefix + str(pattern.pattern)
        if isinstance(pattern, URLResolver):
            yield from _patterns(pattern.url_patterns, whole)
        else:
            yield simplify_regex(whole.replace("^", "")), pattern


def test_every_route_has_a_row_and_every_row_a_route() -> None:
    assert set(api_routes()) == set(TABLE)


@pytest.mark.django_db
@pytest.mark.parametrize("role", ROLES)
@pytest.mark.parametrize(("path", "method"), TABLE)
def test_who_may(path: str, method: str, role: str) -> None:
    session = make_session(status="completed")
    status = "expired" if path.endswith("/reopen") else "pending"
    approval = make_approval(status=status)
    rows = {"sessions": session, "schedules": make_schedule(), "approvals": approval}
    pk = str(next((row.pk for name, row in rows.items() if name in path), approval.pk))
    group = "" if role == "nobody" else role.capitalize()
    client = APIClient() if role == "anonymous" else client_of(make_user(group=group))
    answer = client.generic(method, path.replace("<pk>", pk), _body(path), content_type="application/json")
    if not hasattr(answer, "data") and TABLE[path, method] != TELEGRAM:  # a stream or a file
        assert answer.status_code == 200
    assert _class(answer.status_code) == _expected(TABLE[path, method], role), answer.content
    if answer.status_code >= 400:
        approval.refresh_from_db()
        session.refresh_from_db()
        assert (approval.status, session.status) == (status, "completed")


def _body(path: str) -> str:

    return json.dumps(BODIES.get(path, {}))


def _expected(allowed: str, role: str) -> str:
    if allowed == TELEGRAM:
        return "403"
    if allowed == OPEN or role in allowed.split():
        return "yes"
    if role == "anonymous":
        return "401"
    return "404" if role == "asker" and "own" in allowed.split() else "403"


def _class(status: int) -> str:
    return "yes" if status < 300 else str(status)
