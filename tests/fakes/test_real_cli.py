"""The contract with the pinned real CLI, measured against a scripted model. Run it at every upgrade."""

import contextlib
import json
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.fakes.fake_cli import make_fake_cli
from tests.fakes.host import Host, asked_input, asked_name
from tests.fakes.real_cli import CLI_VERSION, messages_api, real_cli_env, real_cli_path

Start = Callable[..., Host]

WRITE = {"tool": "Write", "id": "toolu_w", "input": {"file_path": "a.txt", "content": "hello\n"}}
SAW = {"text": "saw: {{last_tool_result}}"}
TURN = [WRITE, SAW]


@pytest.fixture
def work(tmp_path: Path) -> Path:
    (tmp_path / "work").mkdir()
    return tmp_path / "work"


@pytest.fixture
def home(tmp_path: Path) -> Path:
    (tmp_path / "home").mkdir()
    return tmp_path / "home"


@pytest.fixture(params=["real", "fake"])
def start(request: pytest.FixtureRequest, tmp_path: Path, work: Path, home: Path) -> Iterator[Start]:
    """``start(...)`` starts the real CLI on the scripted model, or the fake on the same scenario: both must agree."""
    with contextlib.ExitStack() as stack:
        if request.param == "real":
            api = stack.enter_context(messages_api({"turns": TURN, "by": "position"}))
            argv, env = [str(real_cli_path())], real_cli_env(api.url, home)
        else:
            argv, env = [str(make_fake_cli(tmp_path / "fake", TURN))], {}

        def started(*options: str, more_env: dict[str, str] | None = None) -> Host:
            host = Host(argv, "--setting-sources=", *options, cwd=work, env={**env, **(more_env or {})})
            stack.enter_context(host)
            host.initialize()
            return host

        yield started


def test_the_binary_of_the_wheel_is_the_pinned_version() -> None:
    run = subprocess.run([real_cli_path(), "--version"], capture_output=True, text=True, check=True)
    assert run.stdout == f"{CLI_VERSION} (Claude Code)\n"


def test_the_pin_is_the_one_place_that_names_the_version() -> None:
    from claude_agent_sdk import _cli_version

    assert _cli_version.__cli_version__ == CLI_VERSION


def test_nothing_is_written_before_the_hook_allows_it_and_exactly_that_after(start: Start, work: Path) -> None:
    host = start()
    host.prompt("go")
    asked = host.ask()
    assert asked["request"]["subtype"] == "hook_callback"
    assert (asked_name(asked), asked["request"]["tool_use_id"]) == ("Write", "toolu_w")
    assert not (work / "a.txt").exists()
    host.allow(asked, {**asked_input(asked), "content": "changed\n"})
    result = host.result()
    assert_result(result, "success", False, "completed")
    assert result["result"].startswith("saw: File created successfully")
    assert (work / "a.txt").read_text() == "changed\n"
    assert host.close() == 0


def test_a_refusal_reaches_the_model_and_is_listed(start: Start, work: Path) -> None:
    host = start()
    host.prompt("go")
    host.deny(host.ask(), "not today")
    result = host.result()
    assert result["result"] == "saw: not today"
    assert [denial["tool_use_id"] for denial in result["permission_denials"]] == ["toolu_w"]
    assert list(work.iterdir()) == []


def test_a_deferred_call_is_replayed_with_its_id_and_input(start: Start, work: Path) -> None:
    first = start()
    first.prompt("go")
    asked = first.ask()
    first.defer(asked)
    result = first.result()
    assert_result(result, "success", False, "tool_deferred")
    assert result["deferred_tool_use"]["id"] == "toolu_w"
    assert first.close() == 0
    second = start(f"--resume={first.session}")
    replayed = second.ask()  # a hook_callback, or a can_use_tool if the CLI was quicker than our initialize
    assert replayed["request"]["tool_use_id"] == "toolu_w"
    assert asked_input(replayed) == asked_input(asked)
    second.allow(replayed)
    assert second.result()["result"].startswith("saw: File created")
    assert (work / "a.txt").read_text() == "hello\n"


def test_an_interrupt_withdraws_the_question(start: Start, work: Path) -> None:
    host = start("--include-partial-messages")
    host.prompt("go")
    asked = host.ask()
    if not any(map(ends_a_message, host.seen)):  # before its end the CLI would say "aborted_streaming"
        host.until(ends_a_message)
    host.control({"subtype": "interrupt"})
    withdrawn = host.until(lambda line: line["type"] == "control_cancel_request")
    assert withdrawn["request_id"] == asked["request_id"]
    assert_result(host.result(), "error_during_execution", True, "aborted_tools")
    host.allow(asked)
    host.close()
    assert list(work.iterdir()) == []


def test_sigterm_while_it_asks_ends_it_with_143(start: Start) -> None:
    host = start()
    host.prompt("go")
    host.ask()
    host.process.terminate()
    assert host.wait() == 143


def test_an_unknown_session_is_refused(start: Start) -> None:
    session = "99999999-2222-4333-8444-555555555555"
    with pytest.raises(AssertionError, match=f"No conversation found with session ID: {session}"):
        start(f"--resume={session}")


def test_the_fields_that_both_send_are_of_the_same_kind(
    tmp_path: Path, work: Path, home: Path, request: pytest.FixtureRequest
) -> None:
    """What the fake says, the real one says too: no field of the fake is an invention, no type differs."""
    with messages_api({"turns": TURN, "by": "position"}) as api:
        real = shapes(Host([str(real_cli_path())], cwd=work, env=real_cli_env(api.url, home)))
    (work / "a.txt").unlink()
    fake = shapes(Host([str(make_fake_cli(tmp_path / "fake", TURN))], cwd=work))
    for kind, fields in fake.items():
        assert kind in real
        assert fields.keys() <= real[kind].keys(), kind
        for name, types in fields.items():
            assert types <= real[kind][name], (kind, name)


def shapes(host: Host) -> dict[str, dict[str, set[str]]]:
    """Field names and JSON types per kind of line, in a turn with one allowed write."""
    with host:
        host.initialize()
        host.prompt("go")
        host.allow(host.ask())
        host.result()
        host.close()
    found: dict[str, dict[str, set[str]]] = {}
    for line in host.seen:
        inner = line["request"] if line["type"] == "control_request" else line
        kind = f"{line['type']}/{inner.get('subtype', '')}"
        for name, value in {**line, **inner}.items():
            found.setdefault(kind, {}).setdefault(name, set()).add(json_type(value))
    return found


def json_type(value: Any) -> str:
    if isinstance(value, (int, float)) and not isinstance(value, bool):
        return "number"
    return "null" if value is None else type(json.loads(json.dumps(value))).__name__


def ends_a_message(line: dict[str, Any]) -> bool:
    return line["type"] == "stream_event" and line["event"]["type"] == "message_stop"


def assert_result(line: dict[str, Any], subtype: str, is_error: bool, terminal_reason: str) -> None:
    assert (line["subtype"], line["is_error"], line["terminal_reason"]) == (subtype, is_error, terminal_reason)
