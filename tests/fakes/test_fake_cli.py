"""The fake CLI does what its scenarios say; a fake that lies would make every other test worthless."""

import contextlib
import json
import os
import signal
import subprocess
import time
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.fakes.fake_cli import CLOSING, children, make_fake_cli, read_ledger
from tests.fakes.host import Host, asked_input, asked_name

Start = Callable[..., Host]

WRITE: dict[str, Any] = {"tool": "Write", "id": "toolu_w", "input": {"file_path": "a.txt", "content": "hello\n"}}


@pytest.fixture
def fake(tmp_path: Path) -> Iterator[Path]:
    yield make_fake_cli(tmp_path / "fake")
    for pid in children(tmp_path / "fake"):
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)


@pytest.fixture
def work(tmp_path: Path) -> Path:
    (tmp_path / "work").mkdir()
    return tmp_path / "work"


@pytest.fixture
def start(fake: Path, work: Path) -> Iterator[Start]:
    """``start(steps)`` starts the fake with those steps in its prompt; ``start(None)`` sends no prompt."""
    with contextlib.ExitStack() as stack:

        def started(steps: list[Any] | None, *options: str, env: dict[str, str] | None = None) -> Host:
            host = stack.enter_context(Host([str(fake)], *options, cwd=work, env=env))
            host.initialize()
            if steps is not None:
                host.prompt(f"scenario:{json.dumps(steps)}")
            return host

        yield started


def test_it_answers_version_and_auth_status_like_the_real_one(fake: Path) -> None:
    version = subprocess.run([fake, "--version"], capture_output=True, text=True, check=True)
    assert version.stdout == "2.1.330 (Claude Code)\n"
    out = subprocess.run([fake, "auth", "status"], capture_output=True, text=True, env={}, check=False)
    assert (out.returncode, json.loads(out.stdout)["loggedIn"]) == (1, False)
    logged_in = subprocess.run(
        [fake, "auth", "status"], capture_output=True, env={"ANTHROPIC_API_KEY": "x"}, check=False
    )
    assert logged_in.returncode == 0


def test_an_unknown_flag_is_refused(fake: Path) -> None:
    run = subprocess.run([fake, "-p", "--no-such-flag"], capture_output=True, text=True, check=False)
    assert (run.returncode, run.stderr) == (1, "error: unknown option '--no-such-flag'\n")


def test_an_allowed_write_is_in_the_ledger_and_on_disk(start: Start, fake: Path, work: Path) -> None:
    host = start([WRITE, {"text": "saw: {{last_tool_result}}"}])
    asked = host.ask()
    assert (asked_name(asked), asked["request"]["tool_use_id"]) == ("Write", "toolu_w")
    assert read_ledger(fake.parent) == []
    host.allow(asked)
    result = host.result()
    assert result["result"].startswith("saw: File created successfully")
    assert (work / "a.txt").read_text() == "hello\n"
    [entry] = read_ledger(fake.parent)
    assert (entry["session"], entry["tool_use_id"], entry["tool"]) == (host.session, "toolu_w", "Write")
    assert json.loads(entry["input"]) == WRITE["input"]
    assert host.close() == 0


def test_the_ledger_holds_the_edited_input(start: Start, fake: Path) -> None:
    host = start([WRITE])
    host.allow(host.ask(), {"file_path": "b.txt", "content": "edited"})
    host.result()
    assert [json.loads(entry["input"])["content"] for entry in read_ledger(fake.parent)] == ["edited"]


def test_a_denied_call_runs_nothing_and_the_reason_reaches_the_model(start: Start, fake: Path, work: Path) -> None:
    host = start([WRITE, {"text": "saw: {{last_tool_result}}"}])
    host.deny(host.ask(), "no")
    result = host.result()
    assert result["result"] == "saw: no"
    assert result["permission_denials"] == [
        {"tool_name": "Write", "tool_use_id": "toolu_w", "tool_input": WRITE["input"]}
    ]
    assert read_ledger(fake.parent) == []
    assert list(work.iterdir()) == []


