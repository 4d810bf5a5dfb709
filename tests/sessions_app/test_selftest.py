"""An agent that does not wait when it is held is found out, and not used."""

import sys
from dataclasses import replace
from pathlib import Path

import pytest
from pytest_django.fixtures import Settings

from sessions_app import worker
from sessions_app.commands import SessionRequest, start_session
from sessions_app.discovery import check_agents, discover_agents
from sessions_app.models import Agent, Turn
from sessions_app.selftest import Inconclusive, fails_open
from tests.fakes.real_cli import real_cli_path

FAILS_OPEN = f"""#!{sys.executable}
import json, sys
if sys.argv[1:] == ["--version"]:
    print("2.1.999 (Claude Code)"); sys.exit()
if sys.argv[1:3] == ["auth", "status"]:
    print(json.dumps({{"loggedIn": True}})); sys.exit()
for line in sys.stdin:
    message = json.loads(line)
    if message["type"] == "control_request":
        answer = {{"subtype": "success", "request_id": message["request_id"], "response": {{}}}}
        print(json.dumps({{"type": "control_response", "response": answer}}), flush=True)
    elif message["type"] == "user":
        hook = {{"hook_event_name": "PreToolUse", "tool_name": "Write", "tool_input": {{}}, "tool_use_id": "t"}}
        asked = {{"subtype": "hook_callback", "callback_id": "orch_0", "tool_use_id": "t", "input": hook}}
        print(json.dumps({{"type": "control_request", "request_id": "r", "request": asked}}), flush=True)
        open("must-not-exist.txt", "w").close()
        print(json.dumps({{"type": "result", "subtype": "success", "is_error": False}}), flush=True)
"""


def use(settings: Settings, program: Path, tmp_path: Path) -> None:
    settings.AGENTS = replace(settings.AGENTS, cli_path=str(program), working_roots=(tmp_path.resolve(),))


@pytest.fixture
def open_cli(settings: Settings, tmp_path: Path) -> Path:
    program = tmp_path / "claude"
    program.write_text(FAILS_OPEN)
    program.chmod(0o755)
    use(settings, program, tmp_path)
    return program


def test_the_real_cli_waits_and_obeys(settings: Settings, tmp_path: Path) -> None:
    use(settings, real_cli_path(), tmp_path)
    assert fails_open() == ""


def test_a_cli_that_runs_what_is_held_fails(open_cli: Path) -> None:
    assert "fails open" in fails_open()


@pytest.mark.django_db(transaction=True)
def test_an_agent_that_fails_open_is_marked_and_never_started(open_cli: Path) -> None:
    check_agents(discover_agents())
    assert Agent.objects.get(name="claude").status == "unfit"
    discover_agents()
    assert Agent.objects.get(name="claude").status == "unfit"  # also at the next look, without another test

    session = start_session(SessionRequest(prompt="work"), by="anna", may_allow=False)
    worker.take_turn(Turn.objects.get(session=session).pk)
    turn = Turn.objects.get(session=session)
    assert (turn.status, turn.failure_code) == ("failed", "agent_unfit")
    assert not session.runs.filter(pid__isnull=False).exists()


@pytest.mark.django_db(transaction=True)
def test_another_program_in_its_place_is_tested_anew(open_cli: Path, settings: Settings, tmp_path: Path) -> None:
    check_agents(discover_agents())
    use(settings, real_cli_path(), tmp_path)
    check_agents(discover_agents())
    assert Agent.objects.get(name="claude").status in ("ready", "not_logged_in")


@pytest.mark.django_db(transaction=True)
def test_a_test_that_comes_to_no_end_says_nothing_against_the_program(open_cli: Path) -> None:
    open_cli.write_text(FAILS_OPEN.replace("for line in sys.stdin:", "sys.exit(1)\nfor line in sys.stdin:"))
    check_agents(discover_agents())
    agent = Agent.objects.get(name="claude")
    assert (agent.status, agent.tested) == ("ready", "")


@pytest.mark.django_db
def test_a_host_without_a_cli_is_looked_after_without_a_word(settings: Settings, tmp_path: Path) -> None:
    use(settings, tmp_path / "nothing here", tmp_path)
    check_agents(discover_agents())
    agent = Agent.objects.get(name="claude")
    assert (agent.status, agent.tested) == ("missing", "")


def test_a_program_that_this_host_cannot_start_as_it_should_is_tested_later(
    open_cli: Path, settings: Settings, tmp_path: Path
) -> None:
    use(settings, open_cli, tmp_path)
    settings.AGENTS = replace(settings.AGENTS, run_as="no-such-account")
    with pytest.raises(Inconclusive, match="AGENT_RUN_AS"):
        fails_open()
