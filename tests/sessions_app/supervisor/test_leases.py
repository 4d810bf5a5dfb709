"""The fence: what a supervisor that lost its session can still do, which is nothing."""

import dataclasses
import json
import threading
from collections.abc import Callable
from datetime import timedelta
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from django.conf import settings as house
from django.db import connection
from django.db.models import F
from django.db.models.functions import Now
from django.utils import timezone
from pytest_django import Settings

from approvals.commands import decide_approval, expire_due_approvals
from approvals.errors import SelfApproval
from approvals.models import Approval, AuditEntry, Rule
from approvals.policy import Surroundings
from sessions_app.commands import interrupt_session, send_message
from sessions_app.errors import StaleFence
from sessions_app.models import AgentSession, Event, PermissionRequest, Run, Turn
from sessions_app.supervisor import leases, permissions
from sessions_app.supervisor.cli.protocol import ToolRequest
from sessions_app.supervisor.dispatcher import STALLED_S, Dispatcher, Subscription
from sessions_app.supervisor.leases import Claim
from sessions_app.supervisor.outcomes import PARKED, Outcome, failed
from sessions_app.supervisor.permission_outcome import PermissionOutcome
from sessions_app.tasks import reclaim_lost_runs
from sessions_app.transcript import writer
from tests.factories import make_session, make_turn
from tests.threads import at_once

pytestmark = pytest.mark.django_db(transaction=True)
WORKER = leases.Worker(host="here", pid=1, started=1.0)


@pytest.fixture
def claim(tmp_path: Path) -> Claim:
    turn = make_turn(make_session(working_directory=str(tmp_path), requested_by=""))
    found = leases.claim_turn(turn.pk, WORKER)
    assert found
    return found


def request(tool: str = "Bash", **arguments: Any) -> ToolRequest:
    given = json.dumps(arguments or {"command": "make"})
    return ToolRequest(
        request_id="r1", tool_use_id="toolu_1", tool_name=tool, tool_input=given, agent_id="", is_callback=True
    )


def ask(claim: Claim, wanted: ToolRequest) -> PermissionOutcome:
    around = Surroundings(data_dir="/nowhere", code_dir="/nowhere", working_roots=(claim.directory,), port=1)
    return permissions.request_permission(claim, wanted, plan="", surroundings=around)


def lose(claim: Claim) -> None:
    """Somebody else has the session now."""
    AgentSession.objects.filter(pk=claim.session_id).update(fence=F("fence") + 1)


def overdue(claim: Claim) -> Run:
    Run.objects.filter(pk=claim.run_id).update(heartbeat_at=Now() - timedelta(minutes=1))
    return Run.objects.get(pk=claim.run_id)


@pytest.mark.parametrize(
    "wanted",
    [
        request(),
        request("Read", file_path="a.txt"),
        request("Task", prompt="x"),
        request("Monitor"),
        request("Bash", command="git status"),
    ],
    ids=["ask", "read", "harmless", "floor", "rule"],
)
def test_a_stale_supervisor_can_neither_ask_nor_allow_nor_record_anything(claim: Claim, wanted: ToolRequest) -> None:
    Rule.objects.create(effect="allow", tool="Bash", pattern="git status", scope="everywhere", created_by="olga")
    lose(claim)
    with pytest.raises(StaleFence):
        ask(claim, wanted)
    assert not Approval.objects.exists()
    assert AgentSession.objects.get(pk=claim.session_id).status == "running"


@pytest.mark.parametrize("verdict", ["approved", "rejected"])
def test_a_stale_supervisor_spends_no_answer(claim: Claim, verdict: str) -> None:
    asked = ask(claim, request())
    assert asked.approval_id
    decide_approval(approval_id=asked.approval_id, decision=verdict, by="anna", via="api")
    lose(claim)
    with pytest.raises(StaleFence):
        permissions.outcome_from_row(claim, request(), asked.approval_id)
    assert Approval.objects.get(pk=asked.approval_id).consumed_at is None


def test_a_stale_supervisor_writes_no_transcript_and_closes_no_turn(claim: Claim) -> None:
    lose(claim)
    before = Event.objects.count()
    with pytest.raises(StaleFence):
        writer.append(claim.session_id, [writer.line("text", text="late")], fence=claim.fence)
    leases.mark_resumable(claim)
    assert not leases.finish_run(claim, Outcome(status="completed", text="late", cost_usd=9.0), exit_code=0)
    session = AgentSession.objects.get(pk=claim.session_id)
    assert (session.status, session.cost_usd, session.resumable) == ("running", 0, False)
    assert Turn.objects.get(pk=claim.turn_id).status == "running"
    assert Event.objects.count() == before