def test_commands_are_pretended_unless_told_otherwise(start: Start, work: Path) -> None:
    touch = {"tool": "Bash", "input": {"command": "touch made"}}
    host = start([touch, {**touch, "really": True}])
    host.allow(host.ask())
    second = host.ask()
    assert list(work.iterdir()) == []
    host.allow(second)
    host.result()
    assert (work / "made").exists()


def test_a_write_outside_the_working_directory_is_pretended(start: Start, fake: Path, tmp_path: Path) -> None:
    host = start([{"tool": "Write", "input": {"file_path": str(tmp_path / "out.txt"), "content": "x"}}])
    host.allow(host.ask())
    host.result()
    assert not (tmp_path / "out.txt").exists()
    assert len(read_ledger(fake.parent)) == 1


def test_changing_calls_of_one_message_are_asked_one_after_the_other(start: Start) -> None:
    host = start([{"tools": [{**WRITE, "id": "one"}, {**WRITE, "id": "two"}]}])
    first = host.ask()
    host.allow(first)
    second = host.ask()
    assert "one" in host.tool_results()
    host.deny(second, "no")
    assert [denial["tool_use_id"] for denial in host.result()["permission_denials"]] == ["two"]


def test_reading_calls_are_asked_all_at_once_and_answered_in_any_order(start: Start) -> None:
    reads = [
        {"tool": "Read", "id": f"r{number}", "input": {"file_path": "x"}, "output": f"{number}"} for number in range(3)
    ]
    host = start([{"tools": reads}])
    asks = [host.ask() for _ in range(3)]
    for ask in reversed(asks):
        host.allow(ask)
    host.result()
    assert list(host.tool_results()) == ["r2", "r1", "r0"]


def test_a_deferred_call_ends_the_turn_and_comes_back_on_resume(start: Start, fake: Path, work: Path) -> None:
    first = start([WRITE, {"text": "saw: {{last_tool_result}}"}])
    first.defer(first.ask())
    parked = first.result()
    assert (parked["stop_reason"], parked["terminal_reason"], parked["result"]) == (
        "tool_deferred",
        "tool_deferred",
        "",
    )
    assert parked["deferred_tool_use"] == {"id": "toolu_w", "name": "Write", "input": WRITE["input"]}
    assert first.close() == 0
    second = start(None, f"--resume={first.session}")
    again = second.ask()
    assert (again["request"]["tool_use_id"], asked_input(again)) == ("toolu_w", WRITE["input"])
    second.defer(again)
    assert second.result()["terminal_reason"] == "tool_deferred"
    assert second.close() == 0
    third = start(None, f"--resume={first.session}")
    third.allow(third.ask(), {**WRITE["input"], "content": "changed\n"})
    result = third.result()
    assert result["result"].startswith("saw: File created")
    assert (work / "a.txt").read_text() == "changed\n"
    assert third.close() == 0
    assert len(read_ledger(fake.parent)) == 1


def test_a_replay_can_come_before_initialize_is_answered(tmp_path: Path, work: Path) -> None:
    fake = make_fake_cli(tmp_path / "hasty", {"turns": [[WRITE]], "replay_first": True})
    with Host([str(fake)], cwd=work) as first:
        first.initialize()
        first.prompt("go")
        first.defer(first.ask())
        first.close()
    with Host([str(fake)], f"--resume={first.session}", cwd=work) as second:
        replayed = second.ask()
        assert replayed["request"]["subtype"] == "can_use_tool"
        assert replayed["request"]["tool_use_id"] == "toolu_w"
        assert not [line for line in second.seen if line["type"] == "control_response"]
        second.initialize()
        second.allow(replayed)
        second.result()
    assert (work / "a.txt").exists()


def test_a_prompt_sent_with_a_replay_becomes_a_second_turn(start: Start) -> None:
    first = start([WRITE])
    first.defer(first.ask())
    first.result()
    first.close()
    second = start([{"text": "second turn"}], f"--resume={first.session}")
    second.allow(second.ask())
    assert second.result()["result"] == CLOSING
    assert second.result()["result"] == "second turn"


