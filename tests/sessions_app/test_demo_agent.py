"""The demo agent as its host sees it: a real process, raw lines."""

import re
import signal
import subprocess
import time
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from sessions_app import demo_agent
from sessions_app.demo_agent.script import FILE
from tests.fakes.host import Host, asked_input, asked_name

Start = Callable[..., Host]

LONG_COMMAND = "echo $$ > pid.new; mv pid.new pid; sleep 600"


def started_pid(work: Path) -> int:
    """The process id of LONG_COMMAND, once it runs."""
    while not (work / "pid").exists():
        time.sleep(0.01)
    return int((work / "pid").read_text())


def assert_gone(pid: int) -> None:
    """The process has ended, if only as a zombie that is not ours to reap."""
    status = Path(f"/proc/{pid}/status")
    while status.exists() and "State:\tZ" not in status.read_text():
        time.sleep(0.01)


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Start]:
    """``start(*options)`` starts the agent in one working directory with one state folder."""
    hosts: list[Host] = []
    work = tmp_path / "work"
    work.mkdir()

    def started(*options: str, env: dict[str, str] | None = None) -> Host:
        environment = {demo_agent.STATE_VARIABLE: str(tmp_path / "state"), **(env or {})}
        hosts.append(Host(demo_agent.command(), *options, cwd=work, env=environment))
        return hosts[-1]

    yield started
    for host in hosts:
        host.__exit__()


@pytest.fixture
def work(tmp_path: Path) -> Path:
    return tmp_path / "work"


def test_it_says_plainly_that_no_model_is_behind_it(start: Start) -> None:
    host = start()
    assert "demo" in host.initialize()["response"]["response"]["claude_code_version"]
    host.prompt("hello")
    host.ask()
    init = next(line for line in host.seen if line.get("subtype") == "init")
    assert init["model"] == "demo"
    assert "demo agent, no model is behind it" in host.said()


def test_allowed_calls_really_run_and_the_summary_says_so(start: Start, work: Path) -> None:
    host = start()
    host.initialize()
    host.prompt("hello there")
    bash = host.ask()
    assert asked_name(bash) == "Bash"
    host.allow(bash)
    write = host.ask()
    assert asked_name(write) == "Write"
    host.allow(write)
    result = host.result()
    assert (result["subtype"], result["is_error"], result["terminal_reason"]) == ("success", False, "completed")
    assert "hello there" in (work / FILE).read_text()
    assert "Linux" in host.said()
    assert "- Bash: done" in result["result"] and "- Write: done" in result["result"]
    assert host.close() == 0


def test_nothing_runs_before_the_answer(start: Start, work: Path) -> None:
    host = start()
    host.initialize()
    host.prompt("hello")
    host.allow(host.ask())
    host.ask()
    assert not (work / FILE).exists()


def test_it_runs_exactly_the_input_it_was_sent(start: Start, work: Path) -> None:
    host = start()
    host.initialize()
    host.prompt("hello")
    host.allow(host.ask(), {"command": "echo edited > proof.txt"})
    host.allow(host.ask(), {"file_path": str(work / "other.md"), "content": "edited\n"})
    host.result()
    assert (work / "proof.txt").read_text() == "edited\n"
    assert (work / "other.md").read_text() == "edited\n"
    assert not (work / FILE).exists()


def test_a_rejection_is_reported_with_its_reason_and_nothing_runs(start: Start, work: Path) -> None:
    host = start()
    host.initialize()
    host.prompt("hello")
    host.deny(host.ask(), "not on my machine")
    host.deny(host.ask(), "and no files")
    result = host.result()
    assert "not on my machine" in host.said() and "and no files" in host.said()
    assert "- Bash: not done" in result["result"]
    assert [denial["tool_name"] for denial in result["permission_denials"]] == ["Bash", "Write"]
    assert list(work.iterdir()) == []


def test_a_failing_command_is_told_with_its_exit_code(start: Start) -> None:
    host = start()
    host.initialize()
    host.prompt("hello")
    bash = host.ask()
    host.allow(bash, {"command": "echo oops; exit 3"})
    host.ask()
    told = host.tool_results()[bash["request"]["tool_use_id"]]
    assert told["is_error"] and told["content"] == "Exit code 3\noops"