def test_a_grant_is_spent_once_and_only_for_the_very_same_input(claim: Claim) -> None:
    asked = ask(claim, request())
    assert asked.approval_id and asked.effect == "wait"
    assert permissions.outcome_from_row(claim, request(), asked.approval_id) is None
    decide_approval(approval_id=asked.approval_id, decision="approved", by="anna", via="api")
    other = permissions.outcome_from_row(claim, request(command="make install"), asked.approval_id)
    assert other and other.effect == "deny"
    first = permissions.outcome_from_row(claim, request(), asked.approval_id)
    assert first and (first.effect, first.tool_input) == ("allow", request().tool_input)
    second = permissions.outcome_from_row(claim, request(), asked.approval_id)
    assert second and second.effect == "deny"


@pytest.mark.parametrize("which", ["the floor", "a rule"])
def test_what_nobody_may_allow_does_not_run_as_an_edit_either(claim: Claim, which: str) -> None:
    secret = {"command": f"cat {house.ORCHESTRA.data_dir}/secret_key"}
    if which == "a rule":
        Rule.objects.create(effect="deny", tool="Bash", pattern="shutdown*", scope="everywhere")
    edited = json.dumps(secret if which == "the floor" else {"command": "shutdown now"})
    asked = ask(claim, request())
    assert asked.approval_id
    decide_approval(approval_id=asked.approval_id, decision="approved", by="anna", via="api", updated_input=edited)
    told = permissions.outcome_from_row(claim, request(), asked.approval_id)
    assert told
    assert (told.effect, told.tool_input) == ("deny", "")
    assert "policy does not allow this" in told.message
    refusal = AuditEntry.objects.get(approval=asked.approval_id, action="refused")
    assert (refusal.won, refusal.by) == (False, "anna")
    assert refusal.reason.startswith("not run as edited: ")


def test_who_sends_a_message_to_somebody_elses_session_does_not_answer_what_it_asks_for(
    tmp_path: Path, settings: Settings
) -> None:
    settings.APPROVALS = dataclasses.replace(settings.APPROVALS, self_approval=False)
    ended = {"status": "completed", "finished_at": timezone.now()}
    session = make_session(working_directory=str(tmp_path), requested_by="anna", **ended)
    claim = leases.claim_turn(send_message(session_id=session.pk, prompt="go on", by="bob").pk, WORKER)
    assert claim
    asked = ask(claim, request())
    assert asked.approval_id
    with pytest.raises(SelfApproval):
        decide_approval(approval_id=asked.approval_id, decision="approved", by="bob", via="api")
    assert decide_approval(approval_id=asked.approval_id, decision="approved", by="anna", via="api")


def test_the_session_waits_until_the_last_open_question_is_answered(claim: Claim) -> None:
    wanted = [dataclasses.replace(request(), request_id=f"r{n}", tool_use_id=f"toolu_{n}") for n in range(2)]
    decisions = [ask(claim, one) for one in wanted]
    for one, decision, status in zip(wanted, decisions, ("waiting", "running"), strict=True):
        assert decision.approval_id
        decide_approval(approval_id=decision.approval_id, decision="rejected", by="anna", via="api")
        assert permissions.outcome_from_row(claim, one, decision.approval_id)
        permissions.mark_answered(claim, [decision.approval_id], goes_on=status == "running")
        assert AgentSession.objects.get(pk=claim.session_id).status == status


def test_an_answer_is_left_to_the_supervisor_while_there_is_one(claim: Claim) -> None:
    asked = ask(claim, request())
    assert asked.approval_id
    decide_approval(approval_id=asked.approval_id, decision="approved", by="anna", via="api")
    assert not leases.resume_answered(claim.session_id)
    assert claim.session_id not in leases.answered_parked_sessions()
    assert AgentSession.objects.get(pk=claim.session_id).status == "waiting"
    leases.finish_run(claim, Outcome(status="parked"), exit_code=0, deferred="toolu_1")
    assert leases.answered_parked_sessions() == [claim.session_id]
    assert leases.resume_answered(claim.session_id)
    assert not leases.resume_answered(claim.session_id)


