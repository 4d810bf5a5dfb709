"""Commands typed as a prompt: two are followed, the others say what to do, and a path is a path."""

import json
from io import StringIO
from typing import Any

import pytest
from django.core.management import call_command
from django.core.management.base import CommandError
from django.test import Client
from rest_framework.test import APIClient

from console.sessions.detail_views import _memory
from orchestra.errors import OrchestraError
from orchestra.realtime.registry import Caller
from sessions_app.commands import SessionRequest, send_message, start_session
from sessions_app.errors import CommandRefused, InvalidSession, SessionBusy, SettingsNotAllowed
from sessions_app.hub import send_message as send_over_hub
from sessions_app.models import AgentSession, Event, Turn
from sessions_app.prompts.slash_commands import KNOWN, command_in
from sessions_app.supervisor.cli.protocol import Result
from sessions_app.supervisor.outcomes import from_result
from sessions_app.transcript.render import describe_event
from tests.factories import client_of, make_approval, make_session, make_turn, make_user

pytestmark = pytest.mark.django_db


@pytest.fixture
def session() -> AgentSession:
    """A dialog whose turn failed because it had become too long, with a parked call left over."""
    fields = {"failure_code": "prompt_too_long", "failure_detail": "Too long.", "cost_usd": 1.5}
    session = make_session(status="failed", resumable=True, deferred_tool_use_id="toolu_old", **fields)
    make_turn(session, status="failed", **{name: fields[name] for name in ("failure_code", "failure_detail")})
    return session


WORDS = (
    "/etc/hosts is the file to read", "/tmp is full, tidy it up", "/nonesuch do", "/CLEAR", " /clear", "please /clear",
    "/stop, please", "//", "/", "/help: what", "/usr/bin/env", "/home", "/cost\u00e9",
)  # fmt: skip


@pytest.mark.parametrize("prompt", WORDS)
def test_what_is_no_command_is_sent_as_text(session: AgentSession, prompt: str) -> None:
    turn = send_message(session_id=session.pk, prompt=prompt, by="olga")
    assert (turn.status, turn.prompt) == ("queued", prompt)


def test_clear_gives_the_dialog_another_conversation_and_keeps_the_rest(session: AgentSession) -> None:
    turn = send_message(session_id=session.pk, prompt="/clear", by="olga")
    session.refresh_from_db()
    assert (turn.number, turn.status, turn.requested_by) == (2, "completed", "olga")
    assert "empty conversation" in turn.result and turn.finished_at is not None
    assert session.conversation and session.conversation_id == session.conversation != session.pk
    assert (session.resumable, session.deferred_tool_use_id, session.cost_usd) == (False, "", 1.5)
    assert (session.status, session.failure_code, session.failure_detail) == ("completed", "", "")
    told = [describe_event(event) for event in Event.objects.filter(session=session).order_by("seq")]
    assert [(one.speaker, one.heading[:16]) for one in told] == [("prompt 2", ""), ("conversation", "Cleared by olga:")]
    again = session.conversation
    send_message(session_id=session.pk, prompt="/new", by="olga")
    session.refresh_from_db()
    assert session.conversation not in (again, None)


def test_model_holds_for_the_turns_to_come(session: AgentSession) -> None:
    turn = send_message(session_id=session.pk, prompt="/model claude-haiku-4-5", by="olga")
    session.refresh_from_db()
    assert (session.model, session.conversation, session.resumable) == ("claude-haiku-4-5", None, True)
    assert turn.result == "The next messages go to the model claude-haiku-4-5."
    assert send_message(session_id=session.pk, prompt="/model default", by="olga").result.endswith("default model.")


@pytest.mark.parametrize(
    ("prompt", "says"),
    [
        ("/model", "name of one model"),
        ("/model two models", "name of one model"),
        ("/model --dangerous", "name of one model"),
        ("/clear the cache of the app", "Send /clear alone"),
        ("/compact", "/clear"),
        ("/cost", "GET /api/sessions"),
        ("/permissions", "Standing rules"),
        ("/login", "claude auth login"),
        ("/vim\nand more", "does nothing here"),
    ],
)
def test_another_command_says_what_to_do_and_how_to_send_it_as_text(
    session: AgentSession, prompt: str, says: str
) -> None:
    with pytest.raises(CommandRefused, match="put a blank before the slash") as refused:
        send_message(session_id=session.pk, prompt=prompt, by="olga")
    assert says in refused.value.detail
    assert Turn.objects.filter(session=session).count() == 1


def test_every_known_name_is_answered_by_a_sentence() -> None:
    for name in KNOWN:
        command = command_in(f"/{name}")
        assert command and (command.clears or command.problem.endswith("slash."))


@pytest.mark.parametrize("prompt", ["/clear", "/model sonnet", "/cost"])
def test_a_session_does_not_begin_with_a_command(prompt: str) -> None:
    with pytest.raises(InvalidSession) as refused:
        start_session(SessionRequest(prompt=prompt), by="olga", may_allow=True)
    assert "prompt" in str(refused.value.facts)
    assert not AgentSession.objects.exists()


