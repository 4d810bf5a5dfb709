"""An answer may come between any two statements of the supervisor that looks for it."""

import json
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest
from django.db import connection

from approvals.commands import decide_approval
from approvals.models import Approval
from approvals.policy import Surroundings
from sessions_app.supervisor import leases, permissions
from sessions_app.supervisor.cli.protocol import ToolRequest
from tests.factories import make_session, make_turn

WANTED = ToolRequest(
    request_id="r1",
    tool_use_id="t1",
    tool_name="Bash",
    tool_input=json.dumps({"command": "make"}),
    agent_id="",
    is_callback=True,
)


def decide_elsewhere(approval_id: UUID) -> None:
    """Another process's decision: a connection of its own, committed when this returns."""

    def decide() -> None:
        decide_approval(approval_id=approval_id, decision="approved", by="anna", via="api")
        connection.close()

    thread = threading.Thread(target=decide)
    thread.start()
    thread.join()


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize("after", range(1, 5))
def test_an_approval_that_comes_between_two_statements_lets_the_call_run_once(tmp_path: Path, after: int) -> None:
    turn = make_turn(make_session(working_directory=str(tmp_path), requested_by=""))
    claim = leases.claim_turn(turn.pk, leases.Worker(host="here", pid=1, started=1.0))
    assert claim
    around = Surroundings(data_dir="/nowhere", code_dir="/nowhere", working_roots=(str(tmp_path),), port=1)
    approval_id = permissions.request_permission(claim, WANTED, plan="", surroundings=around).approval_id
    assert approval_id
    ran = 0

    def count(execute: Callable[..., Any], *statement: Any) -> Any:
        nonlocal ran
        done = execute(*statement)
        ran += 1
        if ran == after:
            decide_elsewhere(approval_id)
        return done

    with connection.execute_wrapper(count):
        decisions = [permissions.outcome_from_row(claim, WANTED, approval_id)]
    if ran < after:
        decide_elsewhere(approval_id)
    if decisions[0] is None:  # it looked just before
        decisions.append(permissions.outcome_from_row(claim, WANTED, approval_id))
    assert [decision.effect for decision in decisions if decision] == ["allow"]
    assert Approval.objects.get(pk=approval_id).consumed_at is not None