def test_a_worker_that_takes_a_turn_and_a_person_who_interrupts_it_do_not_wait_for_each_other(tmp_path: Path) -> None:
    turn = make_turn(make_session(working_directory=str(tmp_path)))
    session_taken, turn_taken = threading.Event(), threading.Event()

    def after_the_update_of(table: str, mine: threading.Event, wait_for: threading.Event | None = None) -> Any:
        def run(execute: Callable[..., Any], statement: str, *rest: Any) -> Any:
            done = execute(statement, *rest)
            if statement.startswith(f'UPDATE "{table}"'):
                mine.set()
                if wait_for:
                    wait_for.wait(2)  # in vain, if the other one waits for this row first
            return done

        return connection.execute_wrapper(run)

    def claim_it() -> Claim | None:
        with after_the_update_of("agent_sessions", session_taken, wait_for=turn_taken):
            return leases.claim_turn(turn.pk, WORKER)

    def interrupt_it() -> AgentSession:
        session_taken.wait(60)
        with after_the_update_of("turns", turn_taken):
            return interrupt_session(session_id=turn.session_id, by="olga")

    claimed, interrupted = at_once([claim_it, interrupt_it])
    assert isinstance(claimed, Claim)
    assert isinstance(interrupted, AgentSession)
    turn.refresh_from_db()
    assert (turn.status, turn.interrupt_requested_at is not None) == ("running", True)


def test_a_rule_with_one_use_left_allows_one_call(claim: Claim) -> None:
    Rule.objects.create(effect="allow", tool="Bash", pattern="make", scope="everywhere", created_by="olga", max_uses=1)
    assert ask(claim, request()).effect == "allow"
    again = dataclasses.replace(request(), tool_use_id="toolu_2", request_id="r2")
    assert ask(claim, again).effect == "wait"


def test_a_rule_whose_last_use_another_call_spent_meanwhile_allows_nothing(claim: Claim) -> None:
    rule = Rule.objects.create(
        effect="allow", tool="Bash", pattern="make", scope="everywhere", created_by="olga", max_uses=1
    )
    spend = partial(permissions._rule_still_counts, rule)
    assert sorted(at_once([spend] * 4)) == [False, False, False, True]
    rule.refresh_from_db()
    assert rule.uses == 1


def test_a_supervisor_that_stalls_gets_no_heartbeat(claim: Claim, tmp_path: Path) -> None:
    other = leases.claim_turn(make_turn(make_session(working_directory=str(tmp_path))).pk, WORKER)
    assert other
    subscriptions = [Subscription(one.session_id, one.run_id) for one in (claim, other)]
    subscriptions[0].last_round_at -= STALLED_S + 1
    Run.objects.update(heartbeat_at=Now() - timedelta(minutes=1))
    Dispatcher()._send_heartbeats(subscriptions)
    assert [run.pk for run in leases.lost_runs()] == [claim.run_id]


def test_only_a_run_that_is_silent_too_long_is_given_up(claim: Claim) -> None:
    run = Run.objects.get(pk=claim.run_id)
    assert leases.lost_runs() == []
    assert not leases.reclaim(run, why="too early")
    silent = overdue(claim)
    assert leases.lost_runs() == [silent]
    leases.heartbeat_all([claim.run_id])
    assert not leases.reclaim(run, why="it beat again")
    assert leases.reclaim(overdue(claim), why="silent")
    assert not leases.reclaim(run, why="twice")
    assert AgentSession.objects.get(pk=claim.session_id).fence == claim.fence + 1


@pytest.mark.parametrize(
    "write", [lambda c: ask(c, request()), lambda c: writer.append(c.session_id, [("text", "{}")], fence=c.fence)]
)
def test_after_a_run_was_given_up_its_supervisor_is_stale(claim: Claim, write: Callable[[Claim], Any]) -> None:
    assert leases.reclaim(overdue(claim), why="silent")
    with pytest.raises(StaleFence):
        write(claim)


def test_a_lost_turn_is_taken_again_with_a_higher_fence_and_fails_after_three_losses(claim: Claim) -> None:
    found: Claim | None = claim
    for fence in (1, 3, 5):
        assert found and found.fence == fence
        assert leases.reclaim(overdue(found), why="silent")
        found = leases.claim_turn(claim.turn_id, WORKER)
    assert found is None
    turn = Turn.objects.get(pk=claim.turn_id)
    assert (turn.status, turn.failure_code) == ("failed", "poison")
    assert AgentSession.objects.get(pk=claim.session_id).status == "failed"