def test_the_next_message_edits_the_file_of_the_first(start: Start, work: Path) -> None:
    first = start()
    first.initialize()
    first.prompt("one")
    first.allow(first.ask())
    first.allow(first.ask())
    first.result()
    assert first.close() == 0
    second = start(f"--resume={first.session}")
    second.initialize()
    second.prompt("two")
    edit = second.ask()
    assert asked_name(edit) == "Edit"
    second.allow(edit)
    second.result()
    assert "one" in (work / FILE).read_text() and "Turn 2: two" in (work / FILE).read_text()


def test_ask_me_opens_a_question_and_the_answer_comes_back(start: Start) -> None:
    host = start()
    host.initialize()
    host.prompt("Please ask me something")
    question = host.ask()
    given = asked_input(question)
    assert [option["label"] for option in given["questions"][0]["options"]] == ["Good morning", "Ahoy"]
    host.allow(question, {**given, "answers": {given["questions"][0]["question"]: "Ahoy"}})
    assert "Ahoy" in host.result()["result"]


def test_plan_mode_proposes_first_and_works_after_the_yes(start: Start, work: Path) -> None:
    host = start("--permission-mode=plan")
    host.initialize()
    host.prompt("hello")
    plan = host.ask()
    assert asked_name(plan) == "ExitPlanMode"
    host.allow(plan)
    host.allow(host.ask())
    host.allow(host.ask())
    host.result()
    assert (work / FILE).exists()


def test_a_rejected_plan_changes_nothing(start: Start, work: Path) -> None:
    host = start("--permission-mode=plan")
    host.initialize()
    host.prompt("hello")
    host.deny(host.ask(), "too bold")
    assert "too bold" in host.result()["result"]
    assert list(work.iterdir()) == []


def test_a_deferred_call_is_replayed_with_the_same_id_and_the_script_goes_on(start: Start, work: Path) -> None:
    first = start()
    first.initialize()
    first.prompt("hello")
    first.allow(first.ask())
    asked = first.ask()
    first.defer(asked)
    parked = first.result()
    assert (parked["terminal_reason"], parked["deferred_tool_use"]["name"]) == ("tool_deferred", "Write")
    assert first.close() == 0
    second = start(f"--resume={first.session}")
    second.initialize()
    replayed = second.ask()
    assert replayed["request"]["tool_use_id"] == asked["request"]["tool_use_id"]
    assert asked_input(replayed) == asked_input(asked)
    assert not (work / FILE).exists()
    second.allow(replayed)
    assert "- Write: done" in second.result()["result"]
    assert (work / FILE).exists()
    assert second.close() == 0


def test_a_killed_turn_can_be_taken_up_again_and_asks_anew(start: Start) -> None:
    first = start()
    first.initialize()
    first.prompt("hello")
    asked = first.ask()
    first.process.send_signal(signal.SIGKILL)
    first.wait()
    second = start(f"--resume={first.session}", env={"CLAUDE_CODE_RESUME_INTERRUPTED_TURN": "1"})
    second.initialize()
    again = second.ask()
    assert asked_input(again) == asked_input(asked)
    assert again["request"]["tool_use_id"] != asked["request"]["tool_use_id"]


def test_interrupt_ends_a_running_command_and_the_turn(start: Start, work: Path) -> None:
    host = start()
    host.initialize()
    host.prompt("hello")
    host.allow(host.ask(), {"command": LONG_COMMAND})
    command = started_pid(work)
    host.control({"subtype": "interrupt"})
    result = host.result()
    assert (result["subtype"], result["is_error"], result["terminal_reason"]) == (
        "error_during_execution",
        True,
        "aborted_tools",
    )
    assert_gone(command)


def test_sigterm_ends_it_with_143_and_takes_the_command_along(start: Start, work: Path) -> None:
    host = start()
    host.initialize()
    host.prompt("hello")
    host.allow(host.ask(), {"command": LONG_COMMAND})
    command = started_pid(work)
    host.process.send_signal(signal.SIGTERM)
    assert host.wait() == 143
    assert_gone(command)


def test_an_unknown_session_is_refused_like_the_real_one(start: Start) -> None:
    session = str(uuid.uuid4())
    host = start(f"--resume={session}")
    assert host.close() == 1
    assert f"No conversation found with session ID: {session}" in host.stderr()
    assert host.seen[-1]["errors"] == [f"No conversation found with session ID: {session}"]


