"""The CLI's own plan file, and the plan that people are asked about. The model is scripted, the CLI is the real one."""

import os
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from pytest_django.fixtures import Settings

from approvals.commands import decide_approval
from approvals.errors import InvalidDecision
from approvals.models import Approval
from sessions_app.supervisor.cli import plan_files
from tests.dialog import Dialog, Start
from tests.factories import make_approval
from tests.sessions_app.test_real_cli import ECHO

pytestmark = pytest.mark.django_db(transaction=True)

EXIT = {"tool": "ExitPlanMode", "input": {}}


@pytest.fixture
def plan_file(tmp_path: Path) -> Path:
    """Where the CLI of `start` has its plans written."""
    return tmp_path / "home" / ".claude" / "plans" / "some-plan.md"


def writes(path: Path | str, content: str = "1. look\n2. leap") -> dict[str, Any]:
    return {"tool": "Write", "input": {"file_path": str(path), "content": content}}


def by_policy(dialog: Dialog) -> list[tuple[str, str, str]]:
    rows = Approval.objects.filter(session=dialog.session.pk, decided_via="policy").order_by("created_at")
    return list(rows.values_list("tool_name", "status", "reason"))


def test_the_plan_file_is_written_and_changed_without_asking_and_the_plan_is_shown(
    start: Start, plan_file: Path
) -> None:
    edit = {"tool": "Edit", "input": {"file_path": str(plan_file), "old_string": "leap", "new_string": "jump"}}
    dialog = start([writes(plan_file), edit, EXIT, ECHO], permission_mode="plan")
    asked = dialog.ask(3)
    assert (asked.kind, asked.body) == ("plan", "1. look\n2. jump")
    assert asked.title == "Plan: 1. look ⏎ 2. jump"
    reason = "the CLI's own plan file, in plan mode"
    assert by_policy(dialog) == [("Write", "approved", reason), ("Edit", "approved", reason)]
    dialog.answer("approved", 3)
    assert dialog.end().status == "completed"


def test_the_plan_file_is_writable_where_the_home_lies_in_the_data_folder(
    start: Start, plan_file: Path, settings: Settings, tmp_path: Path
) -> None:
    settings.ORCHESTRA = replace(settings.ORCHESTRA, data_dir=tmp_path)
    other = plan_file.with_name("other.md")
    dialog = start([writes(plan_file), writes(other), writes(plan_file.parent.parent / "x.md"), EXIT, ECHO],
                   permission_mode="plan")  # fmt: skip
    assert dialog.ask(4).body == "1. look\n2. leap"
    assert [status for _, status, _ in by_policy(dialog)] == ["approved", "rejected", "rejected"]
    assert not other.exists()
    dialog.answer("rejected", 4)
    dialog.end()


def test_outside_of_plan_mode_the_plan_file_is_a_file_as_any_other(start: Start, plan_file: Path) -> None:
    dialog = start([writes(plan_file), ECHO])
    assert dialog.ask().status == "pending"
    dialog.answer("rejected")
    dialog.end()
    assert not plan_file.exists()


def test_the_last_words_are_the_plan_where_there_is_no_file(start: Start) -> None:
    blocks = {"blocks": [{"type": "text", "text": "First I look."},
                         {"type": "tool_use", "id": "toolu_exit", "name": "ExitPlanMode", "input": {}}]}  # fmt: skip
    dialog = start([blocks, ECHO], permission_mode="plan")
    assert dialog.ask().body == "First I look."
    dialog.answer("approved")
    dialog.end()


def test_an_empty_plan_is_refused_at_once_and_the_model_is_told_why(start: Start) -> None:
    dialog = start([EXIT, ECHO], permission_mode="plan")
    turn = dialog.end()
    assert "the plan is empty" in turn.result
    assert [(tool, status) for tool, status, _ in by_policy(dialog)] == [("ExitPlanMode", "rejected")]
    assert not Approval.objects.filter(status="pending").exists()


def test_nobody_approves_an_empty_plan_that_was_asked_before() -> None:
    approval = make_approval(kind="plan", tool_name="ExitPlanMode", tool_input="{}", body=" ")
    with pytest.raises(InvalidDecision, match="holds no plan"):
        decide_approval(approval_id=approval.pk, decision="approved", by="boris", via="api")
    decide_approval(approval_id=approval.pk, decision="rejected", by="boris", via="api")


def test_a_plan_that_is_being_read_stays_as_it_is(start: Start, plan_file: Path) -> None:
    dialog = start([writes(plan_file), EXIT, ECHO], permission_mode="plan")
    dialog.ask(2)
    assert plan_files._is_being_read(dialog.session.pk)
    dialog.answer("approved", 2)
    dialog.end()
    assert not plan_files._is_being_read(dialog.session.pk)


def link_out(folder: Path, tmp_path: Path) -> Path:
    (tmp_path / "out.md").write_text("mine")
    (folder / "link.md").symlink_to(tmp_path / "out.md")
    return folder / "link.md"


def hard_link(folder: Path, tmp_path: Path) -> Path:
    (tmp_path / "out.md").write_text("mine")
    os.link(tmp_path / "out.md", folder / "hard.md")
    return folder / "hard.md"


@pytest.mark.parametrize(
    "path",
    [
        lambda folder, tmp: f"{folder}/../settings.md",
        lambda folder, tmp: f"{folder}/sub/x.md",
        lambda folder, tmp: f"{folder}/x.txt",
        lambda folder, tmp: f"{folder}/.hidden.md",
        lambda folder, tmp: f"{folder}/./x.md",
        lambda folder, tmp: f"{folder}/x\n.md",
        lambda folder, tmp: "plans/x.md",
        lambda folder, tmp: None,
        link_out,
        hard_link,
    ],
)
def test_nothing_else_is_a_plan_file(
    path: Callable[[Path, Path], Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    folder = tmp_path / ".claude" / "plans"
    folder.mkdir(parents=True)
    assert plan_files.plan_path(str(folder / "fine.md"))
    made = path(folder, tmp_path)
    assert plan_files.plan_path(str(made) if isinstance(made, Path) else made) == ""


def test_a_folder_of_plans_that_is_a_link_holds_none(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / ".claude").mkdir()
    (tmp_path / ".claude" / "plans").symlink_to(tmp_path / "elsewhere")
    assert plan_files.plan_path(str(tmp_path / ".claude" / "plans" / "x.md")) == ""