def test_what_a_run_cost_is_added_to_the_turn_and_the_dialog(claim: Claim) -> None:
    assert leases.finish_run(
        claim, Outcome(status="completed", cost_usd=0.5, input_tokens=10, output_tokens=7), exit_code=0
    )
    session, turn = AgentSession.objects.get(pk=claim.session_id), Turn.objects.get(pk=claim.turn_id)
    assert (session.cost_usd, session.input_tokens, session.output_tokens) == (0.5, 10, 7)
    assert (turn.cost_usd, turn.input_tokens, turn.output_tokens) == (0.5, 10, 7)


def test_a_run_that_ends_twice_closes_the_turn_once(claim: Claim) -> None:
    assert leases.finish_run(claim, Outcome(status="completed", text="first"), exit_code=0)
    assert not leases.finish_run(claim, failed("x", "second"), exit_code=1)
    turn = Turn.objects.get(pk=claim.turn_id)
    assert (turn.status, turn.result, turn.failure_code) == ("completed", "first", "")
    assert Run.objects.get(pk=claim.run_id).exit_code == 0


def test_a_turn_whose_result_was_written_down_is_closed_with_it_and_not_run_again(claim: Claim) -> None:
    usage = {"m": {"costUSD": 0.5, "inputTokens": 3, "outputTokens": 4}}
    result = {
        "is_error": False,
        "result": "all done",
        "terminal_reason": "completed",
        "model_usage_since_last_result": usage,
    }
    writer.append(claim.session_id, [("result", json.dumps(result))], fence=claim.fence)
    assert leases.reclaim(overdue(claim), why="killed")
    session, turn = AgentSession.objects.get(), Turn.objects.get()
    assert (session.status, turn.status, turn.result) == ("completed", "completed", "all done")
    assert (session.cost_usd, turn.cost_usd, turn.output_tokens) == (0.5, 0.5, 4)


def test_a_lost_run_that_cannot_be_read_keeps_no_other_from_being_taken_up(claim: Claim, tmp_path: Path) -> None:
    writer.append(claim.session_id, [(Event.Kind.RESULT, "{")])  # half a row
    other = leases.claim_turn(make_turn(make_session(working_directory=str(tmp_path))).pk, WORKER)
    assert other
    overdue(other)
    Run.objects.filter(pk=claim.run_id).update(heartbeat_at=Now() - timedelta(minutes=2))
    assert reclaim_lost_runs() == 1
    assert AgentSession.objects.get(pk=other.session_id).status == "queued"


def test_a_result_of_a_parked_call_ends_no_turn(claim: Claim) -> None:
    result = {"is_error": False, "result": "", "terminal_reason": "tool_deferred"}
    writer.append(claim.session_id, [("result", json.dumps(result))], fence=claim.fence)
    assert leases.reclaim(overdue(claim), why="killed")
    assert (AgentSession.objects.get().status, Turn.objects.get().status) == ("queued", "running")


def test_a_parked_call_that_was_answered_in_a_later_turn_does_not_strand_what_that_turn_asks(claim: Claim) -> None:
    leases.mark_resumable(claim)
    first = ask(claim, request())
    leases.finish_run(claim, Outcome(status=PARKED), exit_code=0, deferred="toolu_1")
    Approval.objects.filter(pk=first.approval_id).update(expires_at=Now() - timedelta(seconds=1))
    assert expire_due_approvals(batch=10) == 1
    send_message(session_id=claim.session_id, prompt="and now?", by="olga")
    again = leases.claim_turn(Turn.objects.latest("number").pk, WORKER)
    assert again and again.replay
    assert ask(again, request()).effect == "deny"  # the parked call, repeated first
    second = ask(again, dataclasses.replace(request(command="ls"), request_id="r2", tool_use_id="toolu_2"))
    assert second.approval_id
    assert leases.reclaim(Run.objects.get(pk=again.run_id), why="the worker is gone", dead=True)
    decide_approval(approval_id=second.approval_id, decision="approved", by="anna", via="api")
    assert AgentSession.objects.get(pk=claim.session_id).status == "queued"
    last = leases.claim_turn(again.turn_id, WORKER)
    assert last and last.interrupted and not last.replay
    asked_anew = dataclasses.replace(request(command="ls"), request_id="r9", tool_use_id="toolu_9")
    taken_up = permissions.request_permission(
        last, asked_anew, plan="", surroundings=Surroundings(data_dir="/n", code_dir="/n", working_roots=(), port=1)
    )
    assert (taken_up.effect, taken_up.approval_id) == ("allow", second.approval_id)


LOST_CONVERSATION = failed("conversation_lost", "The CLI no longer has this conversation.")


