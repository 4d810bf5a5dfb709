"""A failure at every commit of ask, decide, consume, resume and others: the promises hold, the work goes on."""

from itertools import product
from typing import Any

import pytest

from sessions_app.models import Turn
from sessions_app.supervisor import database_access
from tests.chaos.failpoints import MOMENTS, failing
from tests.chaos.world import World

STEPS: list[dict[str, Any]] = [
    {"tool": "Write", "input": {"file_path": "one.txt", "content": "1"}},
    {"tool": "Bash", "input": {"command": "echo two"}},
    {"text": "done"},
]


@pytest.fixture(autouse=True)
def hasty(monkeypatch: pytest.MonkeyPatch) -> None:
    """A supervisor asks a database that was away again soon."""
    monkeypatch.setattr(database_access, "RETRY_S", 0.1)


@pytest.mark.parametrize("moment", MOMENTS)
@pytest.mark.parametrize(
    ("point", "hold_s"),
    [("claim", 60), ("resume", 0), *product(("ask", "decide", "consume", "finish"), (60, 0))],
)
def test_a_commit_that_fails_costs_time_and_nothing_else(world: World, point: str, moment: str, hold_s: float) -> None:
    world.stage.approvals(hold_s=hold_s)
    world.stage.scene(STEPS)
    session = world.stage.session()
    with failing(point, moment) as failpoint:
        ended = world.drive(session)
    assert failpoint.hits == 1
    assert ended, f"it hangs as {session.status}"
    assert world.judge() == []
    turn = Turn.objects.get(session=session)
    assert turn.status == "completed", (turn.failure_code, turn.failure_detail)


def test_a_sweep_whose_commit_fails_expires_each_row_once(world: World) -> None:
    world.stage.approvals(hold_s=0, timeout_s=0.5)
    world.stage.scene(STEPS)
    world.verdict = lambda approval: "never"
    for moment in MOMENTS:
        session = world.stage.session()
        with failing("expire", moment) as failpoint:
            world.decide = lambda *_, **__: None  # type: ignore[method-assign,assignment]  # nobody answers
            world.drive(session)
        assert failpoint.hits == 1
        assert Turn.objects.get(session=session).failure_code == "approval_expired"
    assert world.judge() == []
    assert world.stage.ran == []
