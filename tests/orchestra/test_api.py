"""The habits every REST route shares."""

import json
from datetime import timedelta
from typing import Any

import pytest
from django.db import DatabaseError, OperationalError, connection
from django.utils import timezone
from rest_framework.test import APIClient

from approvals.models import AuditEntry, Rule
from orchestra.models import IdempotentRequest
from orchestra.rest import exact_json
from orchestra.rest.pagination import Pages
from orchestra.rest.viewsets import answer_for_error
from sessions_app.models import AgentSession
from tests.factories import client_of, make_approval, make_session, make_user

pytestmark = pytest.mark.django_db


@pytest.fixture
def admin() -> APIClient:
    return client_of(make_user("ada", group="Administrator"))


def test_a_path_answers_with_and_without_its_last_slash(admin: APIClient) -> None:
    for path in ("/api/sessions", "/api/sessions/"):
        assert admin.post(path, {"prompt": "hello"}, format="json").status_code == 201
    assert admin.get("/api/approvals/").json() == admin.get("/api/approvals").json()


def test_nobody_in_particular_is_asked_to_sign_in_with_a_token() -> None:
    answer = APIClient().get("/api/sessions")
    assert answer.status_code == 401
    assert answer.json()["code"] == "not_authenticated"
    assert answer["WWW-Authenticate"] == "Token"


@pytest.mark.parametrize("token", ["wrong", "f" * 64, "\x00", "é", "x" * 5000, "a b", ""])
def test_a_wrong_token_is_not_authenticated(token: str) -> None:
    answer = APIClient().get("/api/sessions", headers={"Authorization": f"Token {token}"})
    assert (answer.status_code, answer.json()["code"]) == (401, "not_authenticated")


def test_an_account_that_was_closed_gets_in_no_more() -> None:
    user = make_user("gone", group="Viewer")
    client = client_of(user)
    assert client.get("/api/sessions").status_code == 200
    user.is_active = False
    user.save()
    assert client.get("/api/sessions").status_code == 401


def test_a_session_cookie_alone_decides_nothing() -> None:
    approval = make_approval()
    browser = APIClient(enforce_csrf_checks=True)
    browser.force_login(make_user("ben", group="Approver"), backend="orchestra.auth.backends.RightsBackend")
    assert browser.get("/api/approvals").status_code == 200
    answer = browser.post(f"/api/approvals/{approval.pk}/approve", {}, format="json")
    assert (answer.status_code, answer.json()["code"]) == (403, "forbidden")
    approval.refresh_from_db()
    assert approval.is_open


def test_a_wrong_method_is_405_and_a_body_that_is_not_json_is_415(admin: APIClient) -> None:
    approval = make_approval()
    path = f"/api/approvals/{approval.pk}/approve"
    assert admin.get(path).status_code == 405
    assert admin.delete("/api/sessions").status_code == 405
    assert admin.options("/api/sessions").status_code == 405
    for action in ("approve", "reject", "cancel", "extend", "reopen"):
        answer = admin.post(f"/api/approvals/{approval.pk}/{action}", "approved", content_type="text/plain")
        assert (answer.status_code, answer.json()["code"]) == (415, "unsupported_media_type")
    approval.refresh_from_db()
    assert approval.is_open


def test_what_is_not_there_is_told_as_json(admin: APIClient) -> None:
    for path in ("/api/nothing", "/api/sessions/x/y/z", "/api"):
        answer = admin.get(path)
        assert answer.status_code == 404
    assert admin.get("/api/nothing").json()["code"] == "not_found"


