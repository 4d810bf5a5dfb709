"""The REST door of sessions and agents."""

from typing import Any

import pytest
from django.utils import timezone
from pytest_django import DjangoAssertNumQueries
from rest_framework.test import APIClient

from approvals.models import Rule
from sessions_app.models import Agent, AgentSession, Run
from sessions_app.transcript import writer
from tests.factories import client_of, make_approval, make_session, make_turn, make_user

pytestmark = pytest.mark.django_db


@pytest.fixture
def olga() -> APIClient:
    return client_of(make_user("olga", group="Operator"))


def start(client: APIClient, **body: Any) -> Any:
    return client.post("/api/sessions", {"prompt": "Tidy up"} | body, format="json")


def test_an_operator_starts_a_session(olga: APIClient) -> None:
    answer = start(olga, title="Spring", agent="demo", model="sonnet", max_turns=3, metadata={"ticket": 7})
    assert answer.status_code == 201
    shown = answer.json()
    assert shown["requested_by"] == "olga"
    assert (shown["title"], shown["agent"], shown["model"], shown["status"]) == ("Spring", "demo", "sonnet", "queued")
    assert (shown["metadata"], shown["last_seq"], shown["parked"], shown["failure"]) == ({"ticket": 7}, 1, False, None)
    assert [(turn["number"], turn["prompt"], turn["status"]) for turn in shown["turns"]] == [(1, "Tidy up", "queued")]
    assert shown["pending_approvals"] == []
    assert AgentSession.objects.get().options == {"permission_mode": "default", "max_turns": 3}


def test_what_is_null_or_left_out_gets_its_default(olga: APIClient) -> None:
    assert start(olga, max_turns=None, max_budget_usd=None, approval_timeout_minutes=None).status_code == 201


def test_a_prompt_is_kept_as_it_is(olga: APIClient) -> None:
    prompt = "  --dangerously-skip-permissions\n\t"
    assert start(olga, prompt=prompt).json()["turns"][0]["prompt"] == prompt


def test_a_prompt_of_one_mebibyte_fits_and_a_longer_one_does_not(olga: APIClient) -> None:
    assert start(olga, prompt="x" * 1024 * 1024).status_code == 201
    answer = start(olga, prompt="x" * (1024 * 1024 + 1))
    assert (answer.status_code, list(answer.json()["fields"])) == (400, ["prompt"])


@pytest.mark.parametrize(
    ("name", "value"),
    [("append_system_prompt", "ж" * 70_000), ("disallowed_tools", [f"Bash({'x' * 400}{at})" for at in range(330)])],
)
def test_what_would_be_too_long_for_an_argument_of_a_program_is_400(olga: APIClient, name: str, value: object) -> None:
    answer = start(olga, **{name: value})
    assert (answer.status_code, list(answer.json()["fields"])) == (400, [name])


@pytest.mark.parametrize("directory", ["relative", "/etc", "/nonexistent", "/tmp/../etc", 5, ["/tmp"]])
def test_a_directory_outside_the_working_roots_is_400(olga: APIClient, directory: object) -> None:
    answer = start(olga, working_directory=directory)
    assert (answer.status_code, list(answer.json()["fields"])) == (400, ["working_directory"])


def test_allowing_tools_in_advance_needs_the_right_to_decide_ones_own_asks(settings: Any, olga: APIClient) -> None:
    ada = client_of(make_user("ada", group="Administrator"))
    for body in ({"allowed_tools": ["Bash(ls)"]}, {"permission_mode": "acceptEdits"}):
        for client in (olga, ada):
            answer = start(client, **body)
            assert (answer.status_code, answer.json()["code"]) == (403, "self_approval")
    assert start(olga, disallowed_tools=["Bash"], permission_mode="plan").status_code == 201


def test_who_may_decide_their_own_asks_allows_tools_in_advance(
    settings: Any, monkeypatch: pytest.MonkeyPatch, olga: APIClient
) -> None:
    from dataclasses import replace

    settings.APPROVALS = replace(settings.APPROVALS, self_approval=True)
    ada = client_of(make_user("ada", group="Administrator"))
    assert start(ada, allowed_tools=["Bash(ls)"]).status_code == 201
    assert Rule.objects.filter(scope="session", tool="Bash").count() == 1
    assert start(olga, allowed_tools=["Bash(ls)"]).status_code == 403


def test_only_an_administrator_lets_an_agent_read_settings_of_its_own(olga: APIClient) -> None:
    answer = start(olga, setting_sources=["project"])
    assert (answer.status_code, answer.json()["code"]) == (403, "settings_not_allowed")
    assert start(client_of(make_user("ada", group="Administrator")), setting_sources=["project"]).status_code == 201
    assert start(client_of(make_user("eda", group="Administrator")), setting_sources=["world"]).status_code == 400


def test_the_next_message_waits_for_the_turn_before_it(olga: APIClient) -> None:
    session = make_session()
    make_turn(session)
    path = f"/api/sessions/{session.pk}/messages"
    answer = olga.post(path, {"prompt": "and now?"}, format="json")
    assert (answer.status_code, answer.json()["code"]) == (409, "session_busy")
    session.turns.update(status="completed")
    AgentSession.objects.update(status="completed")
    answer = olga.post(path, {"prompt": "and now?"}, format="json")
    assert (answer.status_code, answer.json()["number"], answer.json()["prompt"]) == (201, 2, "and now?")
    assert olga.post(f"/api/sessions/{session.pk}/cancel").status_code == 200
    answer = olga.post(path, {"prompt": "and now?"}, format="json")
    assert (answer.status_code, answer.json()["code"]) == (409, "session_cancelled")


