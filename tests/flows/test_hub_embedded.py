"""The live hub of the embedded mode (SQLite, Valkey, the demo agent), and the examples of docs/api.md."""

import contextlib
import json
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from tests.hub import Client, client
from tests.stack import ENDS_WITH_US, PATIENCE_S, ROOT, Stack, running, until

API = (ROOT / "docs" / "api.md").read_text()


@pytest.fixture(scope="module")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    with running(tmp_path_factory.mktemp("hub")) as stack:
        yield stack


def decided(mine: Client, *, approved: bool) -> str:
    """Answer the next request as it is told; which approval it was."""
    asked = mine.until(lambda message: message.get("kind") == "approval.requested")["payload"]["id"]
    assert mine.ask("decide", approval=asked, approved=approved)["approval"] == asked
    return str(asked)


def test_a_session_from_start_to_end_over_one_socket(stack: Stack) -> None:
    with client(stack.port, stack.token) as mine:
        mine.subscribe("approvals")
        mine.subscribe("sessions")
        session = mine.ask("start_session", prompt="Write hello.txt", agent="demo")["session"]
        topic = f"session:{session}"
        mine.subscribe(topic)
        first, second = decided(mine, approved=True), decided(mine, approved=False)
        for approval, status in ((first, "approved"), (second, "rejected")):
            assert mine.event("approval.changed", id=approval, status=status)["payload"]["decided_via"] == "websocket"
        mine.event("session.changed", id=session, status="completed")
        mine.event("result", topic)
        assert mine.until(lambda message: message["type"] == "delta")["topic"] == topic
    with client(stack.port, stack.token) as again:
        rows = stack.call("GET", f"/api/sessions/{session}/events?limit=1000", expect=200)["results"]
        again.subscribe(topic, after=3)
        seen = again.events(topic, len(rows) - 3)
        assert [(e["seq"], e["kind"], e["payload"]) for e in seen] == [
            (row["seq"], row["kind"], row["payload"]) for row in rows[3:]
        ]


def example(stack: Stack, language: str) -> str:
    """The block of docs/api.md in that language, with this stack's port."""
    (block,) = re.findall(rf"^```{language}\n(.*?)^```$", API, re.M | re.S)
    assert "127.0.0.1:5284" in block
    return str(block).replace(":5284", f":{stack.port}")


def demo(stack: Stack) -> str:
    return str(stack.call("POST", "/api/sessions", {"prompt": "Write hello.txt", "agent": "demo"}, expect=201)["id"])


def test_the_program_in_the_docs_watches_and_decides(stack: Stack, tmp_path: Path) -> None:
    session = demo(stack)
    first = stack.pending(session)
    said = tmp_path / "said.txt"

    def status(approval: str) -> str:
        return str(stack.call("GET", f"/api/approvals/{approval}", expect=200)["status"])

    with said.open("w") as out, subprocess.Popen(
        [*ENDS_WITH_US, sys.executable, "-uc", example(stack, "python")], stdin=subprocess.PIPE, stdout=out,
        stderr=subprocess.STDOUT, env=os.environ | {"ORCHESTRA_TOKEN": stack.token}, text=True,
    ) as program:  # fmt: skip
        try:
            assert program.stdin
            program.stdin.write("y\nn\ny\n")
            program.stdin.flush()
            until(lambda: status(first["id"]) == "approved", said.read_text)  # which stood in the snapshot
            second = stack.pending(session)
            third = stack.call("POST", "/api/approvals", {"title": "Ship it?"}, expect=201)["id"]
            until(lambda: status(third) == "approved", said.read_text)
            assert status(second["id"]) == "pending"
        finally:
            program.kill()
    titles = [first["title"], second["title"], "Ship it?"]
    assert said.read_text() == "".join(f"{title} [y/n] " for title in titles)
    stack.call("POST", f"/api/sessions/{session}/cancel", {}, expect=200)


def test_the_commands_of_the_docs_start_approve_and_follow(stack: Stack) -> None:
    sign_in, start, waiting, approve, follow = example(stack, "sh").replace("\\\n", "").splitlines()
    path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"

    def run(command: str, **more: str) -> str:
        return subprocess.run(
            ["bash", "-ec", command], cwd=ROOT, env=stack.environment() | {"PATH": path} | more,
            capture_output=True, text=True, timeout=PATIENCE_S, check=True,
        ).stdout  # fmt: skip

    token = {"ORCHESTRA_TOKEN": run(f'{sign_in}; echo "$ORCHESTRA_TOKEN"').strip()}
    session = json.loads(run(start, **token))["id"]
    asked = stack.pending(session)["id"]
    assert asked in [row["id"] for row in json.loads(run(waiting, **token))["results"]]
    assert json.loads(run(approve, APPROVAL=asked, **token))["status"] == "approved"
    heard = run(f"{follow} | grep -m1 -A1 '^event: approval'", SESSION=session, **token)
    assert json.loads(heard.split("data: ")[1])["payload"]["approval"] == asked
    stack.call("POST", f"/api/sessions/{session}/cancel", {}, expect=200)


def test_the_embedded_valkey_may_die_under_an_open_socket(stack: Stack) -> None:
    """The runner starts it again; until then the socket finds by comparing what nobody could ring for."""
    with client(stack.port, stack.token) as mine:
        mine.subscribe("approvals")
        for process in stack.processes():
            with contextlib.suppress(psutil.Error):
                if "valkey" in process.name():
                    process.kill()
        body = {"title": "May I?"}
        asked = until(lambda: stack.call("POST", "/api/approvals", body).get("id"), "an ask is taken without Valkey")
        assert mine.event("approval.requested", id=asked)
        assert mine.ask("decide", approval=asked, approved=True)["type"] == "accepted"
        assert mine.event("approval.changed", id=asked, status="approved")