@pytest.mark.parametrize(
    "body",
    [
        b"{",
        b'{"prompt": NaN}',
        b'{"prompt": "x", "max_budget_usd": Infinity}',
        b'{"prompt": "x", "max_budget_usd": 1e999}',
        b"\xff\xfe",
        b"[" * 10_000 + b"]" * 10_000,
        b'{"prompt": "x", "metadata": ' + b'{"a":' * 500 + b"1" + b"}" * 501,
        b'{"prompt": "x", "max_turns": ' + b"9" * 5000 + b"}",
        b"[]",
        b"null",
        b'"text"',
        b'{"prompt": 5}',
        b'{"prompt": null}',
        b'{"prompt": "\\u0000"}',
        b'{"prompt": "\\ud800"}',
        b'{"prompt": "x", "title": "\\ud800"}',
        b'{"prompt": "x", "metadata": {"a": "\\u0000"}}',
        b'{"prompt": "x", "metadata": {"\\ud800": 1}}',
        b'{"prompt": "x", "metadata": []}',
        b'{"prompt": "x", "max_turns": "5"}',
        b'{"prompt": "x", "max_turns": true}',
        b'{"prompt": "x", "max_turns": 1.5}',
        b'{"prompt": "x", "max_budget_usd": ' + b"9" * 400 + b"}",
        b'{"prompt": "x", "allowed_tools": "Bash"}',
        b'{"prompt": "x", "allowed_tools": [["Bash"]]}',
        b'{"prompt": "x", "agent": "\\ud800"}',
        b'{"prompt": "x", "permission_mode": "bypassPermissions"}',
        b'{"prompt": "x", "working_directory": "/\\u0000"}',
    ],
)
def test_a_body_that_makes_no_sense_is_400(admin: APIClient, body: bytes) -> None:
    answer = admin.post("/api/sessions", body, content_type="application/json")
    assert answer.status_code == 400, answer.content
    assert {"code", "detail"} <= answer.json().keys()
    assert not AgentSession.objects.exists()


def test_complaints_name_their_fields(admin: APIClient) -> None:
    answer = admin.post("/api/sessions", {"prompt": "", "max_turns": 0, "agent": "nobody"}, format="json")
    assert answer.status_code == 400
    assert answer.json()["code"] == "invalid"
    assert answer.json()["fields"].keys() == {"prompt", "max_turns", "agent"}


def test_a_body_over_ten_mebibytes_is_413(admin: APIClient) -> None:
    answer = admin.post(
        "/api/sessions", b'{"prompt": "' + b"x" * (10 * 1024 * 1024) + b'"}', content_type="application/json"
    )
    assert (answer.status_code, answer.json()["code"]) == (413, "too_large")


def test_a_database_that_is_away_is_503_with_a_time_to_come_back(admin: APIClient) -> None:
    def away(execute: Any, sql: str, params: Any, many: bool, context: Any) -> Any:
        raise OperationalError("server closed the connection unexpectedly")

    with connection.execute_wrapper(away):
        answer = admin.get("/api/sessions")
    assert answer.status_code == 503
    assert answer.json()["code"] == "unavailable"
    assert int(answer["Retry-After"]) > 0


@pytest.mark.parametrize(
    "identifier", ["x", "0", "%00", "null", "'", "{}", "ffffffff-ffff-ffff-ffff-ffffffffffff", "é"]
)
def test_an_id_that_is_none_is_as_unknown_as_a_wrong_one(admin: APIClient, identifier: str) -> None:
    for path, code in (
        (f"/api/sessions/{identifier}", "session_not_found"),
        (f"/api/approvals/{identifier}", "approval_not_found"),
    ):
        answer = admin.get(path)
        assert (answer.status_code, answer.json()["code"]) == (404, code)


# --- lists


def test_a_list_goes_page_by_page(admin: APIClient) -> None:
    made = {str(make_session(title=f"number {number}").pk) for number in range(5)}
    seen: list[str] = []
    path: str | None = "/api/sessions?page_size=2"
    while path:
        page = admin.get(path).json()
        assert page.keys() == {"count", "next", "previous", "results"}
        assert page["count"] == 5
        seen += [row["id"] for row in page["results"]]
        path = page["next"]
    assert len(seen) == 5
    assert set(seen) == made


@pytest.mark.parametrize("page", ["2", "0", "-1", "x", "1000000000", "9" * 40, "٣", "1.0"])
def test_an_unknown_page_is_404(admin: APIClient, page: str) -> None:
    make_session()
    answer = admin.get("/api/sessions", {"page": page})
    assert (answer.status_code, answer.json()["code"]) == (404, "not_found")


def test_an_empty_list_has_a_first_page(admin: APIClient) -> None:
    assert admin.get("/api/agents?page=1").json() == {"count": 0, "next": None, "previous": None, "results": []}


