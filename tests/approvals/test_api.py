"""The REST door of approvals."""

import json
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest
from django.core.checks import run_checks
from django.utils import timezone
from pytest_django import DjangoAssertNumQueries
from rest_framework.test import APIClient

from approvals.conf import ApprovalSettings
from approvals.models import Approval, AuditEntry, Rule
from orchestra.environment import Environment
from tests.factories import client_of, make_approval, make_user

pytestmark = pytest.mark.django_db

FIELDS = {
    "id", "kind", "status", "session", "requested_by", "tool_name", "tool_input", "input_digest", "run_digest", "title",
    "summary", "risk", "working_directory", "created_at", "expires_at", "seconds_left", "decided_at", "decided_by",
    "decided_via", "reason", "note", "note_delivered_at", "updated_input", "answers", "scope", "consumed_at", "body",
    "facts", "options", "reopened_from", "reopened_as",
}  # fmt: skip


@pytest.fixture
def ben() -> APIClient:
    return client_of(make_user("ben", group="Approver"))


@pytest.fixture
def admin() -> APIClient:
    return client_of(make_user("ada", group="Administrator"))


@pytest.fixture
def bot() -> APIClient:
    return client_of(make_user("bot", group="Asker"))


def act(client: APIClient, approval: Approval, action: str, body: dict[str, Any] | None = None) -> Any:
    return client.post(
        f"/api/approvals/{approval.pk}/{action}", json.dumps(body or {}), content_type="application/json"
    )


def test_an_approval_shows_all_of_itself(ben: APIClient) -> None:
    approval = make_approval()
    shown = ben.get(f"/api/approvals/{approval.pk}").json()
    assert shown.keys() == FIELDS
    assert shown["tool_input"] == {"command": "rm -r build"}
    assert 3500 < shown["seconds_left"] <= 3600
    assert (shown["updated_input"], shown["answers"], shown["options"]) == (None, None, None)


def test_what_is_shown_is_what_was_asked_byte_for_byte(ben: APIClient) -> None:
    exact = '{"command": "echo", "n": 123456789012345678901234567890, "x": 1.10, "x": 2, "s": "\\ud83d\\u0000"}'
    approval = make_approval(tool_input=exact)
    assert f'"tool_input":{exact}'.encode() in ben.get(f"/api/approvals/{approval.pk}").content
    assert f'"tool_input":{exact}'.encode() in ben.get("/api/approvals").content
    assert f'"tool_input":{exact}'.encode() in act(ben, approval, "approve").content


def test_an_approver_approves(ben: APIClient) -> None:
    approval = make_approval()
    answer = act(ben, approval, "approve", {"reason": "fine"})
    assert answer.status_code == 200
    shown = answer.json()
    assert (shown["status"], shown["decided_by"], shown["decided_via"], shown["reason"]) == (
        "approved",
        "ben",
        "api",
        "fine",
    )
    assert (shown["seconds_left"], shown["run_digest"]) == (0, approval.input_digest)
    assert AuditEntry.objects.get(approval=approval).address == "127.0.0.1"


@pytest.mark.parametrize(
    ("action", "body"), [("approve", {"approved": False, "reason": "no"}), ("reject", {"reason": "no"})]
)
def test_there_are_two_ways_to_reject(ben: APIClient, action: str, body: dict[str, Any]) -> None:
    approval = make_approval()
    assert act(ben, approval, action, body).json()["status"] == "rejected"
    approval.refresh_from_db()
    assert (approval.status, approval.reason) == ("rejected", "no")


@pytest.mark.parametrize("approved", ["false", 0, None, "no", [], {}])
def test_only_true_and_false_are_answers(ben: APIClient, approved: object) -> None:
    approval = make_approval()
    assert act(ben, approval, "approve", {"approved": approved}).status_code == 400
    approval.refresh_from_db()
    assert approval.is_open


def test_the_same_answer_by_the_same_person_again_is_fine(ben: APIClient) -> None:
    approval = make_approval()
    first, again = act(ben, approval, "approve"), act(ben, approval, "approve")
    assert (first.status_code, again.status_code) == (200, 200)
    assert first.json() == again.json()


