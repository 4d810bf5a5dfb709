"""Who may open which page of the console: one row per route, and no route without a row."""

from collections.abc import Iterator
from typing import Any
from uuid import UUID, uuid4

import pytest
from django.contrib.admindocs.views import simplify_regex
from django.test import Client
from django.urls import URLPattern, URLResolver, get_resolver

from tests.factories import make_approval, make_session, make_user

ROLES = ("anonymous", "nobody", "viewer", "operator", "approver", "asker", "administrator")
READERS = "viewer operator approver administrator"
OPERATORS, APPROVERS = "operator administrator", "approver administrator"
ANYBODY, SIGNED_IN = "anybody", "signed in"
ELSEWHERE = (
    "/api",
    "/^api",
    "/admin/",
    "/swagger",
    "/^swagger",
    "/health",
    "/^health",
    "/metrics",
    "/^metrics",
    "/favicon.ico",
)

# Route, method and who gets in. A method that a route does not have is a 405 for everybody who gets as far.
TABLE: dict[tuple[str, str], str] = {
    ("/", "GET"): READERS,
    ("/console/navigation", "GET"): READERS,
    ("/console/home/<name>", "GET"): READERS,
    ("/console/health", "GET"): READERS,
    ("/console/first-steps", "GET"): READERS,
    ("/console/sessions", "GET"): READERS,
    ("/console/agents", "GET"): READERS,
    ("/console/diagnostics", "GET"): READERS,
    ("/welcome", "GET"): READERS,
    ("/welcome/look", "POST"): OPERATORS,
    ("/sessions", "GET"): READERS,
    ("/sessions/new", "GET"): OPERATORS,
    ("/sessions/new", "POST"): OPERATORS,
    ("/sessions/demo", "POST"): OPERATORS,
    ("/sessions/<session_id>", "GET"): READERS,
    ("/sessions/<session_id>/rows", "GET"): READERS,
    ("/sessions/<session_id>/head", "GET"): READERS,
    ("/sessions/<session_id>/side", "GET"): READERS,
    ("/sessions/<session_id>/foot", "GET"): READERS,
    ("/sessions/<session_id>/output/<tool>", "GET"): READERS,
    ("/sessions/<session_id>/search", "GET"): READERS,
    ("/sessions/<session_id>/act", "POST"): OPERATORS,
    ("/sessions/<session_id>/rules/<rule_id>/revoke", "POST"): APPROVERS,
    ("/approvals", "GET"): READERS,
    ("/approvals/export.csv", "GET"): READERS,
    ("/approvals/export.jsonl", "GET"): READERS,
    ("/approvals/together", "POST"): APPROVERS,
    ("/approvals/<approval_id>", "GET"): READERS,
    ("/approvals/<approval_id>/card", "GET"): READERS,
    ("/approvals/<approval_id>/decision", "GET"): READERS,
    ("/approvals/<approval_id>/timeline", "GET"): READERS,
    ("/approvals/<approval_id>/decide", "POST"): APPROVERS,
    ("/approvals/<approval_id>/reopen", "POST"): APPROVERS,
    ("/approvals/<approval_id>/answer", "POST"): APPROVERS,
    ("/approvals/<approval_id>/edited", "POST"): APPROVERS,
    ("/approvals/<approval_id>/reveal", "GET"): READERS,  # leads back; a POST reveals
    ("/approvals/<approval_id>/decide/stop", "POST"): "administrator",  # who may both decide and operate
    ("/approvals/<approval_id>/answer/stop", "POST"): "administrator",
    ("/violations/<violation_id>/acknowledge", "POST"): "administrator",
    ("/stop", "GET"): READERS,
    ("/stop", "POST"): "operator approver administrator",
    ("/stop/<stop_id>/lift", "POST"): APPROVERS,
    ("/console/stop", "GET"): READERS,
    ("/agents", "GET"): READERS,
    ("/agents/look", "POST"): OPERATORS,
    ("/statistics", "GET"): READERS,
    ("/diagnostics", "GET"): READERS,
    ("/account", "GET"): SIGNED_IN,
    ("/account", "POST"): SIGNED_IN,
    ("/sign-in", "GET"): ANYBODY,
    ("/sign-in", "POST"): ANYBODY,
    ("/sign-in/<token>", "GET"): ANYBODY,
    ("/sign-in/<token>", "POST"): ANYBODY,
    ("/sign-out", "POST"): ANYBODY,
    ("/sign-out/everywhere", "POST"): ANYBODY,
}