def test_a_page_has_at_most_two_hundred_rows(admin: APIClient) -> None:
    for number in range(3):
        make_session(title=str(number))
    assert len(admin.get("/api/sessions?page_size=9999").json()["results"]) == 3
    assert Pages.max_page_size == 200
    for size in ("0", "x", "-5", "9" * 30):
        assert admin.get("/api/sessions", {"page_size": size}).status_code == 400


def test_nobody_counts_for_ever(admin: APIClient, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Pages, "count_limit", 3)
    for number in range(5):
        make_session(title=str(number))
    first = admin.get("/api/sessions?page_size=2").json()
    assert (first["count"], first["count_exact"]) == (3, False)
    third = admin.get("/api/sessions?page_size=2&page=3").json()
    assert len(third["results"]) == 1
    assert third["next"] is None


@pytest.mark.parametrize(
    "query",
    [
        "status=open",
        "ordering=requested_by__password",
        "ordering=options",
        "stauts=pending",
        "status=%00",
        "agent=%00",
        "search=%00",
    ],
)
def test_a_wrong_filter_is_400(admin: APIClient, query: str) -> None:
    answer = admin.get(f"/api/sessions?{query}")
    assert (answer.status_code, answer.json()["code"]) == (400, "invalid")


# --- exactness


def test_kept_json_text_leaves_word_for_word() -> None:
    text = '{"n": 123456789012345678901234567890, "n": 1.10, "s": "\\ud800\\u0000 \\u00e9"}'
    assert (
        exact_json.dumps({"a": exact_json.RawJSON(text), "b": [1, exact_json.RawJSON("null")]})
        == f'{{"a":{text},"b":[1,null]}}'
    )


def test_a_line_break_between_tokens_does_not_break_the_line() -> None:
    assert exact_json.dumps(exact_json.RawJSON('{\n"a":\r\n1}')) == '{ "a":  1}'


# --- Idempotency-Key


def post_with_key(client: APIClient, key: str, body: dict[str, Any], path: str = "/api/sessions") -> Any:
    return client.post(path, body, format="json", headers={"Idempotency-Key": key})


def test_a_request_that_is_sent_again_is_done_once(admin: APIClient) -> None:
    first = post_with_key(admin, "k1", {"prompt": "once"})
    again = post_with_key(admin, "k1", {"prompt": "once"}, path="/api/sessions/")
    assert (first.status_code, again.status_code) == (201, 201)
    assert again.json() == first.json()
    assert AgentSession.objects.count() == 1


@pytest.mark.parametrize("name", ["%00", "x" * 400])
def test_an_address_that_no_table_takes_is_not_found_with_a_key_as_without(admin: APIClient, name: str) -> None:
    assert post_with_key(admin, "k1", {}, path=f"/api/approvals/{name}/approve").status_code == 404


def test_a_key_with_another_body_is_refused(admin: APIClient) -> None:
    post_with_key(admin, "k1", {"prompt": "once"})
    answer = post_with_key(admin, "k1", {"prompt": "twice"})
    assert (answer.status_code, answer.json()["code"]) == (422, "idempotency_mismatch")
    assert AgentSession.objects.count() == 1


def test_a_key_belongs_to_its_user_and_its_path(admin: APIClient) -> None:
    other = client_of(make_user("olga", group="Operator"))
    session = make_session(status="completed")
    assert post_with_key(admin, "k1", {"prompt": "x"}).status_code == 201
    assert post_with_key(other, "k1", {"prompt": "x"}).status_code == 201
    assert post_with_key(admin, "k1", {"prompt": "x"}, path=f"/api/sessions/{session.pk}/messages").status_code == 201
    assert AgentSession.objects.count() == 3


def test_a_refusal_is_an_answer_too_and_its_audit_stays(admin: APIClient) -> None:
    approval = make_approval(status="rejected", decided_by="ben", decided_via="admin")
    path = f"/api/approvals/{approval.pk}/approve"
    first, again = (post_with_key(admin, "k", {}, path=path) for _ in range(2))
    assert (first.status_code, again.status_code) == (409, 409)
    assert first.json() == again.json()
    assert AuditEntry.objects.filter(approval=approval, won=False).count() == 1