def test_who_comes_second_is_told_who_was_first(ben: APIClient) -> None:
    approval = make_approval()
    act(client_of(make_user("cora", group="Approver")), approval, "reject")
    answer = act(ben, approval, "approve")
    assert answer.status_code == 409
    told = answer.json()
    assert (told["code"], told["status"], told["decided_by"], told["decided_via"]) == (
        "approval_closed",
        "rejected",
        "cora",
        "api",
    )
    assert told["decided_at"]
    assert AuditEntry.objects.filter(approval=approval, by="ben", won=False).exists()


def test_after_the_deadline_nobody_approves(ben: APIClient) -> None:
    approval = make_approval(expires_at=timezone.now() - timedelta(seconds=1))
    answer = act(ben, approval, "approve")
    assert (answer.status_code, answer.json()["code"]) == (409, "approval_expired")
    assert answer.json()["detail"] == "Timeout waiting for approval"
    assert ben.get(f"/api/approvals/{approval.pk}").json()["seconds_left"] == 0


def test_nobody_decides_what_they_requested(settings: Any, ben: APIClient) -> None:
    approval = make_approval(requested_by="ben")
    answer = act(ben, approval, "approve")
    assert (answer.status_code, answer.json()["code"]) == (403, "self_approval")


def test_an_answer_to_something_else_than_was_seen_is_refused(ben: APIClient) -> None:
    approval = make_approval()
    answer = act(ben, approval, "approve", {"input_digest": "0" * 64})
    assert (answer.status_code, answer.json()["code"]) == (409, "digest_mismatch")
    assert act(ben, approval, "approve", {"input_digest": approval.input_digest}).status_code == 200


def test_an_edited_input_is_kept_in_ascii_with_its_long_numbers(ben: APIClient) -> None:
    approval = make_approval()
    body = b'{"updated_input": {"command": "echo \\ud83d \xc3\xa9", "n": 123456789012345678901234567890}}'
    answer = ben.post(f"/api/approvals/{approval.pk}/approve", body, content_type="application/json")
    assert answer.status_code == 200
    approval.refresh_from_db()
    assert approval.updated_input == '{"command": "echo \\ud83d \\u00e9", "n": 123456789012345678901234567890}'
    assert approval.run_digest not in ("", approval.input_digest)


@pytest.mark.parametrize(
    "body",
    [
        {"updated_input": "rm"},
        {"updated_input": []},
        {"answers": [1]},
        {"scope": "ever"},
        {"scope": "\ud800"},
        {"reason": 5},
        {"reason": "\0"},
        {"reason": "x" * 100_001},
        {"input_digest": 1},
        {"input_digest": "x" * 65},
        {"approved": False, "updated_input": {}},
    ],
)
def test_an_answer_that_fits_no_question_is_400(ben: APIClient, body: dict[str, Any]) -> None:
    approval = make_approval()
    answer = act(ben, approval, "approve", body)
    assert (answer.status_code, answer.json()["code"]) == (400, "invalid")
    approval.refresh_from_db()
    assert approval.is_open


def test_approving_for_the_session_opens_a_rule(ben: APIClient) -> None:
    approval = make_approval(session="11111111-1111-1111-1111-111111111111")
    assert act(ben, approval, "approve", {"scope": "session"}).json()["scope"] == "session"
    assert Rule.objects.get().scope_value == "11111111-1111-1111-1111-111111111111"


def test_answers_to_a_question_are_kept(ben: APIClient) -> None:
    approval = make_approval(kind="question", tool_name="AskUserQuestion")
    assert act(ben, approval, "approve", {"answers": {"Which?": "This"}}).json()["answers"] == {"Which?": "This"}


# --- lists


