"""A CLI that reads settings of its own works for administrators alone, whatever surface the prompt came from."""

import io
from pathlib import Path
from typing import Any

import pytest
from django.contrib.auth.models import Group, User
from django.core.management import CommandError, call_command
from django.test import Client

from orchestra.realtime.registry import Caller
from sessions_app import hub
from sessions_app.agents.setting_files import setting_files_problem
from sessions_app.commands import SessionRequest, send_message, start_session
from sessions_app.errors import SettingsNotAllowed
from sessions_app.models import AgentSession, Turn
from sessions_app.schedules import commands as schedules
from sessions_app.schedules.commands import Timing
from sessions_app.supervisor import leases
from sessions_app.supervisor.outcomes import Outcome
from sessions_app.supervisor.start import start_process
from tests.factories import client_of, make_session, make_user

pytestmark = pytest.mark.django_db
WORKER = leases.Worker(host="here", pid=1, started=1.0)
OPENED: dict[str, Any] = {"setting_sources": ["project"]}


@pytest.fixture
def olga() -> User:
    return make_user("olga", group="Operator")


@pytest.fixture
def ada() -> User:
    return make_user("ada", group="Administrator")


@pytest.fixture
def opened() -> AgentSession:
    """A session that reads the project's settings and waits for the next message."""
    return make_session(options=OPENED, status="completed", requested_by="ada")


def by_rest(user: User, session: AgentSession) -> str:
    answer = client_of(user).post(f"/api/sessions/{session.pk}/messages", {"prompt": "x"}, format="json")
    assert answer.status_code == 403
    return str(answer.json()["code"])


def by_hub(user: User, session: AgentSession) -> str:
    with pytest.raises(SettingsNotAllowed) as refused:
        hub.send_message(Caller(user, "127.0.0.1", by_cookie=False), {"session": str(session.pk), "prompt": "x"})
    return refused.value.code


def by_console(user: User, session: AgentSession) -> str:
    browser = Client()
    browser.force_login(user)
    page = browser.post(
        f"/sessions/{session.pk}/act", {"act": "message", "prompt": "x"}, headers={"HX-Request": "true"}
    )
    assert "only an administrator may start it or write into it" in page.content.decode()
    return "settings_not_allowed"


def by_terminal(user: User, session: AgentSession) -> str:
    with pytest.raises(CommandError, match="only an administrator"):
        call_command("session", "send", str(session.pk), "x", "--user", user.username, stdout=io.StringIO())
    return "settings_not_allowed"


@pytest.mark.parametrize("surface", [by_rest, by_hub, by_console, by_terminal])
def test_an_operators_message_is_refused(surface: Any, olga: User, opened: AgentSession) -> None:
    assert surface(olga, opened) == "settings_not_allowed"
    opened.refresh_from_db()
    assert (opened.status, opened.turns.count()) == ("completed", 0)


def test_an_administrators_message_is_taken_and_so_is_one_from_the_terminal(ada: User, opened: AgentSession) -> None:
    assert send_message(session_id=opened.pk, prompt="x", by="ada").number == 1
    other = make_session(options=OPENED, status="completed")
    assert send_message(session_id=other.pk, prompt="x", by="shell:root").number == 1


def test_nobody_else_starts_such_a_session(olga: User, ada: User) -> None:
    for by in ("olga", "nobody", ""):
        with pytest.raises(SettingsNotAllowed):
            start_session(SessionRequest(prompt="x", **OPENED), by=by, may_allow=True)
    session = start_session(SessionRequest(prompt="x", **OPENED), by="ada", may_allow=True)
    assert session.options["setting_sources"] == ["project"]


def test_a_schedule_whose_owner_lost_the_right_is_refused(ada: User) -> None:
    saved = schedules.save_schedule(
        user=ada, title="t", session={"prompt": "x", **OPENED}, timing=Timing(every_seconds=3600)
    )
    ada.groups.set(Group.objects.filter(name="Operator"))
    run = schedules.start_now(schedule_id=saved.pk, user=User.objects.get(pk=ada.pk))
    assert (run.status, "only an administrator" in run.detail) == ("refused", True)


@pytest.mark.parametrize("lost", [True, False], ids=["lost", "kept"])
def test_the_right_is_looked_at_again_when_the_process_would_start(ada: User, tmp_path: Path, lost: bool) -> None:
    session = start_session(SessionRequest(prompt="x", **OPENED), by="ada", may_allow=True)
    if lost:
        User.objects.filter(pk=ada.pk).update(is_active=False)
    claim = leases.claim_turn(Turn.objects.get(session=session).pk, WORKER)
    assert claim
    started = start_process(claim)
    if not isinstance(started, Outcome):
        started.end()
    code = started.code if isinstance(started, Outcome) else ""
    assert (code == "settings_not_allowed") is lost


@pytest.mark.parametrize("name", ["CLAUDE.md", ".claude/commands/x.md", ".claude/skills", ".claude"])
@pytest.mark.parametrize("where", ["outside", "secret", "inside"])
def test_links_out_of_the_project_are_not_followed(ada: User, tmp_path: Path, name: str, where: str) -> None:
    project = tmp_path / "project"
    targets = {"outside": tmp_path / "other", "secret": project / ".ssh", "inside": project / "docs"}
    targets[where].mkdir(parents=True)
    link = project / name
    link.parent.mkdir(parents=True, exist_ok=True)
    link.symlink_to(targets[where])
    assert (setting_files_problem(str(project)) == "") is (where == "inside")


def test_a_session_without_them_takes_everybodys_messages(olga: User) -> None:
    session = make_session(status="completed")
    assert send_message(session_id=session.pk, prompt="x", by="olga").number == 1