def test_of_two_deferred_calls_the_first_vanishes(start: Start) -> None:
    first = start([{"tools": [{**WRITE, "id": "one"}, {**WRITE, "id": "two"}]}])
    first.defer(first.ask())
    first.defer(first.ask())
    assert first.result()["deferred_tool_use"]["id"] == "two"
    first.close()
    second = start(None, f"--resume={first.session}")
    assert second.ask()["request"]["tool_use_id"] == "two"


def test_a_killed_replay_is_still_deferred(start: Start) -> None:
    first = start([WRITE])
    first.defer(first.ask())
    first.close()
    second = start(None, f"--resume={first.session}")
    second.ask()
    second.process.kill()
    second.wait()
    third = start(None, f"--resume={first.session}")
    assert third.ask()["request"]["tool_use_id"] == "toolu_w"


def test_a_killed_call_is_asked_again_under_another_id_when_the_turn_is_taken_up(start: Start, fake: Path) -> None:
    first = start([WRITE, {"text": "done"}])
    first.ask()
    first.process.kill()
    assert first.wait() == -signal.SIGKILL
    second = start(None, f"--resume={first.session}", env={"CLAUDE_CODE_RESUME_INTERRUPTED_TURN": "1"})
    again = second.ask()
    assert (again["request"]["tool_use_id"], asked_input(again)) == ("toolu_w_2", WRITE["input"])
    second.allow(again)
    assert second.result()["result"] == "done"
    assert len(read_ledger(fake.parent)) == 1


def test_a_killed_call_is_told_as_unknown_when_only_a_prompt_follows(start: Start) -> None:
    first = start([WRITE])
    first.ask()
    first.process.kill()
    first.wait()
    second = start([{"text": "next"}], f"--resume={first.session}")
    assert second.result()["result"] == "next"


def test_a_call_inside_a_subagent_carries_its_agent_id_and_is_lost_by_defer(start: Start, fake: Path) -> None:
    host = start([{"subagent": [WRITE, WRITE]}])
    task = host.ask()
    assert asked_name(task) == "Task"
    host.allow(task)
    inner = host.ask()
    assert inner["request"]["input"]["agent_id"]
    host.allow(inner)
    host.defer(host.ask())
    result = host.result()
    assert (result["terminal_reason"], result["permission_denials"]) == ("completed", [])
    assert [entry["tool"] for entry in read_ledger(fake.parent)] == ["Task", "Write"]


def test_a_call_can_come_as_can_use_tool_although_a_hook_is_registered(start: Start, work: Path) -> None:
    host = start([{**WRITE, "via": "can_use_tool"}])
    asked = host.ask()
    assert asked["request"]["subtype"] == "can_use_tool"
    host.answer(asked, {"behavior": "allow", "updatedInput": WRITE["input"]})
    host.result()
    assert (work / "a.txt").exists()


def test_no_opinion_of_the_hook_leads_to_can_use_tool(start: Start) -> None:
    host = start([WRITE])
    host.answer(host.ask(), {})
    asked = host.ask()
    assert asked["request"]["subtype"] == "can_use_tool"
    host.answer(asked, {"behavior": "deny", "message": "no"})
    assert host.result()["permission_denials"]


def test_a_second_answer_and_a_stranger_are_ignored(start: Start, work: Path) -> None:
    host = start([WRITE, {"sleep": 0.2}])
    asked = host.ask()
    host.answer({"request_id": "nobody"}, {"behavior": "allow"})
    host.deny(asked, "no")
    host.allow(asked)
    host.result()
    assert list(work.iterdir()) == []


def test_questions_and_plans_are_asked_and_answered(start: Start) -> None:
    host = start(
        [{"question": "Which?", "options": ["a", "b"]}, {"plan": "1. it"}, {"text": "{{last_tool_result}}"}],
        "--permission-mode=plan",
    )
    asked = host.ask()
    given = asked_input(asked)
    host.allow(asked, {**given, "answers": {"Which?": "b"}})
    plan = host.ask()
    assert (asked_name(plan), asked_input(plan)) == ("ExitPlanMode", {})
    host.allow(plan)
    assert host.result()["result"] == "User has approved exiting plan mode. You can now proceed."
    assert any('"Which?"="b"' in block["content"] for block in host.tool_results().values())


