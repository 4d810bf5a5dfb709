"""The front page and the first steps: what stands there, for whom, and what it costs."""

import json
from datetime import timedelta

import pytest
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from approvals.models import AuditEntry
from sessions_app.models import Agent, AgentSession, Event
from tests.factories import make_approval, make_session, make_user

pytestmark = pytest.mark.django_db


def signed_in(group: str = "Approver") -> Client:
    client = Client()
    client.force_login(make_user(group=group))
    return client


def text(client: Client, address: str = "/") -> str:
    answer = client.get(address)
    assert answer.status_code == 200, answer
    return answer.content.decode()


def fill(rows: int) -> None:
    """That many questions, sessions at work, sessions in line and closed questions."""
    for number in range(rows):
        session = make_session(title=f"Session {number}", status="running", agent="claude")
        Event.objects.create(session=session, seq=1, kind="text", payload=json.dumps({"text": "Looking around"}))
        make_session(title=f"Queued {number}")
        make_approval(session=session.pk, expires_at=timezone.now() + timedelta(minutes=30 + number))
        closed = make_approval(status="approved", decided_by="anna", decided_via="api", session=session.pk)
        AuditEntry.objects.create(approval=closed, action="approved", won=True, by="anna", via="api")


@pytest.mark.parametrize("group", ["Viewer", "Approver", "Administrator"])
def test_the_front_page_costs_at_most_fifteen_queries_whatever_the_rows(group: str) -> None:
    fill(60)
    client = signed_in(group)
    with CaptureQueriesContext(
        connection,
    ) as queries:
        page = text(client)
    assert "60 requests need" in page
    assert len(queries) <= 15, "\n".join(query["sql"][:150] for query in queries)


def test_what_ends_first_stands_first_and_whole_and_the_others_are_lines_without_buttons() -> None:
    late = make_approval(title="Bash: late", expires_at=timezone.now() + timedelta(hours=1))
    soon = make_approval(title="Bash: soon", expires_at=timezone.now() + timedelta(minutes=2))
    page = text(signed_in())
    assert page.index(f'id="ask-{soon.pk}"') < page.index(f'id="ask-{late.pk}"')
    assert page.count('<form class="ask-form"') == 1
    assert f"/approvals/{soon.pk}/decide" in page
    assert f"/approvals/{late.pk}/decide" not in page


def test_a_viewer_watches_without_a_button() -> None:
    make_approval()
    page = text(signed_in("Viewer"))
    assert "You are watching." in page
    assert "ask-form" not in page
    assert "/sessions/new" not in page


def test_whoever_started_it_is_told_that_somebody_else_must_answer() -> None:
    approver = make_user("olga", group="Approver")
    make_approval(requested_by="olga")
    client = Client()
    client.force_login(approver)
    page = text(client)
    assert "somebody else must answer" in page
    assert "ask-form" not in page


def test_a_newcomer_is_led_to_the_demo_and_back_home_once_there_is_a_session() -> None:
    client = signed_in("Operator")
    assert client.get("/")["Location"] == "/welcome"
    assert "Start the demo" in text(client, "/welcome")
    started = client.post("/sessions/demo")
    session = AgentSession.objects.get()
    assert (started.status_code, started["Location"]) == (302, f"/sessions/{session.pk}")
    assert session.agent == "demo"
    assert session.title in text(client)


def test_nobody_without_the_right_starts_anything() -> None:
    assert signed_in("Viewer").post("/sessions/demo").status_code == 403
    assert signed_in("Approver").post("/sessions/new", {"prompt": "x", "agent": "demo"}).status_code == 403
    assert not AgentSession.objects.exists()


@pytest.mark.parametrize(
    ("status", "told"),
    [
        ("missing", "npm install -g @anthropic-ai/claude-code"),
        ("not_logged_in", "but not logged in"),
        ("unfit", "It gets no work"),
        ("ready", "logged in. "),
    ],
)
def test_the_first_steps_say_what_is_wrong_with_the_agent_and_what_to_do(status: str, told: str) -> None:
    Agent.objects.create(name="claude", host="build-01", path="/usr/bin/claude", version="2.1.330", status=status)
    assert told in text(signed_in("Operator"), "/welcome")


def test_a_session_is_started_from_the_form_and_a_refusal_stands_at_its_field() -> None:
    client = signed_in("Operator")
    refused = client.post(
        "/sessions/new", {"prompt": "Tidy", "agent": "demo", "permission_mode": "default", "working_directory": "/etc"}
    )
    assert refused.status_code == 200
    assert 'class="error"' in refused.content.decode()
    assert "Tidy" in refused.content.decode()
    done = client.post("/sessions/new", {"prompt": "Tidy", "agent": "demo", "permission_mode": "default"})
    assert done.status_code == 302
    assert AgentSession.objects.get().title == "Tidy"
