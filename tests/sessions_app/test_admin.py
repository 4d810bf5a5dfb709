"""Sessions in the admin: read, started, continued and stopped, by those who may."""

import json

import pytest
from django.test import Client
from django.urls import reverse

from sessions_app.models import Agent, AgentSession, Event
from sessions_app.transcript import writer
from tests.factories import make_approval, make_session, make_turn, make_user

pytestmark = pytest.mark.django_db

LISTS = (
    "approvals_approval", "approvals_auditentry", "approvals_rule", "sessions_app_agentsession", "sessions_app_turn",
    "sessions_app_run", "sessions_app_event", "sessions_app_permissionrequest", "sessions_app_agent", "orchestra_lease",
    "orchestra_tally", "orchestra_idempotentrequest", "orchestra_signinlink", "knox_authtoken", "auth_user",
    "auth_group",
)  # fmt: skip


def signed_in(group: str) -> Client:
    client = Client()
    client.force_login(make_user(group=group, is_staff=True))
    return client


def page_of(session: AgentSession) -> str:
    return reverse("admin:sessions_app_agentsession_change", args=[session.pk])


def act(client: Client, session: AgentSession, name: str, **fields: str):
    form = {"act": name} | fields
    return client.post(reverse("admin:sessions_app_agentsession_act", args=[session.pk]), form, follow=True)


@pytest.mark.parametrize("name", LISTS)
def test_every_table_has_a_list_for_administrators(name):
    session = make_session()
    make_turn(session)
    writer.append(session.pk, [writer.line("text", text="hello")])
    make_approval(session=session.pk)
    assert signed_in("Administrator").get(reverse(f"admin:{name}_changelist")).status_code == 200


@pytest.mark.parametrize("name", LISTS)
def test_viewers_see_the_work_and_nothing_of_the_house(name):
    answer = signed_in("Viewer").get(reverse(f"admin:{name}_changelist"))
    assert answer.status_code == (200 if name.startswith(("approvals_", "sessions_app_")) else 403)


@pytest.mark.parametrize("name", LISTS)
def test_only_administrators_add_by_hand_and_never_what_the_machine_writes(name):
    by_hand = {"approvals_rule", "knox_authtoken", "auth_user", "auth_group"}
    assert signed_in("Approver").get(reverse(f"admin:{name}_add")).status_code == 403
    answer = signed_in("Administrator").get(reverse(f"admin:{name}_add"))
    expected = 200 if name in by_hand | {"sessions_app_agentsession"} else 403
    assert answer.status_code == expected


def test_a_session_shows_its_transcript_quoted_and_its_open_questions():
    session = make_session(title="Look \u202e here", status="waiting", agent="demo")
    make_turn(session)
    evil = "<script>alert(1)</script>\x1b[2J"
    writer.append(session.pk, [writer.line("text", text=evil), writer.line("tool_result", content=evil)])
    make_approval(session=session.pk, title="Bash: make deploy")
    page = signed_in("Viewer").get(page_of(session)).content.decode()
    assert "<script>alert" not in page
    assert not set(page) & set("\x1b\u202e")
    assert "Bash: make deploy" in page
    assert "demo: scripted, not an AI" in page
    assert 'name="act"' not in page


def test_a_long_transcript_shows_its_end_and_leads_to_the_rest():
    session = make_session()
    writer.append(session.pk, [writer.line("text", text=f"line {n} of many") for n in range(1, 301)])
    client = signed_in("Viewer")
    page = client.get(page_of(session)).content.decode()
    assert "line 300 of many" in page
    assert "line 100 of many" not in page
    assert "line 100 of many" in client.get(page_of(session) + "?before=101").content.decode()
    assert "line 1 of many" in client.get(page_of(session) + "?whole=1").content.decode()
    assert client.get(page_of(session) + "?before=x").status_code == 200


