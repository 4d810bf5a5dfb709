"""Approval and session life as a model, against the real commands and the real database, in any order of events.

The model says after each step what every approval and the session must be; at the end the checker judges the rows.
"""

import json
import os
import time
from dataclasses import dataclass
from datetime import timedelta
from typing import Any
from uuid import UUID, uuid4

import pytest
from django.db import connection
from django.db.models.functions import Now
from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule, run_state_machine_as_test

from approvals.commands import cancel_approval, decide_approval, expire_due_approvals, extend_approval
from approvals.errors import ApprovalClosed, ApprovalExpired
from approvals.models import Approval
from approvals.policy import Surroundings
from sessions_app.commands import cancel_session, send_message
from sessions_app.errors import SessionBusy, SessionCancelled, StaleFence
from sessions_app.models import AgentSession, Run, Turn
from sessions_app.supervisor import leases, permissions
from sessions_app.supervisor.cli.protocol import ToolRequest
from sessions_app.supervisor.leases import Claim
from sessions_app.supervisor.outcomes import PARKED, Outcome
from sessions_app.supervisor.permission_outcome import PermissionOutcome
from sessions_app.transcript import writer
from tests.chaos.checker import Deed, Evidence, violations
from tests.factories import make_session, make_turn

WORKER = leases.Worker(host="here", pid=1, started=1.0)
PEOPLE = st.sampled_from(["anna", "boris"])
VERDICTS = st.sampled_from(["approved", "rejected"])


@dataclass
class Call:
    """A tool call of the model's, and what must have become of the question about it."""

    request: ToolRequest
    approval: UUID
    turn: int
    status: str = "pending"
    by: str = ""
    spent: bool = False
    awaited: bool = True  # by the live process


