"""The truth: the pinned real CLI under the real supervisor; only the model's API is scripted."""

import json
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from pytest_django.fixtures import Settings

from approvals.commands import decide_approval
from approvals.models import Approval
from sessions_app.commands import interrupt_session
from sessions_app.models import Event, PermissionRequest, Turn
from tests.dialog import Start
from tests.fakes.real_cli import CLI_VERSION, real_cli_path
from tests.stack import until

pytestmark = pytest.mark.django_db(transaction=True)


def write(name: str, content: str) -> dict[str, Any]:
    return {"tool": "Write", "input": {"file_path": name, "content": content}}


def bash(command: str) -> dict[str, Any]:
    return {"tool": "Bash", "input": {"command": command}}


COLOUR = {"question": "Which?", "header": "H", "multiSelect": False,
          "options": [{"label": "Red", "description": "r"}, {"label": "Blue", "description": "b"}]}  # fmt: skip
ECHO = "heard: {{last_tool_result}}"


def test_the_cli_is_the_pinned_one() -> None:
    from sessions_app.supervisor.cli.process import CliProcess  # the way Orchestra starts it

    process = CliProcess.spawn([str(real_cli_path()), "--version"], {}, "/")
    said = until(lambda: process.wait(1).output, "a version")
    process.end()
    assert said.decode().startswith(CLI_VERSION)


def test_a_text_answer_is_the_result_and_costs_what_the_cli_says(start: Start) -> None:
    dialog = start(["hello there"])
    turn = dialog.end()
    assert (turn.status, turn.result, dialog.session.status) == ("completed", "hello there", "completed")
    assert turn.cost_usd > 0
    assert turn.input_tokens > 0
    assert turn.output_tokens > 0


def test_an_approved_write_creates_the_file_with_exactly_that_content(start: Start) -> None:
    content = 'tab\t quote" é 漢 \u202e \\ end\n'
    dialog = start([write("a.txt", content), ECHO])
    assert not (dialog.folder / "a.txt").exists()
    dialog.answer("approved")
    assert dialog.end().status == "completed"
    assert (dialog.folder / "a.txt").read_text() == content
    assert Approval.objects.get().consumed_at is not None
    assert PermissionRequest.objects.get().answered_at is not None


def test_a_rejection_reaches_the_model_with_its_reason(start: Start) -> None:
    dialog = start([bash("touch no.txt"), ECHO])
    dialog.answer("rejected", reason="use the staging host")
    assert "boris rejected this: use the staging host" in dialog.end().result
    assert not (dialog.folder / "no.txt").exists()


def test_an_edited_input_is_what_runs(start: Start) -> None:
    dialog = start([bash("touch asked.txt"), ECHO])
    dialog.answer("approved", updated_input='{"command": "touch edited.txt"}')
    dialog.end()
    assert [path.name for path in dialog.folder.iterdir()] == ["edited.txt"]
    approval = Approval.objects.get()
    assert approval.run_digest != approval.input_digest


def test_parallel_reads_are_asked_each_by_itself(start: Start) -> None:
    calls = [{"type": "tool_use", "name": "Read", "id": f"t{n}", "input": {"file_path": f"/etc/{name}"}}
             for n, name in enumerate(("hostname", "passwd", "group"))]  # fmt: skip
    dialog = start([{"blocks": calls}, "done"])
    dialog.ask(3)
    calls_asked = {approval.subject.rsplit(":", 1)[1]: approval.pk for approval in Approval.objects.all()}
    for call, verdict in (("t2", "approved"), ("t1", "rejected"), ("t0", "approved")):
        decide_approval(approval_id=calls_asked[call], decision=verdict, by="boris", via="api")
    assert dialog.end().status == "completed"
    spent = Approval.objects.filter(consumed_at__isnull=False).values_list("subject", flat=True)
    assert {subject.rsplit(":", 1)[1] for subject in spent} == {"t0", "t2"}
    refused = [e for e in Event.objects.filter(kind="tool_result") if json.loads(e.payload)["is_error"]]
    assert [json.loads(event.payload)["tool_use_id"] for event in refused] == ["t1"]


def test_an_interrupt_ends_the_turn_and_the_next_message_finds_the_dialog(start: Start) -> None:
    dialog = start([bash("touch never.txt"), "second answer"])
    dialog.ask()
    interrupt_session(session_id=dialog.session.pk, by="anna")
    assert dialog.end().status == "interrupted"
    assert dialog.session.status == "completed"
    assert Approval.objects.get().status == "cancelled"
    dialog.say("go on")
    turn = dialog.end()
    assert (turn.number, turn.status) == (2, "completed")
    assert not (dialog.folder / "never.txt").exists()


def test_the_next_message_resumes_the_conversation_after_the_process_ended(start: Start) -> None:
    dialog = start(["first", "you said: {{last_user}}"])
    dialog.end()
    first_cost = dialog.session.cost_usd
    dialog.say("remember me")
    turn = dialog.end()
    assert turn.result == "you said: remember me"
    assert dialog.session.cost_usd == pytest.approx(first_cost + turn.cost_usd)
    assert turn.cost_usd == pytest.approx(first_cost)  # the CLI's own total grows; a turn's cost does not


def test_a_question_is_answered_through_its_approval(start: Start) -> None:
    dialog = start([{"tool": "AskUserQuestion", "input": {"questions": [COLOUR]}}, ECHO])
    assert dialog.ask().kind == "question"
    dialog.answer("approved", answers='{"Which?": "Blue"}')
    assert '"Which?"="Blue"' in dialog.end().result