def test_an_open_turn_refuses_it_and_attachments_do_not_go_with_it(session: AgentSession) -> None:
    with pytest.raises(CommandRefused, match="no attachments"):
        send_message(session_id=session.pk, prompt="/clear", by="olga", attachments=["a.txt"])
    busy = make_turn(make_session(status="running"), status="running").session
    with pytest.raises(SessionBusy):
        send_message(session_id=busy.pk, prompt="/clear", by="olga")
    busy.refresh_from_db()
    assert busy.conversation is None


def test_a_session_with_settings_of_the_clis_own_lets_the_cli_follow_all_but_these_two() -> None:
    make_user("ada", group="Administrator")
    session = make_session(status="completed", options={"setting_sources": ["project"]})
    make_turn(session, status="completed")
    with pytest.raises(SettingsNotAllowed):
        send_message(session_id=session.pk, prompt="/clear", by="olga")
    assert send_message(session_id=session.pk, prompt="/clear", by="ada").status == "completed"
    assert send_message(session_id=session.pk, prompt="/compact", by="ada").status == "queued"


def test_what_a_newer_cli_answers_itself_is_no_success() -> None:
    body = {"subtype": "success", "is_error": False, "result": "/brandnew isn't available in this environment."}
    outcome = from_result(Result(body))
    assert (outcome.status, outcome.code) == ("failed", "command_refused")
    assert "the model was not asked" in outcome.detail
    assert from_result(Result(body | {"terminal_reason": "completed"})).status == "completed", "the model said so"


# --- on every surface where a prompt is typed


def over_rest(session: AgentSession, prompt: str) -> str:
    olga: APIClient = client_of(make_user("olga", group="Operator"))
    answer = olga.post(f"/api/sessions/{session.pk}/messages", {"prompt": prompt}, format="json")
    body: dict[str, Any] = answer.json()
    assert (answer.status_code, body.get("code")) in ((201, None), (400, "command_refused"))
    return str(body.get("result") or body["detail"])


def on_the_page(session: AgentSession, prompt: str) -> str:
    olga = Client()
    olga.force_login(make_user("olga", group="Operator"))
    form = {"act": "message", "prompt": prompt}
    return olga.post(f"/sessions/{session.pk}/act", form, headers={"HX-Request": "true"}).content.decode()


def in_the_admin(session: AgentSession, prompt: str) -> str:
    olga = Client()
    olga.force_login(make_user("olga", group="Operator", is_staff=True))
    address = f"/admin/sessions_app/agentsession/{session.pk}/act/"
    return olga.post(address, {"act": "message", "prompt": prompt}, follow=True).content.decode()


def in_the_terminal(session: AgentSession, prompt: str) -> str:
    make_user("olga", group="Operator")
    out = StringIO()
    try:
        call_command("session", "send", str(session.pk), prompt, "--user", "olga", stdout=out)
    except CommandError as refused:
        return str(refused)
    return out.getvalue()


def over_the_hub(session: AgentSession, prompt: str) -> str:
    caller = Caller(user=make_user("olga", group="Operator"), address="", by_cookie=False)
    try:
        send_over_hub(caller, {"session": str(session.pk), "prompt": prompt})
    except OrchestraError as refused:
        return refused.detail
    return Turn.objects.filter(session=session).latest("number").result


SURFACES = [over_rest, on_the_page, in_the_admin, in_the_terminal, over_the_hub]


@pytest.mark.parametrize("surface", SURFACES)
def test_every_surface_says_that_it_was_cleared(session: AgentSession, surface: Any) -> None:
    assert "starts with an empty conversation" in surface(session, "/clear")
    session.refresh_from_db()
    assert session.conversation is not None


@pytest.mark.parametrize("surface", SURFACES)
def test_every_surface_says_what_to_do_instead(session: AgentSession, surface: Any) -> None:
    assert "put a blank before the slash" in surface(session, "/compact")


def test_the_page_says_what_the_agent_will_remember(session: AgentSession) -> None:
    assert _memory(session) == "The agent remembers everything above."
    send_message(session_id=session.pk, prompt="/clear", by="olga")
    session.refresh_from_db()
    assert _memory(session) == "The next message starts with an empty conversation."
    session.resumable = True
    assert _memory(session) == "The agent remembers what was said since it was cleared."


def test_an_approval_left_over_from_before_is_not_used_afterwards(session: AgentSession) -> None:
    left = make_approval(session=session.pk, status="approved", subject=f"session:{session.pk}:toolu_old")
    send_message(session_id=session.pk, prompt="/clear", by="olga")
    left.refresh_from_db()
    session.refresh_from_db()
    assert (session.deferred_tool_use_id, left.consumed_at) == ("", None)
    assert json.loads(Event.objects.filter(session=session, kind="prompt").get().payload)["text"] == "/clear"