class Life(RuleBasedStateMachine):
    """One session with whatever may happen to it; ``self.status`` is what it must be."""

    def __init__(self) -> None:
        super().__init__()
        self.session = make_session(working_directory="/tmp", requested_by="olga").pk
        make_turn(AgentSession.objects.get(pk=self.session), dispatched_at=Now())
        self.status, self.turn, self.lost = "queued", 1, 0
        self.live: Claim | None = None
        self.stale: list[Claim] = []
        self.calls: list[Call] = []
        self.unmarked: list[Call] = []
        self.ledger: list[dict[str, Any]] = []
        self.history: list[Deed] = []

    # --- the agent's side

    @rule()
    def take(self) -> None:
        turn = Turn.objects.filter(session=self.session).latest("number")
        claim = leases.claim_turn(turn.pk, WORKER)
        assert (claim is not None) == (self.status == "queued")
        if claim:
            self.live, self.status = claim, "running"

    @precondition(lambda self: self.live and self.status in ("running", "waiting"))
    @rule()
    def ask(self) -> None:
        assert self.live
        number = len(self.calls)
        request = tool_request(number)
        decision = permissions.request_permission(self.live, request, plan="", surroundings=AROUND)
        assert decision.effect == "wait" and decision.approval_id
        self.calls.append(Call(request, decision.approval_id, self.turn))
        self.status = "waiting"

    @precondition(lambda self: self.live and any(call.awaited for call in self.calls))
    @rule(data=st.data(), marked=st.booleans())
    def look(self, data: st.DataObject, marked: bool) -> None:
        """The supervisor looks whether a call it waits for has its answer; it may die before it marks it answered."""
        assert self.live
        call = data.draw(st.sampled_from([call for call in self.calls if call.awaited]))
        if self.status == "cancelled":
            with pytest.raises(StaleFence):
                permissions.outcome_from_row(self.live, call.request, call.approval)
            return
        decision = permissions.outcome_from_row(self.live, call.request, call.approval)
        assert (decision is None) == (call.status == "pending")
        if decision is not None:
            call.awaited = False
            self.heard(call, decision)
            self.unmarked.append(call)
            if marked:
                self.mark()

    @precondition(lambda self: self.live and self.unmarked and self.status != "cancelled")
    @rule()
    def mark(self) -> None:
        assert self.live
        goes_on = not any(call.awaited for call in self.calls)
        permissions.mark_answered(self.live, [call.approval for call in self.unmarked], goes_on=goes_on)
        self.unmarked.clear()
        self.status = "running" if goes_on else "waiting"

    def heard(self, call: Call, decision: PermissionOutcome) -> None:
        """What the agent is told is what the model knows; a grant is spent once."""
        assert (decision.effect == "allow") == (call.status == "approved" and not call.spent), (call, decision)
        if decision.effect == "allow":
            call.spent = True
            self.ledger.append(
                {
                    "session": str(self.session), "tool_use_id": call.request.tool_use_id, "tool": "Bash",
                    "input": decision.tool_input, "pid": 1, "at": time.time(),
                }
            )  # fmt: skip

    @precondition(lambda self: self.status == "waiting" and sum(call.awaited for call in self.calls) == 1)
    @rule()
    def park(self) -> None:
        assert self.live
        if self.unmarked:
            self.mark()
        [call] = [call for call in self.calls if call.awaited]
        leases.finish_run(self.live, Outcome(status=PARKED), exit_code=0, deferred=call.request.tool_use_id)
        self.gone()
        leases.resume_answered(self.session)
        self.go_on()

    @precondition(lambda self: self.live and self.live.replay and self.status == "running")
    @rule()
    def replay(self) -> None:
        """The resumed process repeats the parked call."""
        assert self.live
        call = next(call for call in self.calls if call.request.tool_use_id == self.live.deferred)
        if call.awaited or call.spent:
            return
        decision = permissions.request_permission(self.live, call.request, plan="", surroundings=AROUND)
        if decision.effect == "wait":
            assert call.status == "pending"
            call.awaited, self.status = True, "waiting"
        else:
            self.heard(call, decision)

    @precondition(lambda self: self.live and self.status == "running")
    @rule()
    def finish(self) -> None:
        assert self.live
        assert leases.finish_run(self.live, Outcome(status="completed", text="done"), exit_code=0)
        self.gone()
        self.status = "completed"
        self.withdraw_all()

    @precondition(lambda self: self.live and self.status == "cancelled")
    @rule()
    def obey(self) -> None:
        """The supervisor hears of the cancel and ends its process."""
        assert self.live
        leases.finish_run(self.live, Outcome(status="cancelled", code="cancelled"), exit_code=143)
        self.gone()

    @precondition(lambda self: self.live)
    @rule()
    def lose(self) -> None:
        """The worker dies with the process."""
        assert self.live
        run = Run.objects.get(pk=self.live.run_id)
        assert leases.reclaim(run, why="the worker is gone", dead=True)
        assert not leases.reclaim(run, why="twice", dead=True)
        self.stale.append(self.live)
        self.gone()
        self.lost += 1
        if self.status == "cancelled":
            return
        if self.lost >= leases.MOST_LOST_RUNS:
            self.status = "failed"
            self.withdraw_all()
        elif self.status == "running":
            self.status = "queued"
        else:
            self.go_on()

    @precondition(lambda self: self.stale)
    @rule(data=st.data())
    def haunt(self, data: st.DataObject) -> None:
        """A supervisor that was given up for lost wakes up: nothing it does counts."""
        ghost = data.draw(st.sampled_from(self.stale))
        with pytest.raises(StaleFence):
            permissions.request_permission(ghost, tool_request(999), plan="", surroundings=AROUND)
        for call in self.calls:
            if call.status == "approved" and not call.spent:
                with pytest.raises(StaleFence):
                    permissions.outcome_from_row(ghost, call.request, call.approval)
        with pytest.raises(StaleFence):
            writer.append(self.session, [writer.line("text", text="late")], fence=ghost.fence)
        assert not leases.finish_run(ghost, Outcome(status="completed", text="late"), exit_code=0)

    # --- people and the clock

    @precondition(lambda self: self.calls)
    @rule(data=st.data(), verdict=VERDICTS, by=PEOPLE)
    def decide(self, data: st.DataObject, verdict: str, by: str) -> None:
        call = data.draw(st.sampled_from(self.calls))
        deed = Deed("decide", by, approval=str(call.approval), verdict=verdict)
        self.history.append(deed)
        repeated = (call.status, call.by) == (verdict, by)
        if call.status == "pending" or repeated:
            decide_approval(approval_id=call.approval, decision=verdict, by=by, via="api")
            deed.ok = True
            if not repeated:
                call.status, call.by = verdict, by
                self.go_on()
        else:
            with pytest.raises((ApprovalClosed, ApprovalExpired)) as refused:
                decide_approval(approval_id=call.approval, decision=verdict, by=by, via="api")
            deed.refused = dict(refused.value.facts)

    @precondition(lambda self: self.open())
    @rule(data=st.data(), extended=st.booleans())
    def expire(self, data: st.DataObject, extended: bool) -> None:
        call = data.draw(st.sampled_from([call for call in self.calls if call.status == "pending"]))
        if extended:
            extend_approval(approval_id=call.approval, minutes=1, by="anna", via="api")
            assert expire_due_approvals(batch=10) == 0
            return
        Approval.objects.filter(pk=call.approval).update(expires_at=Now() - timedelta(seconds=1))
        with pytest.raises(ApprovalExpired):
            decide_approval(approval_id=call.approval, decision="approved", by="anna", via="api")
        assert expire_due_approvals(batch=10) == 1
        call.status = "expired"
        self.go_on()

    @precondition(lambda self: self.open())
    @rule(data=st.data())
    def withdraw(self, data: st.DataObject) -> None:
        call = data.draw(st.sampled_from([call for call in self.calls if call.status == "pending"]))
        cancel_approval(approval_id=call.approval, by="olga", via="api")
        call.status, call.by = "cancelled", "olga"
        self.go_on()

    @rule()
    def say(self) -> None:
        if self.status in ("completed", "failed") and self.live is None:
            send_message(session_id=self.session, prompt="and then?", by="olga")
            self.status, self.turn, self.lost = "queued", self.turn + 1, 0
        elif self.status in ("queued", "running", "waiting", "cancelled"):
            with pytest.raises((SessionBusy, SessionCancelled)):
                send_message(session_id=self.session, prompt="and then?", by="olga")

    @precondition(lambda self: self.turn > 1)
    @rule()
    def cancel(self) -> None:
        cancel_session(session_id=self.session, by="olga")
        if self.status != "cancelled":
            self.status = "cancelled"
            self.withdraw_all(by="olga")

    @rule()
    def sweep(self) -> None:
        """Every sweep finds nothing left to do: the rings have done it."""
        assert expire_due_approvals(batch=10) == 0
        assert self.session not in leases.answered_parked_sessions()

    # --- what follows

    def open(self) -> bool:
        return any(call.status == "pending" for call in self.calls)

    def gone(self) -> None:
        self.live = None
        self.unmarked.clear()
        for call in self.calls:
            call.awaited = False

    def withdraw_all(self, by: str = "") -> None:
        for call in self.calls:
            if call.status == "pending":
                call.status, call.by = "cancelled", by

    def go_on(self) -> None:
        """A parked session whose questions are all closed is taken up, or ends with what became of the last."""
        if self.status != "waiting" or self.live is not None or self.open():
            return
        last = Approval.objects.filter(session=self.session).order_by("decided_at").last()
        assert last
        self.status = {"expired": "failed", "cancelled": "completed"}.get(last.status, "queued")

    @invariant()
    def rows_are_what_the_model_says(self) -> None:
        session = AgentSession.objects.get(pk=self.session)
        assert session.status == self.status
        assert Run.objects.filter(session=session, ended_at=None).count() == (self.live is not None)
        rows = {row.pk: row for row in Approval.objects.filter(session=self.session)}
        assert len(rows) == len(self.calls)
        for call in self.calls:
            row = rows[call.approval]
            assert (row.status, row.decided_by, row.consumed_at is not None) == (call.status, call.by, call.spent)

    def teardown(self) -> None:
        if self.live and self.status == "cancelled":
            self.obey()
        found = violations(Evidence(ledger=self.ledger, history=self.history))
        forget_everything()
        assert found == []


AROUND = Surroundings(data_dir="/nowhere", code_dir="/nowhere", working_roots=("/tmp",), port=1)


def tool_request(number: int) -> ToolRequest:
    given = json.dumps({"command": f"make {number} {uuid4()}"})
    return ToolRequest(
        request_id=f"r{number}",
        tool_use_id=f"toolu_{number}",
        tool_name="Bash",
        tool_input=given,
        agent_id="",
        is_callback=True,
    )


def forget_everything() -> None:
    """The next example is judged by its own rows."""
    with connection.cursor() as cursor:
        cursor.execute("TRUNCATE agent_sessions, approvals, audit_entries CASCADE")


@pytest.mark.timeout(300)
@pytest.mark.django_db(transaction=True)
def test_whatever_happens_in_whatever_order_rows_are_what_they_must_be() -> None:
    run_state_machine_as_test(
        Life,
        settings=settings(
            max_examples=int(os.environ.get("CHAOS_LIVES", "15")),
            stateful_step_count=25,
            phases=[Phase.generate],  # shrinking a failure would take minutes; the steps are printed as they were
            deadline=None,
            suppress_health_check=list(HealthCheck),
        ),
    )
