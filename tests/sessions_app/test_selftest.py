"""An agent that does not wait when it is held is found out, and not used."""

import json
import sys
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from django.test import Client
from pytest_django.fixtures import Settings

from config.processes import advice
from sessions_app.agents.discovery import check_agents, discover_agents
from sessions_app.agents.selftest import Inconclusive, run_selftest, scenes
from sessions_app.commands import SessionRequest, start_session
from sessions_app.errors import UnfitAgent
from sessions_app.models import Agent, Turn
from sessions_app.supervisor import worker
from sessions_app.supervisor.cli import launch, protocol
from tests.factories import make_user, token_for
from tests.fakes.real_cli import real_cli_path


def without(given: Mapping[str, str], name: str) -> dict[str, str]:
    return {key: value for key, value in given.items() if key != name}


FAILS_OPEN = f"""#!/bin/sh
"exec" "{sys.executable}" "$0" "$@"
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
    assert run_selftest() == ""


NOT_ASKED_BY_ITS_RULES = {"cleanupPeriodDays": 3650}


@pytest.mark.parametrize(
    ("module", "name", "planted", "reason"),
    [
        (launch, "ALWAYS_SET", without(launch.ALWAYS_SET, "CLAUDE_CODE_DISABLE_FILE_MENTIONS"), "mentions with @"),
        (launch, "cli_settings", lambda **_: json.dumps(NOT_ASKED_BY_ITS_RULES), "own rules do not ask for every tool"),
        (protocol, "ENDED_EVENTS", (), "does not report what it ran"),
        (
            protocol,
            "defer",
            lambda request: protocol.allow(request, request.tool_input),
            "ran a call that was",
        ),
        (scenes, "LATE_S", 0.0, ""),  # nothing is lacking
    ],
    ids=["a mention in a prompt", "its own rules", "what ran is not reported", "no defer", "in time"],
)
def test_each_thing_that_a_cli_may_lack_is_found(
    settings: Settings,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    module: Any,
    name: str,
    planted: Any,
    reason: str,
) -> None:
    """The real CLI, started so that it behaves like one that lacks something."""
    use(settings, real_cli_path(), tmp_path)
    monkeypatch.setattr(module, name, planted)
    found = run_selftest()
    assert reason in found if reason else found == ""


def test_a_parked_call_that_runs_before_the_callback_is_registered_is_found(
    settings: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    use(settings, real_cli_path(), tmp_path)
    with scenes.SelfTest.prepared() as test:
        assert test.defers() == ""
        monkeypatch.setattr(launch, "cli_settings", lambda **_: json.dumps(NOT_ASKED_BY_ITS_RULES))
        assert "ran a parked call" in test.repeats_before_it_is_initialized()


def test_a_cli_that_runs_what_is_held_fails(open_cli: Path) -> None:
    assert "fails open" in run_selftest()


@pytest.mark.django_db(transaction=True)
def test_an_agent_that_fails_open_is_marked_and_never_started(open_cli: Path) -> None:
    session = start_session(SessionRequest(prompt="work"), by="anna", may_allow=False)
    check_agents(discover_agents())
    assert Agent.objects.get(name="claude").status == "unfit"
    discover_agents()
    assert Agent.objects.get(name="claude").status == "unfit"  # also at the next look, without another test

    worker.take_turn(Turn.objects.get(session=session).pk)
    turn = Turn.objects.get(session=session)
    assert (turn.status, turn.failure_code) == ("failed", "agent_unfit")
    assert not session.runs.filter(pid__isnull=False).exists()
    with pytest.raises(UnfitAgent):
        start_session(SessionRequest(prompt="work"), by="anna", may_allow=False)


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
        run_selftest()


@pytest.mark.django_db(transaction=True)
def test_no_turn_starts_before_its_program_has_proved_itself(open_cli: Path) -> None:
    discover_agents()  # found, and not tested yet
    session = start_session(SessionRequest(prompt="work"), by="anna", may_allow=False)
    worker.take_turn(Turn.objects.get(session=session).pk)
    turn = Turn.objects.get(session=session)
    assert (turn.status, turn.failure_code) == ("failed", "agent_unfit")
    assert "fails open" in turn.failure_detail


@pytest.mark.django_db(transaction=True)
def test_a_program_whose_test_came_to_no_end_is_not_used(open_cli: Path) -> None:
    open_cli.write_text(FAILS_OPEN.replace("for line in sys.stdin:", "sys.exit(1)\nfor line in sys.stdin:"))
    check_agents(discover_agents())
    session = start_session(SessionRequest(prompt="work"), by="anna", may_allow=False)
    worker.take_turn(Turn.objects.get(session=session).pk)
    turn = Turn.objects.get(session=session)
    assert (turn.status, turn.failure_code) == ("failed", "agent_unfit")
    assert "came to no end" in turn.failure_detail


@pytest.mark.django_db
@pytest.mark.parametrize(
    ("version", "status", "tested", "words"),
    [
        ("2.1.80", "unfit", False, "too old"),
        ("2.1.308", "unfit", False, "too old"),
        ("2.1.309", "ready", True, ""),
        ("2.1.332", "ready", True, ""),
        ("2.1.333", "ready", False, "newer than any that Orchestra was tested with"),
        ("3.0.0", "ready", False, "newer than any that Orchestra was tested with"),
    ],
)
def test_a_version_outside_of_what_was_tested_says_so(
    open_cli: Path, client: Client, version: str, status: str, tested: bool, words: str
) -> None:
    open_cli.write_text(FAILS_OPEN.replace("2.1.999", version))
    discover_agents()
    headers = {"Authorization": f"Token {token_for(make_user(group='Viewer'))}"}
    [agent] = [one for one in client.get("/api/agents", headers=headers).json()["results"] if one["name"] == "claude"]
    assert (agent["status"], agent["tested"]) == (status, tested)
    assert words in agent["detail"]
    assert words in dict(enumerate(line for _, line in advice())).get(1, "")