def test_a_plan_is_shown_and_approved(start: Start) -> None:
    plan = {"tool": "ExitPlanMode", "input": {"plan": "1. look\n2. leap"}}
    dialog = start([plan, "leapt"], permission_mode="plan")
    assert (dialog.ask().kind, dialog.ask().body) == ("plan", "1. look\n2. leap")
    dialog.answer("approved")
    assert dialog.end().result == "leapt"


def test_a_parked_call_runs_once_after_the_answer_without_asking_the_model_again(
    start: Start, settings: Settings
) -> None:
    settings.APPROVALS = replace(settings.APPROVALS, hold=timedelta(0))
    dialog = start([bash("echo once >> log.txt"), ECHO])
    parked = dialog.end()
    assert (parked.status, dialog.session.status) == ("running", "waiting")
    assert dialog.session.runs.filter(ended_at=None).count() == 0
    dialog.answer("approved")
    dialog.session.refresh_from_db()
    assert dialog.session.status == "queued"
    dialog.run()
    assert dialog.end().status == "completed"
    assert (dialog.folder / "log.txt").read_text() == "once\n"
    assert Approval.objects.count() == 1


PARKED: list[tuple[dict[str, Any], dict[str, Any], dict[str, Any], str]] = [
    (
        {"tool": "AskUserQuestion", "input": {"questions": [COLOUR]}}, {},
        {"answers": '{"Which?": "Blue"}'}, '"Which?"="Blue"',
    ),
    ({"tool": "ExitPlanMode", "input": {"plan": "1. look"}}, {"permission_mode": "plan"}, {}, "approved exiting plan"),
    (write("big.txt", "x" * 500_000), {}, {}, "created successfully"),
]  # fmt: skip


@pytest.mark.parametrize(("call", "wanted", "answer", "heard"), PARKED, ids=["question", "plan", "half a megabyte"])
def test_what_is_no_ordinary_call_can_be_parked_too(
    start: Start, settings: Settings, call: dict[str, Any], wanted: dict[str, Any], answer: dict[str, Any], heard: str
) -> None:
    settings.APPROVALS = replace(settings.APPROVALS, hold=timedelta(0))
    dialog = start([call, ECHO], **wanted)
    dialog.end()
    assert (dialog.session.status, dialog.session.runs.filter(ended_at=None).count()) == ("waiting", 0)
    dialog.answer("approved", **answer)
    dialog.run()
    ended = dialog.end()
    assert (ended.status, Approval.objects.count()) == ("completed", 1)
    assert heard in ended.result
    if call["tool"] == "Write":
        assert (dialog.folder / "big.txt").stat().st_size == 500_000


def test_a_call_too_large_for_the_cli_to_find_again_is_held(start: Start, settings: Settings) -> None:
    settings.APPROVALS = replace(settings.APPROVALS, hold=timedelta(0))
    dialog = start([write("big.txt", "x" * 2_000_000), ECHO])
    dialog.ask()
    assert dialog.thread
    dialog.thread.join(2)
    assert dialog.thread.is_alive()
    dialog.answer("approved")
    assert dialog.end().status == "completed"
    assert (dialog.folder / "big.txt").stat().st_size == 2_000_000


def test_a_cleaned_home_does_not_lose_a_parked_dialog(start: Start, settings: Settings, tmp_path: Path) -> None:
    settings.APPROVALS = replace(settings.APPROVALS, hold=timedelta(0))
    dialog = start([write("late.txt", "x"), ECHO])
    dialog.end()
    files = list((tmp_path / "home").rglob(f"{dialog.session.pk}.jsonl"))
    assert files
    for file in files:
        file.unlink()
    dialog.answer("approved")
    dialog.run()
    assert dialog.end().status == "completed"
    assert (dialog.folder / "late.txt").exists()


def test_a_parked_question_that_expired_is_refused_when_the_dialog_goes_on(start: Start, settings: Settings) -> None:
    settings.APPROVALS = replace(settings.APPROVALS, hold=timedelta(0), timeout=timedelta(seconds=3))
    dialog = start([bash("touch late.txt"), ECHO, "answer to the next prompt"])
    dialog.end()
    from approvals.commands import expire_due_approvals

    until(lambda: expire_due_approvals(batch=10), "the question expires")
    turn = Turn.objects.get()
    assert (turn.status, turn.failure_code) == ("failed", "approval_expired")
    dialog.say("and now?")
    ended = dialog.end()
    assert (ended.number, ended.status, ended.result) == (2, "completed", "answer to the next prompt")
    assert not (dialog.folder / "late.txt").exists()


@pytest.mark.parametrize(("status", "code"), [(401, "api_unauthorized"), (529, "api_overloaded")])
def test_a_failing_model_api_is_shown_as_such(start: Start, status: int, code: str) -> None:
    dialog = start([{"error": status, "repeat": 0}])
    turn = dialog.end()
    assert (turn.status, turn.failure_code) == ("failed", code)
    assert Event.objects.filter(kind="api_retry").exists()


def test_what_the_agent_runs_does_not_see_our_secrets(start: Start, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TELEGRAM_BOT_TOKEN", "123:canary-in-the-mine")
    dialog = start([bash("env > env.txt"), ECHO])
    dialog.answer("approved")
    dialog.end()
    seen = (dialog.folder / "env.txt").read_text()
    assert "canary-in-the-mine" not in seen
    assert "DATABASE_URL" not in seen
    assert "ORCHESTRA_SECRET_KEY" not in seen
    assert "ORCHESTRA_RUN=" in seen  # descendants carry the marker, so that they can be found