def test_an_interrupt_withdraws_the_question_and_ends_the_turn(start: Start, fake: Path) -> None:
    host = start([WRITE])
    asked = host.ask()
    host.control({"subtype": "interrupt"})
    cancelled = host.until(lambda line: line["type"] == "control_cancel_request")
    assert cancelled["request_id"] == asked["request_id"]
    result = host.result()
    assert (result["subtype"], result["is_error"], result["terminal_reason"]) == (
        "error_during_execution",
        True,
        "aborted_tools",
    )
    host.prompt('scenario:[{"text": "still alive"}]')
    assert host.result()["result"] == "still alive"
    assert read_ledger(fake.parent) == []
    assert host.close() == 0


def test_an_interrupt_while_it_speaks_keeps_the_partial_text(start: Start) -> None:
    host = start([{"sleep": 600}])
    host.until(lambda line: line.get("subtype") == "init")
    host.control({"subtype": "interrupt"})
    assert host.result()["terminal_reason"] == "aborted_streaming"


def test_a_closed_stdin_refuses_the_open_call_and_finishes(start: Start, fake: Path) -> None:
    host = start([WRITE, {"text": "{{last_tool_result}}"}])
    host.ask()
    assert host.close() == 0
    assert "stream closed" in host.said()
    assert read_ledger(fake.parent) == []


def test_a_hook_that_is_never_answered_times_out_without_running(fake: Path, work: Path) -> None:
    with Host([str(fake)], cwd=work) as host:
        host.initialize({"PreToolUse": [{"matcher": "*", "hookCallbackIds": ["orch_0"], "timeout": 0.2}]})
        host.prompt(f"scenario:{json.dumps([WRITE])}")
        host.ask()
        result = host.result()
    assert result["permission_denials"] == []
    assert "did not respond before its timeout" in host.tool_results()["toolu_w"]["content"]
    assert read_ledger(fake.parent) == []


def test_a_line_that_is_no_json_kills_it(start: Start) -> None:
    host = start(None)
    assert host.process.stdin
    host.process.stdin.write(b"this is not json\n")
    host.process.stdin.flush()
    assert host.wait() == 1
    assert "Error parsing streaming input line" in host.stderr()


def test_costs_grow_over_resumes_and_differences_are_told(start: Start) -> None:
    first = start([WRITE])
    first.allow(first.ask())
    one = first.result()
    first.close()
    second = start([{"text": "x"}], f"--resume={first.session}")
    two = second.result()
    assert one["total_cost_usd"] == pytest.approx(0.00036)
    assert two["total_cost_usd"] == pytest.approx(0.00054)
    assert two["model_usage_since_last_result"]["claude-fake"]["costUSD"] == pytest.approx(0.00018)


def test_unknown_and_used_ids_are_refused(start: Start, fake: Path, work: Path) -> None:
    session = uuid.uuid4()
    with Host([str(fake)], f"--resume={session}", cwd=work) as unknown:
        assert unknown.close() == 1
        assert f"No conversation found with session ID: {session}" in unknown.stderr()
        assert unknown.seen[-1]["num_turns"] == 0
    first = start([{"text": "x"}])
    first.result()
    with Host([str(fake)], f"--session-id={first.session}", cwd=work) as used:
        assert used.close() == 1
        assert "already in use" in used.stderr()


def test_a_scenario_file_gives_each_turn_its_steps(tmp_path: Path, work: Path) -> None:
    scenario = {"turns": [[{"text": "one"}], [{"text": "two"}]]}
    fake = make_fake_cli(tmp_path / "with", scenario)
    with Host([str(fake)], cwd=work) as host:
        host.initialize()
        for expected in ("one", "two", "two"):
            host.prompt("go")
            assert host.result()["result"] == expected


def test_the_environment_names_scenario_and_ledger(tmp_path: Path, fake: Path, work: Path) -> None:
    (tmp_path / "s.json").write_text(json.dumps([WRITE]))
    env = {"ANTHROPIC_FAKE_SCENARIO": str(tmp_path / "s.json"), "ANTHROPIC_FAKE_LEDGER": str(tmp_path / "ledger.jsonl")}
    with Host([str(fake)], cwd=work, env=env) as host:
        host.initialize()
        host.prompt("go")
        host.allow(host.ask())
        host.result()
    assert len(read_ledger(tmp_path)) == 1


