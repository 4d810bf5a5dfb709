"""The live hub of the embedded mode: SQLite, the embedded Valkey, the demo agent, one socket for everything."""

import contextlib
from collections.abc import Iterator

import psutil
import pytest

from tests.hub import Client, client
from tests.stack import Stack, running, until


@pytest.fixture(scope="module")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    with running(tmp_path_factory.mktemp("hub")) as stack:
        yield stack


def decided(mine: Client, *, approved: bool) -> str:
    """Answer the next question as it is told; which approval it was."""
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