def test_approvals_are_narrowed_by_status_session_tool_and_risk(ben: APIClient) -> None:
    session = "11111111-1111-1111-1111-111111111111"
    wanted = make_approval(session=session, tool_name="Write", risk="high")
    make_approval(status="approved", risk="low")
    for query in ("status=pending", f"session={session}", "tool=Write", "risk=high"):
        assert [row["id"] for row in ben.get(f"/api/approvals?{query}").json()["results"]] == [str(wanted.pk)]
    for wrong in ("session=x", "risk=none", "status=open", "ordering=tool_input"):
        assert ben.get(f"/api/approvals?{wrong}").status_code == 400


def test_the_most_urgent_can_come_first(ben: APIClient) -> None:
    late = make_approval(expires_at=timezone.now() + timedelta(hours=2))
    soon = make_approval(expires_at=timezone.now() + timedelta(minutes=2))
    ids = [row["id"] for row in ben.get("/api/approvals?ordering=expires_at").json()["results"]]
    assert ids == [str(soon.pk), str(late.pk)]


def test_a_long_list_costs_no_more_queries_than_a_short_one(
    ben: APIClient, django_assert_num_queries: DjangoAssertNumQueries
) -> None:
    for _ in range(20):
        make_approval()
    with django_assert_num_queries(5):  # token (knox: two), rights, count, rows
        ben.get("/api/approvals")


# --- external asks


def test_any_program_may_ask_a_person(bot: APIClient, ben: APIClient) -> None:
    body = {
        "title": "Deploy?",
        "body": "v2",
        "facts": {"host": "a", "n": 10**30},
        "options": ["now", "later"],
        "timeout_minutes": 10,
    }
    answer = bot.post("/api/approvals", body, format="json")
    assert answer.status_code == 201
    shown = answer.json()
    assert (shown["kind"], shown["requested_by"], shown["status"]) == ("external", "bot", "pending")
    assert (shown["facts"], shown["options"], shown["tool_input"]) == (body["facts"], ["now", "later"], None)
    assert 590 < shown["seconds_left"] <= 600
    assert ben.post(f"/api/approvals/{shown['id']}/approve", {}, format="json").status_code == 200


@pytest.mark.parametrize(
    ("path", "body"),
    [
        ("/api/sessions", {"prompt": "x", "agent": "demo", "approval_timeout_minutes": 120.5}),
        ("/api/schedules", {"session": {"prompt": "x", "approval_timeout_minutes": 120.5}, "cron": "0 3 * * *"}),
    ],
)
def test_a_session_may_not_ask_for_longer_than_the_maximum(admin: APIClient, path: str, body: dict[str, Any]) -> None:
    refused = admin.post(path, body, format="json")
    assert refused.status_code == 400 and "up to 120, the maximum" in str(refused.json()["fields"])


def test_a_default_above_the_maximum_stops_the_start(settings: Any) -> None:
    day = timedelta(days=1)
    settings.APPROVALS = replace(settings.APPROVALS, timeout=day)
    (problem,) = run_checks(tags=["security"])
    assert problem.id == "approvals.E002" and problem.is_serious()
    assert "APPROVAL_DEFAULT_TIMEOUT_MINUTES (1440)" in problem.msg
    assert "APPROVAL_MAX_TIMEOUT_MINUTES (120)" in problem.msg
    settings.APPROVALS = replace(settings.APPROVALS, max_timeout=day)
    assert not run_checks(tags=["security"])