def pages() -> Iterator[str]:
    """Every route that is no API, as the URL resolver knows them."""
    for path in _paths(get_resolver().url_patterns, ""):
        if not path.startswith(ELSEWHERE):
            yield path


def _paths(patterns: list[URLPattern | URLResolver], prefix: str) -> Iterator[str]:
    for pattern in patterns:
        whole = prefix + str(pattern.pattern)
        if isinstance(pattern, URLResolver):
            yield from _paths(pattern.url_patterns, whole)
        else:
            yield simplify_regex(whole.replace("^", "")) if "(" in whole else "/" + _names_alone(whole)


def _names_alone(route: str) -> str:
    for kind in ("uuid", "str", "int", "path", "slug"):
        route = route.replace(f"<{kind}:", "<")
    return route


def test_every_page_has_a_row_and_every_row_a_page() -> None:
    assert set(pages()) == {path for path, _ in TABLE}


@pytest.mark.django_db
@pytest.mark.parametrize("role", ROLES)
def test_who_may(role: str) -> None:
    user = None if role == "anonymous" else make_user(group="" if role == "nobody" else role.capitalize())
    for (path, method), allowed in TABLE.items():
        session, approval = make_session(status="completed"), make_approval()
        client = Client()
        if user:
            client.force_login(user)
        answer = client.generic(method, _address(path, session.pk, approval.pk))
        assert _class(answer) == _expected(allowed, role), f"{method} {path} as {role}"
        if answer.status_code in (302, 401, 403) and not _gets_in(allowed, role):
            approval.refresh_from_db()
            session.refresh_from_db()
            assert (approval.status, session.status) == ("pending", "completed")


def _address(path: str, session: UUID, approval: UUID) -> str:
    return (
        path.replace("<session_id>", str(session)).replace("<approval_id>", str(approval))
        .replace("<rule_id>", str(session)).replace("<violation_id>", str(session)).replace("<stop_id>", str(session))
        .replace("<name>", "now").replace("<tool>", "none").replace("<token>", "none")
    )  # fmt: skip


def _gets_in(allowed: str, role: str) -> bool:
    return allowed == ANYBODY or (allowed == SIGNED_IN and role != "anonymous") or role in allowed.split()


def _expected(allowed: str, role: str) -> str:
    if _gets_in(allowed, role):
        return "in"
    return "to the sign-in" if role == "anonymous" else "refused"


def _class(answer: Any) -> str:
    if answer.status_code == 302 and answer["Location"].startswith("/sign-in?next="):
        return "to the sign-in"
    return "refused" if answer.status_code in (401, 403, 405, 500) else "in"


@pytest.mark.django_db
def test_nothing_is_done_by_opening_an_address() -> None:
    client = Client()
    client.force_login(make_user(group="Administrator"))
    session, approval = make_session(), make_approval()
    for path in sorted({path for path, _ in TABLE if (path, "GET") not in TABLE}):
        assert client.get(_address(path, session.pk, approval.pk)).status_code == 405, path
    approval.refresh_from_db()
    assert approval.status == "pending"


@pytest.mark.django_db
def test_what_does_not_exist_is_not_found() -> None:
    client = Client()
    client.force_login(make_user(group="Administrator"))
    for path in sorted({path for path, _ in TABLE if "_id>" in path}):
        method = "GET" if (path, "GET") in TABLE else "POST"
        answer = client.generic(method, _address(path, uuid4(), uuid4()))
        # a search in nothing finds nothing, and an act on nothing is refused in words
        expected = (200, 302) if path.endswith(("/search", "/act")) else (404,)
        assert answer.status_code in expected, path