def test_an_answer_counts_although_the_cli_was_killed_before_it_wrote_the_conversation_down(claim: Claim) -> None:
    leases.mark_resumable(claim)
    asked = ask(claim, request())
    assert asked.approval_id
    writer.append(claim.session_id, [("tool_use", json.dumps({"id": "toolu_1", "name": "Bash"}))], fence=claim.fence)
    assert leases.reclaim(Run.objects.get(pk=claim.run_id), why="the worker is gone", dead=True)
    decide_approval(approval_id=asked.approval_id, decision="approved", by="anna", via="api")
    again = leases.claim_turn(claim.turn_id, WORKER)
    assert again and again.interrupted
    assert leases.finish_run(again, LOST_CONVERSATION, exit_code=1)
    afresh = leases.claim_turn(claim.turn_id, WORKER)
    assert afresh and afresh.prompt and not afresh.interrupted
    asked_anew = dataclasses.replace(request(), request_id="r9", tool_use_id="toolu_9")
    taken_up = ask(afresh, asked_anew)
    assert (taken_up.effect, taken_up.approval_id) == ("allow", asked.approval_id)


@pytest.mark.parametrize("spent", [True, False], ids=["asked-and-spent", "never-asked"])
def test_a_prompt_is_not_given_again_once_a_tool_may_have_run(claim: Claim, spent: bool) -> None:
    leases.mark_resumable(claim)
    writer.append(claim.session_id, [("tool_use", json.dumps({"id": "toolu_1", "name": "Bash"}))], fence=claim.fence)
    if spent:
        asked = ask(claim, request())
        assert asked.approval_id
        decide_approval(approval_id=asked.approval_id, decision="approved", by="anna", via="api")
        assert permissions.outcome_from_row(claim, request(), asked.approval_id)
    assert leases.reclaim(Run.objects.get(pk=claim.run_id), why="the worker is gone", dead=True)
    again = leases.claim_turn(claim.turn_id, WORKER)
    assert again and leases.finish_run(again, LOST_CONVERSATION, exit_code=1)
    assert (AgentSession.objects.get().status, Turn.objects.get().failure_code) == ("failed", "conversation_lost")


def test_a_turn_that_goes_on_after_an_expired_question_is_taken_up_when_its_worker_dies(claim: Claim) -> None:
    asked = ask(claim, request())
    assert asked.approval_id
    Approval.objects.filter(pk=asked.approval_id).update(expires_at=Now() - timedelta(seconds=1))
    assert expire_due_approvals(batch=10) == 1
    told = permissions.outcome_from_row(claim, request(), asked.approval_id)
    assert told and told.effect == "deny"
    permissions.mark_answered(claim, [asked.approval_id], goes_on=True)
    assert leases.reclaim(Run.objects.get(pk=claim.run_id), why="the worker is gone", dead=True)
    assert AgentSession.objects.get(pk=claim.session_id).status == "queued"
    assert leases.claim_turn(claim.turn_id, WORKER)


IN_USE = failed("conversation_in_use", "The CLI says that another process uses this conversation.")


def test_a_conversation_that_a_killed_process_had_begun_is_resumed(claim: Claim) -> None:
    assert not claim.resume
    assert leases.finish_run(claim, IN_USE, exit_code=1)
    assert (AgentSession.objects.get().status, Turn.objects.get().status) == ("queued", "running")
    again = leases.claim_turn(claim.turn_id, WORKER)
    assert again and again.resume
    assert leases.finish_run(again, IN_USE, exit_code=1)
    assert (AgentSession.objects.get().status, Turn.objects.get().failure_code) == ("failed", "conversation_in_use")


def test_a_decision_that_another_process_takes_up_counts_as_not_given_yet(claim: Claim) -> None:
    asked = ask(claim, request())
    assert asked.approval_id
    decide_approval(approval_id=asked.approval_id, decision="rejected", by="anna", via="api")
    permissions.mark_answered(claim, [asked.approval_id], goes_on=True)
    assert leases.reclaim(Run.objects.get(pk=claim.run_id), why="the worker is gone", dead=True)
    again = leases.claim_turn(claim.turn_id, WORKER)
    assert again and again.repeats
    taken_up = ask(again, dataclasses.replace(request(), request_id="r9", tool_use_id="toolu_9"))
    assert (taken_up.effect, taken_up.approval_id) == ("deny", asked.approval_id)
    link = PermissionRequest.objects.get(approval=asked.approval_id)
    assert (link.tool_use_id, link.answered_at) == ("toolu_9", None)