def test_interrupt_and_cancel_may_be_said_twice(olga: APIClient) -> None:
    session = make_turn().session
    for action, status in (
        ("interrupt", "completed"),
        ("interrupt", "completed"),
        ("cancel", "cancelled"),
        ("cancel", "cancelled"),
    ):
        answer = olga.post(f"/api/sessions/{session.pk}/{action}")
        assert (answer.status_code, answer.json()["status"]) == (200, status)


def test_a_session_shows_its_open_approvals_and_why_it_failed(olga: APIClient) -> None:
    session = make_session(status="failed", failure_code="cli_missing", failure_detail="No CLI was found.")
    make_turn(session, status="failed", failure_code="cli_missing", failure_detail="No CLI was found.", cost_usd=0.5)
    exact = '{"command": "ls", "n": 123456789012345678901234567890}'
    pending = make_approval(session=session.pk, tool_input=exact)
    make_approval(session=session.pk, status="rejected")
    make_approval()
    answer = olga.get(f"/api/sessions/{session.pk}")
    shown = answer.json()
    assert shown["failure"] == {"code": "cli_missing", "detail": "No CLI was found."}
    assert shown["turns"][0]["failure"] == shown["failure"]
    assert [approval["id"] for approval in shown["pending_approvals"]] == [str(pending.pk)]
    assert exact.encode() in answer.content


def test_a_waiting_session_without_a_process_is_parked(olga: APIClient) -> None:
    session = make_session(status="waiting")
    turn = make_turn(session, status="running")
    run = Run.objects.create(session=session, turn=turn, fence=1, host="h", worker_pid=1, worker_started=0.0)
    assert olga.get(f"/api/sessions/{session.pk}").json()["parked"] is False
    run.ended_at = timezone.now()
    run.save()
    assert olga.get(f"/api/sessions/{session.pk}").json()["parked"] is True
    assert olga.get("/api/sessions").json()["results"][0]["parked"] is True


def test_what_needs_a_person_comes_first(olga: APIClient) -> None:
    for status in ("completed", "queued", "waiting", "running", "failed", "waiting"):
        make_session(status=status, title=status)
    shown = [row["title"] for row in olga.get("/api/sessions").json()["results"]]
    assert shown == ["waiting", "waiting", "running", "queued", "failed", "completed"]
    by_title = [row["title"] for row in olga.get("/api/sessions?ordering=-title").json()["results"]]
    assert by_title == sorted(shown, reverse=True)


def test_sessions_are_found_by_status_agent_person_and_words(olga: APIClient) -> None:
    wanted = make_session(status="running", agent="demo", requested_by="max", title="Spring cleaning")
    make_turn(wanted, prompt="Sweep the ROOF")
    make_session()
    for query in ("status=running", "agent=demo", "requested_by=max", "search=spring", "search=roof"):
        assert [row["id"] for row in olga.get(f"/api/sessions?{query}").json()["results"]] == [str(wanted.pk)]
    assert olga.get("/api/sessions?search=nothing").json()["count"] == 0


def test_lists_and_details_cost_the_same_queries_at_any_size(
    olga: APIClient, django_assert_num_queries: DjangoAssertNumQueries
) -> None:
    for _ in range(10):
        session = make_turn(make_turn().session, number=2, status="completed").session
        make_approval(session=session.pk)
        make_approval(session=session.pk)
    with django_assert_num_queries(5):  # token (knox: two), rights, count, rows
        olga.get("/api/sessions")
    with django_assert_num_queries(6):  # token (two), rights, session, turns, approvals
        olga.get(f"/api/sessions/{session.pk}")


def test_events_come_in_order_from_where_one_was(olga: APIClient) -> None:
    session = make_session()
    exact = '{"n": 123456789012345678901234567890, "s": "\\ud800"}'
    writer.append(session.pk, [("text", f'{{"text": "{number}"}}') for number in range(4)] + [("raw", exact)])
    path = f"/api/sessions/{session.pk}/events"
    everything = olga.get(path)
    assert [event["seq"] for event in everything.json()["results"]] == [1, 2, 3, 4, 5]
    assert everything.json()["results"][0].keys() == {"seq", "kind", "at", "payload"}
    assert exact.encode() in everything.content
    piece = olga.get(f"{path}?after=2&limit=2").json()
    assert ([event["seq"] for event in piece["results"]], piece["last_seq"]) == ([3, 4], 5)
    assert olga.get(f"{path}?after=99").json() == {"results": [], "last_seq": 5}
    for wrong in ("after=-1", "after=x", "limit=0", "limit=1001", f"after={2**63}", "after=" + "9" * 50):
        assert olga.get(f"{path}?{wrong}").status_code == 400


def test_agents_show_what_they_are_busy_with(olga: APIClient) -> None:
    Agent.objects.create(name="claude", host="a", status="ready", version="2.1", logged_in=True)
    Agent.objects.create(name="claude", host="b", status="missing")
    for status, host in (("running", "a"), ("running", "a"), ("waiting", "a"), ("completed", "a"), ("running", "c")):
        make_session(status=status, host=host)
    first, second = olga.get("/api/agents").json()["results"]
    assert (first["host"], first["running"], first["waiting"], first["logged_in"]) == ("a", 2, 1, True)
    assert (second["host"], second["running"], second["waiting"], second["status"]) == ("b", 0, 0, "missing")


def test_an_operator_has_the_workers_look_for_agents(olga: APIClient) -> None:
    assert olga.post("/api/agents/discover").status_code == 202