def test_it_can_stay_silent_from_the_start(tmp_path: Path, work: Path) -> None:
    fake = make_fake_cli(tmp_path / "mute", {"start": [{"ignore": "TERM"}, {"hang": True}], "turns": []})
    with Host([str(fake)], cwd=work) as host:
        host.control({"subtype": "initialize"})
        time.sleep(0.5)
        host.process.terminate()
        time.sleep(0.2)
        assert host.process.poll() is None
        assert host.seen == []


@pytest.mark.parametrize(
    ("steps", "code"),
    [
        ([{"exit": 0}], 0),
        ([{"exit": 137}], 137),
        ([{"kill": "KILL"}], -9),
        ([{"raw": '{"type":"assist', "newline": False}, {"exit": 1}], 1),
    ],
)
def test_it_dies_as_told_without_a_result(start: Start, steps: list[Any], code: int) -> None:
    host = start(steps)
    assert host.wait() == code
    assert not [line for line in host.seen if line["type"] == "result"]


def test_it_dies_once_and_goes_on_after_the_resume_unless_told_again(start: Start) -> None:
    env = {"CLAUDE_CODE_RESUME_INTERRUPTED_TURN": "1"}
    once = start([{"exit": 3}, {"text": "back"}])
    assert once.wait() == 3
    assert start(None, f"--resume={once.session}", env=env).result()["result"] == "back"
    always = start([{"exit": 3, "again": True}])
    assert always.wait() == 3
    assert start(None, f"--resume={always.session}", env=env).wait() == 3


def test_strange_output_passes_as_told(start: Start) -> None:
    host = start(
        [
            {"raw": "not json"},
            {"raw_hex": "fffe"},
            {"emit": {"type": "never_heard_of"}},
            {"long_line": 2_000_000},
            {"flood": 500},
            {"api_retry": 401, "times": 2},
            {"stderr": "hm"},
            {"text": "\ud83d and é"},
        ]
    )
    host.result()
    assert [line["raw"] for line in host.seen if line["type"] == "garbage"] == [b"not json\n", b"\xff\xfe\n"]
    assert [line for line in host.seen if line["type"] == "never_heard_of"]
    assert max(len(line.get("content", "")) for line in host.seen) == 2_000_000
    assert len([line for line in host.seen if line.get("subtype") == "informational"]) == 501
    assert [line["error_status"] for line in host.seen if line.get("subtype") == "api_retry"] == [401, 401]
    assert "\ud83d and é" in host.said()


def test_a_big_input_arrives_whole_in_one_line(start: Start, work: Path) -> None:
    host = start([{**WRITE, "fill": 1_000_000}])
    asked = host.ask()
    assert len(asked_input(asked)["content"]) == 1_000_000
    host.allow(asked, asked_input(asked))
    host.result()
    assert (work / "a.txt").stat().st_size == 1_000_000


def test_a_result_line_can_be_written_by_the_scenario(start: Start) -> None:
    fields = {"subtype": "success", "is_error": True, "terminal_reason": "api_error", "api_error_status": 529}
    host = start([{"result": fields}])
    result = host.result()
    assert {key: result[key] for key in fields} == fields
    assert host.close() == 1


def test_it_can_linger_after_the_result(start: Start) -> None:
    host = start([{"linger": 600}, {"text": "x"}])
    host.result()
    assert host.process.stdin
    host.process.stdin.close()
    time.sleep(0.5)
    assert host.process.poll() is None
    host.process.terminate()
    assert host.wait() == 143


def test_a_grandchild_can_outlive_it_and_keep_stdout_open(start: Start, fake: Path) -> None:
    host = start([{"spawn": "exec sleep 600", "setsid": True, "stdout": True}, {"exit": 0}])
    assert host.process.wait(60) == 0
    [child] = children(fake.parent)
    os.kill(child, 0)
    os.kill(child, signal.SIGKILL)
    assert host.wait() == 0


def test_sigterm_ends_it_with_143_while_it_asks(start: Start) -> None:
    host = start([WRITE])
    host.ask()
    host.process.terminate()
    assert host.wait() == 143
