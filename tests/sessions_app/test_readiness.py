"""An agent known not to work is not preselected, is marked with the reason, and is refused before a turn is spent."""

import os
import pwd
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest
from django.test import Client
from django.utils import timezone
from pytest_django.fixtures import Settings

from sessions_app.agents.login import login_instructions
from sessions_app.forms import StartForm
from sessions_app.models import Agent, AgentSession, ScheduledRun, Turn
from sessions_app.schedules.commands import start_now
from tests.factories import client_of, make_schedule, make_session, make_turn, make_user

pytestmark = pytest.mark.django_db

BAD = [("not_logged_in", "not logged in"), ("missing", "no CLI found"), ("unfit", "unfit")]
CODES = {"not_logged_in": "not_logged_in", "missing": "cli_missing", "unfit": "agent_unfit"}


def agent(status: str, host: str = "build-01", *, name: str = "claude", **fields: Any) -> Agent:
    return Agent.objects.create(name=name, host=host, status=status, detail="Do this and that.", **fields)


def options(page: str) -> dict[str, tuple[str, bool]]:
    """Label and preselection of every agent in the form of that page."""
    select = page.split('name="agent"', 1)[1].split("</select>", 1)[0]
    found = {}
    for part in select.split("<option ")[1:]:
        head, _, rest = part.partition(">")
        found[head.split('"')[1]] = (rest.split("</option>")[0].strip(), "selected" in head)
    return found


def form_page(address: str, **account: Any) -> str:
    person = Client()
    person.force_login(make_user(group="Operator", **account))
    return person.get(address).content.decode()


@pytest.mark.parametrize(("status", "words"), BAD)
@pytest.mark.parametrize("address", ["/sessions/new", "/admin/sessions_app/agentsession/add/"])
def test_the_form_does_not_preselect_an_agent_that_cannot_work_and_says_why(
    address: str, status: str, words: str
) -> None:
    agent(status)
    agent("ready", name="demo")
    shown = options(form_page(address, is_staff=True))
    assert shown["claude"] == (f"claude ({words} on build-01)", False)
    assert shown["demo"] == ("demo: scripted, not an AI", True)


def test_one_ready_host_is_enough_and_what_nobody_looked_at_is_offered_first() -> None:
    assert StartForm()["agent"].value() == "claude"
    agent("missing", "a")
    agent("ready", "b")
    assert StartForm()["agent"].value() == "claude"
    assert dict(StartForm().fields["agent"].choices)["claude"] == "claude"


def test_an_agent_that_was_asked_for_is_selected() -> None:
    agent("missing")
    assert options(form_page("/sessions/new?agent=claude"))["claude"][1]


@pytest.mark.parametrize("status", CODES)
def test_rest_refuses_it_before_a_turn_is_spent(status: str) -> None:
    agent(status)
    answer = client_of(make_user(group="Operator")).post("/api/sessions", {"prompt": "Go"}, format="json")
    assert (answer.status_code, answer.json()["code"]) == (409, CODES[status])
    assert "Do this and that." in answer.json()["detail"]
    assert not Turn.objects.exists()


def test_the_form_shows_the_refusal_at_the_agent() -> None:
    agent("not_logged_in")
    person = Client()
    person.force_login(make_user(group="Operator"))
    form = {"prompt": "Go", "agent": "claude", "permission_mode": "default"}
    page = person.post("/sessions/new", form).content.decode()
    assert "Do this and that." in page
    assert not AgentSession.objects.exists()


def test_what_discovery_said_long_ago_refuses_nobody() -> None:
    agent("not_logged_in", last_seen_at=timezone.now() - timedelta(hours=1))
    answer = client_of(make_user(group="Operator")).post("/api/sessions", {"prompt": "Go"}, format="json")
    assert answer.status_code == 201


def test_the_next_message_looks_at_the_host_of_its_dialog() -> None:
    agent("ready", "a")
    agent("not_logged_in", "b")
    olga = client_of(make_user("olga", group="Operator"))
    for host, status in (("a", 201), ("b", 409)):
        session = make_turn(make_session(status="completed", host=host), status="completed").session
        said = olga.post(f"/api/sessions/{session.pk}/messages", {"prompt": "go on"}, format="json")
        assert said.status_code == status


def test_a_schedule_notes_why_it_started_nothing() -> None:
    agent("not_logged_in")
    olga = make_user("olga", group="Operator")
    run = start_now(
        schedule_id=make_schedule(requested_by="olga", session={"prompt": "Go", "agent": "claude"}).pk, user=olga
    )
    assert (run.status, run.session) == (ScheduledRun.Status.REFUSED, None)
    assert "Do this and that." in run.detail


# --- who must log in


def test_the_words_name_account_host_folders_and_the_command(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings.AGENTS = replace(settings.AGENTS, run_as="", config_dir="/srv/agents config", cli_path="/bin/true")
    monkeypatch.setenv("HOME", "/home/olga")
    words = login_instructions()
    me = pwd.getpwuid(os.getuid()).pw_name
    assert f"of the account {me} on {settings.ORCHESTRA.hostname} is not logged in" in words
    assert "HOME /home/olga, configuration in /srv/agents config" in words
    assert "`env HOME=/home/olga 'CLAUDE_CONFIG_DIR=/srv/agents config' /bin/true auth login`" in words


def test_another_account_is_reached_by_sudo(settings: Settings) -> None:
    other = next(one for one in pwd.getpwall() if one.pw_uid not in (0, os.getuid()))
    for name in (other.pw_name, str(other.pw_uid)):
        settings.AGENTS = replace(settings.AGENTS, run_as=name)
        assert f"`sudo -u {other.pw_name} env " in login_instructions()