def test_while_the_first_still_runs_the_second_is_told_so(admin: APIClient) -> None:
    post_with_key(admin, "k", {"prompt": "x"})
    IdempotentRequest.objects.update(status_code=None)
    answer = post_with_key(admin, "k", {"prompt": "x"})
    assert (answer.status_code, answer.json()["code"]) == (409, "request_in_progress")


def test_a_key_whose_process_died_can_be_used_again(admin: APIClient) -> None:
    post_with_key(admin, "k", {"prompt": "x"})
    IdempotentRequest.objects.update(status_code=None, created_at=timezone.now() - timedelta(minutes=3))
    assert post_with_key(admin, "k", {"prompt": "x"}).status_code == 201
    assert AgentSession.objects.count() == 2


def test_a_key_is_forgotten_after_a_day(admin: APIClient) -> None:
    post_with_key(admin, "k", {"prompt": "x"})
    IdempotentRequest.objects.update(created_at=timezone.now() - timedelta(hours=25))
    assert post_with_key(admin, "k", {"prompt": "y"}).status_code == 201


def test_a_failure_of_ours_is_undone_and_not_remembered(admin: APIClient) -> None:
    approval = make_approval()
    path = f"/api/approvals/{approval.pk}/approve"

    def breaks_late(execute: Any, sql: str, params: Any, many: bool, context: Any) -> Any:
        if "INSERT" in sql and "audit_entries" in sql:
            raise OperationalError("gone")
        return execute(sql, params, many, context)

    with connection.execute_wrapper(breaks_late):
        assert post_with_key(admin, "k", {}, path=path).status_code == 503
    approval.refresh_from_db()
    assert approval.is_open
    assert not IdempotentRequest.objects.exists()
    assert post_with_key(admin, "k", {}, path=path).status_code == 200


@pytest.mark.parametrize("key", ["", "x" * 201, "é"])
def test_a_key_that_cannot_be_kept_is_400(admin: APIClient, key: str) -> None:
    assert post_with_key(admin, key, {"prompt": "x"}).status_code == 400


def test_an_answer_that_was_kept_is_exact(admin: APIClient) -> None:
    exact = '{"command": "true", "n": 123456789012345678901234567890, "n": 2}'
    approval = make_approval(tool_input=exact)
    path = f"/api/approvals/{approval.pk}/approve"
    first, again = (post_with_key(admin, "k", {}, path=path) for _ in range(2))
    assert exact.encode() in first.content
    assert first.content == again.content


def test_every_post_takes_a_key(admin: APIClient) -> None:
    """The schema and the routes agree on it."""
    schema = json.loads(admin.get("/api/schema?format=json").content)
    posts = {path: methods["post"] for path, methods in schema["paths"].items() if "post" in methods}
    assert all(any(p["name"] == "Idempotency-Key" for p in post["parameters"]) for post in posts.values())
    for path in posts:
        post_with_key(admin, "k", {}, path=path.replace("{id}", "ffffffff-ffff-ffff-ffff-ffffffffffff"))
    assert IdempotentRequest.objects.count() == len(posts)


def test_approvals_never_come_from_a_body(admin: APIClient) -> None:
    approval, other = make_approval(), make_approval()
    body = {
        "id": str(other.pk),
        "decided_by": "eve",
        "status": "rejected",
        "expires_at": "2000-01-01T00:00:00Z",
        "decided_via": "cli",
    }
    refused = admin.post(f"/api/approvals/{approval.pk}/approve", body, format="json")
    assert (refused.status_code, set(refused.json()["fields"])) == (400, set(body))
    for row in (approval, other):
        row.refresh_from_db()
        assert row.is_open


@pytest.mark.django_db
def test_what_was_deleted_while_it_was_edited_is_a_conflict() -> None:
    rule = Rule.objects.create(effect="deny", tool="Bash")
    Rule.objects.filter(pk=rule.pk).delete()
    with pytest.raises(DatabaseError) as caught:
        rule.save(force_update=True)
    answer = answer_for_error(caught.value, {})
    assert answer is not None
    assert (answer.status_code, answer.data) == (
        409, {"code": "conflict", "detail": "Attempted to update or delete an entity that does not exist"},
    )  # fmt: skip
