"""The main job from end to end: real Daphne, real Celery workers, the real CLI; only the model's API is scripted."""

import os
import secrets
import signal
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from tests.fakes.real_cli import messages_api, real_cli_env, real_cli_path
from tests.stack import Stack, running, until

SCENARIOS = {
    "named": {
        "write-then-run": [
            {"tool": "Write", "id": "toolu_w", "input": {"file_path": "a.txt", "content": "exactly this é\n"}},
            "written: {{last_tool_result}}",
            {"tool": "Bash", "id": "toolu_b", "input": {"command": "touch forbidden.txt"}},
            "heard: {{last_tool_result}}",
        ],
        "hold": [
            {"tool": "Bash", "id": "toolu_h", "input": {"command": "touch held.txt"}},
            "held: {{last_tool_result}}",
        ],
        "long": [{"text": "word " * 400, "chunk": 10, "chunk_delay": 0.2}, "never"],
    },
    "by": "position",
}


@pytest.fixture(scope="module", params=["sqlite", "postgresql"])
def stack(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    folder = tmp_path_factory.mktemp(f"stack-{request.param}")
    servers = {}
    if request.param == "postgresql":
        servers = {
            "DATABASE_URL": request.getfixturevalue("fresh_database_url"),
            "REDIS_URL": request.getfixturevalue("fresh_redis_url"),
            "ORCHESTRA_SECRET_KEY": secrets.token_urlsafe(50),  # two stacks with one key would end each other's agents
            "ORCHESTRA_ALLOWED_HOSTS": "127.0.0.1",
            "ORCHESTRA_SELF_APPROVAL": "on",
            "ORCHESTRA_ENVIRONMENT": "development",
        }
    with messages_api(SCENARIOS) as api:
        home = folder / "home"
        home.mkdir()
        with running(folder, AGENT_CLI_PATH=str(real_cli_path()), **real_cli_env(api.url, home), **servers) as stack:
            yield stack


def start(stack: Stack, scenario: str) -> str:
    body = {"prompt": f"please do scenario:{scenario}"}
    return str(stack.call("POST", "/api/sessions", body, expect=201)["id"])


def test_a_write_approved_over_rest_runs_and_a_rejected_command_does_not(stack: Stack) -> None:
    session = start(stack, "write-then-run")
    approval = stack.pending(session)
    assert (approval["tool_name"], approval["tool_input"]["content"]) == ("Write", "exactly this é\n")
    folder = Path(stack.call("GET", f"/api/sessions/{session}")["working_directory"])
    assert not (folder / "a.txt").exists()
    stack.call(
        "POST", f"/api/approvals/{approval['id']}/approve", {"input_digest": approval["input_digest"]}, expect=200
    )
    first = stack.ended(session)
    assert first["status"] == "completed"
    assert (folder / "a.txt").read_text() == "exactly this é\n"

    stack.call("POST", f"/api/sessions/{session}/messages", {"prompt": "go on"}, expect=201)
    second = stack.pending(session)
    stack.call("POST", f"/api/approvals/{second['id']}/reject", {"reason": "not on my machine"}, expect=200)
    ended = stack.ended(session, turn=2)
    assert "not on my machine" in ended["turns"][1]["result"]
    assert not (folder / "forbidden.txt").exists()

    events = stack.call("GET", f"/api/sessions/{session}/events?limit=1000")["results"]
    assert [event["seq"] for event in events] == list(range(1, ended["last_seq"] + 1))
    kinds = [event["kind"] for event in events]
    assert kinds.count("prompt") == kinds.count("result") == 2
    assert kinds.index("tool_use") < kinds.index("tool_result") < kinds.index("result")


def test_a_killed_worker_leaves_no_process_and_its_open_question_stays_answerable(stack: Stack) -> None:
    session = start(stack, "hold")
    approval = stack.pending(session)
    agent = until(lambda: _agent(session), "the agent's process is there")
    os.kill(stack.worker("sessions").pid, signal.SIGKILL)
    until(
        lambda: not agent.is_running() or agent.status() == psutil.STATUS_ZOMBIE, "the agent dies with its worker", 15
    )
    detail = stack.call("GET", f"/api/sessions/{session}")
    assert detail["status"] == "waiting"
    stack.call("POST", f"/api/approvals/{approval['id']}/approve", {}, expect=200)
    ended = stack.ended(session)
    assert ended["status"] == "completed", ended
    assert (Path(ended["working_directory"]) / "held.txt").exists()


def test_a_worker_killed_while_the_agent_talks_takes_the_turn_up_again_or_says_why_not(stack: Stack) -> None:
    session = start(stack, "long")
    agent = until(lambda: _agent(session), "the agent's process is there")
    until(lambda: stack.call("GET", f"/api/sessions/{session}")["last_seq"] >= 3, "the agent has begun")
    os.kill(stack.worker("sessions").pid, signal.SIGKILL)
    until(
        lambda: not agent.is_running() or agent.status() == psutil.STATUS_ZOMBIE, "the agent dies with its worker", 15
    )
    again = until(lambda: _agent(session), "the turn is taken up again")
    assert again.pid != agent.pid
    stack.call("POST", f"/api/sessions/{session}/interrupt", {}, expect=200)
    assert stack.ended(session)["turns"][0]["status"] == "interrupted"


def _agent(session: str) -> psutil.Process | None:
    for process in psutil.process_iter():
        try:
            if any(word.endswith(f"={session}") for word in process.cmdline()) and "setpriv" not in process.name():
                return process
        except psutil.Error:
            continue
    return None
