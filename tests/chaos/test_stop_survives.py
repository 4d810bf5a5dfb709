"""A stop of all agents outlives the death of every process; what was decided meanwhile runs once, after the lift."""

from pathlib import Path

import pytest

from tests.chaos.test_real_cli_park import kill_everything
from tests.stack import Stack, running, until


def told(stack: Stack, path: str) -> dict[str, object]:
    found: dict[str, object] = stack.call("GET", path, expect=200)
    return found


@pytest.mark.timeout(300)
def test_a_stop_survives_the_death_of_everything(tmp_path: Path) -> None:
    with running(tmp_path / "stack") as stack:
        wanted = {"prompt": "Write hello.txt", "agent": "demo"}
        session = str(stack.call("POST", "/api/sessions", wanted, expect=201)["id"])
        approval = str(stack.pending(session)["id"])
        assert "All agents are stopped" in stack.manage("stop", "--reason", "wait")
        later = str(stack.call("POST", "/api/sessions", wanted, expect=201)["id"])
        kill_everything(stack)
        stack.start()
        assert told(stack, "/api/stop")["stopped"] is True
        assert told(stack, "/health")["parts"]["stopped"] == "yes"  # type: ignore[index]
        stack.call("POST", f"/api/approvals/{approval}/approve", {}, expect=200)
        until(lambda: told(stack, f"/api/sessions/{session}")["status"] == "queued", "it waits in the queue")
        assert told(stack, f"/api/sessions/{later}")["status"] == "queued"
        assert told(stack, f"/api/approvals/{approval}")["consumed_at"] is None
        assert "was lifted" in stack.manage("resume")
        until(lambda: told(stack, f"/api/approvals/{approval}")["consumed_at"], "the call runs")
        until(lambda: told(stack, f"/api/sessions/{later}")["status"] != "queued", "the other one starts")