def test_an_id_in_use_is_refused(start: Start) -> None:
    first = start()
    first.initialize()
    first.prompt("ask me")
    first.ask()
    second = start(f"--session-id={first.session}")
    assert second.close() == 1
    assert "already in use" in second.stderr()


def test_it_streams_when_partial_messages_are_wanted(start: Start) -> None:
    host = start("--include-partial-messages")
    host.initialize()
    host.prompt("hello")
    host.ask()
    deltas = [
        line["event"]["delta"] for line in host.seen if line["type"] == "stream_event" and "delta" in line["event"]
    ]
    text = "".join(delta["text"] for delta in deltas if delta.get("type") == "text_delta")
    assert text == host.said().replace("\n", "")


def test_version_names_it() -> None:
    run = subprocess.run([*demo_agent.command(), "--version"], capture_output=True, text=True, check=True)
    assert run.stdout == "0.1.0 (Orchestra demo agent)\n"


def readme_prompt() -> str:
    """The prompt that README gives for the terminal."""
    readme = (Path(__file__).parents[2] / "README.md").read_text()
    found = re.search(r'session start "([^"]+)" --agent demo', readme)
    assert found
    return found[1]


def test_the_prompt_of_the_readme_yields_the_file_it_names(start: Start, work: Path) -> None:
    prompt = readme_prompt()
    host = start()
    host.initialize()
    host.prompt(prompt)
    host.allow(host.ask())
    host.allow(host.ask())
    host.result()
    [written] = work.iterdir()
    assert written.name in prompt
    assert written.name == "hello.txt"
    host.prompt("Now write it in French")
    host.allow(host.ask())
    host.result()
    assert "Now write it in French" in written.read_text()


def test_the_reason_of_the_readme_is_heeded(start: Start, work: Path) -> None:
    host = start()
    host.initialize()
    host.prompt(readme_prompt())
    host.allow(host.ask())
    host.deny(host.ask(), "anna rejected this: use a temporary folder")
    again = host.ask()
    assert asked_input(again)["file_path"] == str(work / "tmp" / "hello.txt")
    host.allow(again)
    result = host.result()
    assert "use a temporary folder" in host.said() and "- Write: done" in result["result"]
    assert (work / "tmp" / "hello.txt").exists() and not (work / "hello.txt").exists()
    host.prompt("and more")
    assert asked_input(host.ask())["file_path"] == str(work / "tmp" / "hello.txt")


def test_another_file_named_in_the_reason_is_asked_for_once(start: Start, work: Path) -> None:
    host = start()
    host.initialize()
    host.prompt("hello")
    host.allow(host.ask())
    host.deny(host.ask(), "anna rejected this: call it notes.md")
    host.deny(host.ask(), "anna rejected this: no, other.md")
    assert "I stop here" in host.result()["result"]
    assert list(work.iterdir()) == []


@pytest.mark.parametrize(
    "reason", ["anna rejected this: stop, do nothing", "Nobody answered in time; do not retry, stop and report."]
)
def test_who_is_told_to_stop_stops(start: Start, work: Path, reason: str) -> None:
    host = start()
    host.initialize()
    host.prompt("hello")
    host.deny(host.ask(), reason)
    result = host.result()
    assert "I stop here" in result["result"] and "Next I would like" not in host.said()
    assert list(work.iterdir()) == []


def test_a_rejected_command_is_left_out_and_the_reason_is_repeated(start: Start) -> None:
    host = start()
    host.initialize()
    host.prompt("hello")
    host.deny(host.ask(), "anna rejected this: no commands on this machine")
    assert asked_name(host.ask()) == "Write"
    assert "I was told: no commands on this machine" in host.said()
    assert "It needs no command" in host.said()


def test_a_rejected_edit_leaves_the_file_and_says_so(start: Start, work: Path) -> None:
    host = start()
    host.initialize()
    host.prompt("one")
    host.allow(host.ask())
    host.allow(host.ask())
    host.result()
    before = (work / FILE).read_text()
    host.prompt("two")
    host.deny(host.ask(), "anna rejected this: enough")
    assert "I leave the file as it is" in host.result()["result"]
    assert (work / FILE).read_text() == before