@pytest.mark.parametrize(
    "payload", ["{", "5", "[]", '{"content": 5}', '{"content": [5, {"type": "image"}]}', '{"name": null}']
)
@pytest.mark.parametrize("kind", Event.Kind.values)
def test_an_event_of_any_shape_is_shown_somehow(kind, payload):
    session = make_session()
    Event.objects.create(session=session, seq=1, kind=kind, payload=payload)
    assert signed_in("Viewer").get(page_of(session)).status_code == 200


def test_a_session_is_started_by_the_form():
    client = signed_in("Operator")
    address = reverse("admin:sessions_app_agentsession_add")
    assert client.get(address).status_code == 200
    answer = client.post(address, {"prompt": "Tidy up", "agent": "demo", "permission_mode": "default"}, follow=True)
    session = AgentSession.objects.get()
    assert (session.agent, session.turns.get().prompt) == ("demo", "Tidy up")
    assert answer.status_code == 200


@pytest.mark.parametrize(
    ("field", "value", "complaint"),
    [
        ("working_directory", "/etc", "outside the folders agents may work in"),
        ("disallowed_tools", "B((", "not a tool or Tool(pattern)"),
        ("max_turns", "-1", "A number from 1 to 10000"),
        ("prompt", " ", "This may not be empty"),
    ],
)
def test_what_cannot_be_a_session_is_said_at_its_field(field, value, complaint):
    form = {"prompt": "x", "agent": "demo", "permission_mode": "default"} | {field: value}
    page = signed_in("Operator").post(reverse("admin:sessions_app_agentsession_add"), form).content.decode()
    assert complaint in page
    assert not AgentSession.objects.exists()


def test_allowing_tools_in_advance_needs_the_right_to_decide():
    form = {"prompt": "x", "agent": "demo", "permission_mode": "acceptEdits"}
    page = signed_in("Operator").post(reverse("admin:sessions_app_agentsession_add"), form).content.decode()
    assert "needs the right to decide" in page
    assert not AgentSession.objects.exists()


def test_a_dialog_goes_on_is_interrupted_and_cancelled():
    session = make_session(status="completed")
    make_turn(session, status="completed")
    client = signed_in("Operator")
    act(client, session, "message", prompt="And now the docs")
    assert session.turns.get(number=2).prompt == "And now the docs"
    refused = act(client, session, "message", prompt="Too early")
    assert "still open" in refused.content.decode()
    assert "Too early" in refused.content.decode()
    act(client, session, "interrupt")
    act(client, session, "cancel")
    session.refresh_from_db()
    assert session.status == "cancelled"
    assert "cancelled" in act(client, session, "message", prompt="Hello?").content.decode()


def test_those_who_may_not_operate_stop_nothing():
    session = make_session()
    assert act(signed_in("Approver"), session, "cancel").status_code == 403
    session.refresh_from_db()
    assert session.status == "queued"


def test_agents_are_looked_for_again_by_an_action():
    agent = Agent.objects.create(name="claude", host="here", status="ready")
    form = {"action": "discover_now", "_selected_action": [str(agent.pk)]}
    answer = signed_in("Operator").post(reverse("admin:sessions_app_agent_changelist"), form, follow=True)
    assert answer.status_code == 200


def test_a_token_made_in_the_admin_is_shown_once():
    client = signed_in("Administrator")
    user = make_user("robot", group="Asker")
    page = client.post(reverse("admin:knox_authtoken_add"), {"user": user.pk}, follow=True).content.decode()
    assert "TOKEN" in page
    assert "TOKEN" not in client.get(reverse("admin:knox_authtoken_changelist")).content.decode()


def test_lists_cost_the_same_however_long_they_are(django_assert_max_num_queries):
    client = signed_in("Administrator")
    for _ in range(15):
        session = make_session()
        make_turn(session)
        writer.append(session.pk, [writer.line("text", text=json.dumps("hello"))])
    for name in ("agentsession", "turn", "event"):
        with django_assert_max_num_queries(8):
            client.get(reverse(f"admin:sessions_app_{name}_changelist"))
