"""Where a call would run is part of what is asked: the agent may have gone elsewhere."""

from dataclasses import replace
from pathlib import Path

import pytest
from pytest_django import Settings

from approvals.models import Approval, Rule
from sessions_app.supervisor import permissions
from sessions_app.supervisor.cli.protocol import ToolRequest, parse
from sessions_app.supervisor.permission_outcome import PermissionOutcome
from tests.sessions_app.test_standing_rules import call, claimed, session_of

pytestmark = pytest.mark.django_db


@pytest.fixture
def folder(settings: Settings, tmp_path: Path) -> Path:
    settings.AGENTS = replace(settings.AGENTS, working_roots=(tmp_path.resolve(),))
    work = tmp_path.resolve() / "work"
    (work / ".git" / "hooks").mkdir(parents=True)
    (work / "notes.txt").write_text("x")
    return work


def test_the_callback_says_where_a_call_would_run() -> None:
    line = (
        b'{"type":"control_request","request_id":"r","request":{"subtype":"hook_callback","callback_id":"orch_0",'
        b'"input":{"hook_event_name":"PreToolUse","tool_name":"Bash","tool_input":{},"tool_use_id":"t","cwd":"/a/b"}}}'
    )
    request = parse(line)
    assert isinstance(request, ToolRequest) and request.folder == "/a/b"


def asked(folder: Path, request: ToolRequest) -> PermissionOutcome:
    claim = claimed(session_of("olga", working_directory=str(folder)))
    return permissions.request_permission(claim, request, plan="", surroundings=permissions.surroundings())


def test_people_are_shown_the_folder_in_which_it_would_run(folder: Path) -> None:
    asked(folder, replace(call(command="rm -rf ./*"), folder=str(folder / ".git")))
    approval = Approval.objects.get()
    assert approval.working_directory == str(folder / ".git")


def test_the_same_words_in_another_folder_are_another_call(folder: Path) -> None:
    claim = claimed(session_of("olga", working_directory=str(folder)))
    here = permissions._digest(claim, call(command="make"))
    there = permissions._digest(claim, replace(call(command="make"), folder=str(folder / ".git")))
    assert here != there
    assert here == permissions._digest(claim, replace(call(command="make"), folder=str(folder)))


def test_a_wide_rule_covers_no_protected_file_from_inside_its_folder(folder: Path) -> None:
    Rule.objects.create(effect="allow", tool="Bash", scope="everywhere")
    request = replace(call(command="cp ../evil hooks/pre-commit"), folder=str(folder / ".git"))
    assert asked(folder, request).effect == "wait"


@pytest.mark.parametrize("tool", ["Read", "Bash"])
def test_nothing_is_free_outside_of_the_sessions_folder(folder: Path, tmp_path: Path, tool: str) -> None:
    Rule.objects.create(effect="allow", tool="Bash", scope="everywhere")
    (tmp_path / "elsewhere").mkdir()
    arguments = {"file_path": "notes.txt"} if tool == "Read" else {"command": "make"}
    request = replace(call(tool, **arguments), folder=str(tmp_path / "elsewhere"))
    assert asked(folder, request).effect == "wait"


def test_a_sub_agent_with_a_checkout_of_its_own_is_asked(folder: Path) -> None:
    plain = {"description": "look", "prompt": "look", "subagent_type": "general-purpose"}
    assert asked(folder, call("Agent", **plain)).effect == "allow"
    assert asked(folder, call("Agent", **plain, isolation="worktree")).effect == "wait"
