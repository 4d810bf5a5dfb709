"""The real CLI parks, everything is killed, and the very call that was approved runs once. ``CHAOS_PARKS`` rounds."""

import contextlib
import os
import time
from functools import partial
from pathlib import Path

import psutil
import pytest

from tests.fakes.real_cli import messages_api, real_cli_env, real_cli_path
from tests.stack import Stack, running, until

ROUNDS = int(os.environ.get("CHAOS_PARKS", "2"))
SCENARIO = {
    "named": {
        "park": [
            {"tool": "Bash", "input": {"command": "echo ran >> once.txt"}},
            "heard: {{last_tool_result}}",
        ]
    },
    "by": "position",
}


def kill_everything(stack: Stack) -> None:
    """SIGKILL for the runner and all below it, at once, as when the machine loses power for a moment."""
    for process in stack.processes():
        with contextlib.suppress(psutil.Error):
            process.kill()
    assert stack.process
    stack.process.wait(30)
    until(lambda: not stack.processes(), "everything is dead", 30)


@pytest.mark.timeout(60 + 60 * ROUNDS)
def test_a_parked_call_survives_the_death_of_everything_and_runs_once(tmp_path: Path) -> None:
    home = tmp_path / "home"
    home.mkdir()
    took = []
    with (
        messages_api(SCENARIO) as api,
        running(
            tmp_path / "stack",
            AGENT_CLI_PATH=str(real_cli_path()),
            APPROVAL_HOLD_SECONDS="0.5",
            **real_cli_env(api.url, home),
        ) as stack,
    ):
        for _ in range(ROUNDS):
            session = str(stack.call("POST", "/api/sessions", {"prompt": "scenario:park"}, expect=201)["id"])
            approval = stack.pending(session)
            until(partial(no_agent, session), "no process waits for the answer", 30)
            kill_everything(stack)
            stack.start()
            assert stack.call("GET", f"/api/sessions/{session}")["status"] == "waiting"
            assert stack.pending(session)["id"] == approval["id"]
            decided = time.monotonic()
            stack.call("POST", f"/api/approvals/{approval['id']}/approve", {}, expect=200)
            folder = Path(stack.call("GET", f"/api/sessions/{session}")["working_directory"])
            until((folder / "once.txt").exists, lambda: f"the call runs; log:\n{stack.log[-3000:]}")
            took.append(time.monotonic() - decided)
            ended = stack.ended(session)
            assert ended["status"] == "completed", ended
            assert (folder / "once.txt").read_text() == "ran\n"
            asked = stack.call("GET", f"/api/approvals?session={session}")["results"]
            assert [one["id"] for one in asked] == [approval["id"]]
    took.sort()
    print(f"answer to a run call, rounds: {ROUNDS}, p50 {took[len(took) // 2]:.2f} s, worst {took[-1]:.2f} s")


def no_agent(session: str) -> bool:
    return not agents(session)


def agents(session: str) -> list[psutil.Process]:
    """Processes of that dialog."""
    found = []
    for process in psutil.process_iter():
        with contextlib.suppress(psutil.Error):
            if any(word.endswith(f"={session}") for word in process.cmdline()):
                found.append(process)
    return found