def test_the_default_is_never_above_a_maximum_that_alone_was_set(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("APPROVAL_MAX_TIMEOUT_MINUTES", "10")
    monkeypatch.delenv("APPROVAL_DEFAULT_TIMEOUT_MINUTES", raising=False)
    house = ApprovalSettings.from_env(Environment(), embedded=True)
    assert house.timeout == house.max_timeout == timedelta(minutes=10)


def test_nobody_is_asked_for_longer_than_the_maximum(bot: APIClient) -> None:
    refused = bot.post("/api/approvals", {"title": "x", "timeout_minutes": 121}, format="json")
    assert (refused.status_code, list(refused.json()["fields"])) == (400, ["timeout_minutes"])
    assert "up to 120, the maximum" in refused.json()["detail"]
    longest = bot.post("/api/approvals", {"title": "x", "timeout_minutes": 120}, format="json").json()
    assert 119 * 60 < longest["seconds_left"] <= 120 * 60


@pytest.mark.parametrize(
    "body",
    [
        {},
        {"title": ""},
        {"title": " "},
        {"title": "x" * 301},
        {"title": 1},
        {"title": "\0"},
        {"title": "x", "facts": []},
        {"title": "x", "facts": {"a": "\0"}},
        {"title": "x", "options": "ab"},
        {"title": "x", "options": [1]},
        {"title": "x", "options": ["a"] * 21},
        {"title": "x", "timeout_minutes": 0},
        {"title": "x", "timeout_minutes": -1},
        {"title": "x", "timeout_minutes": "5"},
        {"title": "x", "timeout_minutes": 1e300},
        {"title": "x", "callback": "https://example.org/"},
        {"title": "x", "callback": 1},
    ],
)
def test_an_ask_that_makes_no_sense_is_400(bot: APIClient, body: dict[str, Any]) -> None:
    assert bot.post("/api/approvals", body, format="json").status_code == 400
    assert not Approval.objects.exists()


def test_an_asker_sees_its_own_and_nothing_of_others(bot: APIClient) -> None:
    own = bot.post("/api/approvals", {"title": "mine"}, format="json").json()
    foreign = make_approval()
    assert [row["id"] for row in bot.get("/api/approvals").json()["results"]] == [own["id"]]
    assert bot.get(f"/api/approvals/{own['id']}").status_code == 200
    unknown = bot.get("/api/approvals/ffffffff-ffff-ffff-ffff-ffffffffffff")
    for answer in (bot.get(f"/api/approvals/{foreign.pk}"), act(bot, foreign, "cancel")):
        assert (answer.status_code, answer.json()) == (404, unknown.json())
    assert act(bot, foreign, "approve").status_code == 403


def test_the_requester_withdraws_a_question_and_may_say_so_twice(bot: APIClient, ben: APIClient) -> None:
    own = Approval.objects.get(pk=bot.post("/api/approvals", {"title": "mine"}, format="json").json()["id"])
    assert act(client_of(make_user(group="Operator")), own, "cancel").status_code == 403
    for _ in range(2):
        answer = act(bot, own, "cancel")
        assert (answer.status_code, answer.json()["status"]) == (200, "cancelled")
    assert act(ben, own, "approve").status_code == 409


def test_an_administrator_withdraws_what_others_asked() -> None:
    approval = make_approval()
    assert act(client_of(make_user("ada", group="Administrator")), approval, "cancel").json()["status"] == "cancelled"


def test_people_get_more_time_within_the_maximum(ben: APIClient) -> None:
    approval = make_approval(expires_at=timezone.now() + timedelta(minutes=30))
    shown = act(ben, approval, "extend", {"minutes": 30}).json()
    assert 3500 < shown["seconds_left"] <= 3600
    for minutes in (90, 0, -1, 1e300, "5", None, 10**400):
        body = json.dumps({"minutes": minutes}).encode()
        answer = ben.post(f"/api/approvals/{approval.pk}/extend", body, content_type="application/json")
        assert (answer.status_code, answer.json()["code"]) == (400, "invalid"), minutes
    act(ben, approval, "reject")
    assert act(ben, approval, "extend", {"minutes": 1}).status_code == 409


@pytest.mark.parametrize("seconds", ["61", "-1", "x", "1e3", "nan"])
def test_nobody_waits_longer_than_a_minute(ben: APIClient, seconds: str) -> None:
    approval = make_approval()
    assert ben.get(f"/api/approvals/{approval.pk}", {"wait": seconds}).status_code == 400


def test_waiting_for_what_is_closed_answers_at_once(ben: APIClient) -> None:
    approval = make_approval(status="approved")
    assert ben.get(f"/api/approvals/{approval.pk}?wait=60").json()["status"] == "approved"
