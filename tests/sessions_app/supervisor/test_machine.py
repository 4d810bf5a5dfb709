"""The turn machine, without a process: scenes first, then any order of events."""

import json
from typing import Any
from uuid import UUID, uuid4

import pytest
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, initialize, invariant, precondition, rule

from sessions_app.models import Turn
from sessions_app.supervisor import turn_machine as m
from sessions_app.supervisor.cli import protocol
from sessions_app.supervisor.cli.protocol import (
    ApiRetry,
    Delta,
    OtherRequest,
    OutputMessage,
    Reply,
    Result,
    ToolEnded,
    ToolRequest,
    UnreadableLine,
    Withdrawn,
)
from sessions_app.supervisor.outcomes import PARKED, STOPPED, UNSENT, failed
from sessions_app.supervisor.permission_outcome import PermissionOutcome
from sessions_app.supervisor.turn_machine import (
    CloseInput,
    Command,
    Limits,
    OutcomeSent,
    Record,
    ReportViolation,
    RequestPermission,
    Signal,
    Stream,
    TurnMachine,
    Withdraw,
    Write,
)

HOLD, IDLE, TURN, BACKGROUND = 300.0, 600.0, 14400.0, 3600.0
INPUT = '{"command":"make","n":1.10}'
READY = Reply(protocol.INITIALIZE_ID, "")
DONE = Result({"type": "result", "is_error": False, "terminal_reason": "completed", "result": "done"})
DEFERRED = Result({"type": "result", "is_error": False, "terminal_reason": "tool_deferred", "result": ""})
ABORTED = Result({"type": "result", "is_error": True, "terminal_reason": "aborted_tools"})


INIT = OutputMessage("system", "init", {"type": "system", "subtype": "init"})


def tasks(*ids: str) -> OutputMessage:
    listed = [{"task_id": task_id, "description": f"task {task_id}"} for task_id in ids]
    return OutputMessage("system", "background_tasks_changed", {"tasks": listed})


def ended(tool_use_id: str, tool_input: str = INPUT) -> ToolEnded:
    return ToolEnded(request_id=f"end_{tool_use_id}", tool_use_id=tool_use_id, tool_name="Bash", tool_input=tool_input)


def tool_result(tool_use_id: str, *, is_error: bool = False) -> OutputMessage:
    block = {"type": "tool_result", "tool_use_id": tool_use_id, "content": "done", "is_error": is_error}
    return OutputMessage("user", "", {"type": "user", "message": {"content": [block]}})


def cost(usd: float, **changes: Any) -> Result:
    since = {"model_usage_since_last_result": {"m": {"costUSD": usd, "inputTokens": 10, "outputTokens": 1}}}
    return Result(DONE.body | since | changes)


def call(number: int = 1, **changes: Any) -> ToolRequest:
    fields: dict[str, Any] = {
        "request_id": f"r{number}",
        "tool_use_id": f"toolu_{number}",
        "tool_name": "Bash",
        "tool_input": INPUT,
        "agent_id": "",
        "is_callback": True,
    }
    return ToolRequest(**fields | changes)


def waiting(approval_id: UUID | None = None, for_s: float = 1e9) -> PermissionOutcome:
    return PermissionOutcome(effect="wait", approval_id=approval_id or uuid4(), waits_s=for_s)


def allowed(approval_id: UUID | None = None, tool_input: str = INPUT) -> PermissionOutcome:
    return PermissionOutcome(effect="allow", tool_input=tool_input, approval_id=approval_id)


def denied(message: str = "no") -> PermissionOutcome:
    return PermissionOutcome(effect="deny", message=message)


def running(at: float = 0.0, **changes: Any) -> TurnMachine:
    """A machine whose CLI is ready; the prompt is out unless there is none or a replay comes first."""
    fields: dict[str, Any] = {"prompt": "go", "limits": Limits(hold=HOLD, idle=IDLE, turn=TURN, background=BACKGROUND)}
    machine = TurnMachine(**fields | changes)
    machine.start(at)
    machine.handle_message(READY, at)
    return machine


def sent(commands: list[Command]) -> list[dict[str, Any]]:
    return [json.loads(command.data) for command in commands if isinstance(command, Write)]


def decisions(commands: list[Command]) -> list[tuple[str, str]]:
    """Request id and decision of every answer among the commands, of either kind of question."""
    found = []
    for body in sent(commands):
        if body["type"] == "control_response" and body["response"]["subtype"] == "success":
            answer = body["response"]["response"]
            if not answer:
                continue  # a report that was acknowledged
            hook = answer.get("hookSpecificOutput", {})
            found.append((body["response"]["request_id"], hook.get("permissionDecision") or answer["behavior"]))
    return found


def kinds(commands: list[Command]) -> list[type[Command]]:
    return [type(command) for command in commands]


# --- the beginning


def test_the_prompt_waits_until_the_cli_is_ready() -> None:
    machine = TurnMachine(prompt="go", limits=Limits(hold=HOLD, idle=IDLE, turn=TURN, background=BACKGROUND))
    [first] = sent(machine.start(0))
    assert first["request"]["subtype"] == "initialize"
    [prompt] = sent(machine.handle_message(READY, 1))
    assert prompt["message"]["content"] == "go"
    assert machine.handle_message(Reply("of somebody else", ""), 2) == []


def test_a_cli_that_refuses_to_be_supervised_gets_no_prompt() -> None:
    machine = TurnMachine(prompt="go", limits=Limits(hold=HOLD, idle=IDLE, turn=TURN, background=BACKGROUND))
    machine.start(0)
    commands = machine.handle_message(Reply(protocol.INITIALIZE_ID, "hooks are disabled"), 1)
    assert sent(commands) == []
    assert Signal(hard=False) in commands
    assert machine.outcome and machine.outcome.code == "agent_unfit"


def test_a_cli_that_never_gets_ready_is_ended() -> None:
    machine = TurnMachine(prompt="go", limits=Limits(hold=HOLD, idle=IDLE, turn=TURN, background=BACKGROUND))
    machine.start(100)
    assert machine.deadline() == 100 + m.START_TIMEOUT_S
    assert machine.tick(100 + m.START_TIMEOUT_S - 1) == []
    assert Signal(hard=False) in machine.tick(100 + m.START_TIMEOUT_S)
    assert machine.outcome and machine.outcome.code == "agent_silent"


# --- one question


def test_an_allowed_call_runs_with_exactly_the_text_of_the_ruling() -> None:
    machine, approval = running(), uuid4()
    assert machine.handle_message(call(), 1) == [RequestPermission(call())]
    assert machine.apply_outcome("r1", waiting(approval), 1) == []
    commands = machine.apply_outcome("r1", allowed(approval, '{"command":"make test"}'), 50)
    assert b'"updatedInput":{"command":"make test"}' in commands[0].data  # type: ignore[union-attr]
    assert decisions(commands) == [("r1", "allow")]
    assert commands[1:] == [OutcomeSent("r1", approval)]


def test_a_denied_call_gives_the_reason_to_the_model() -> None:
    machine = running()
    machine.handle_message(call(), 1)
    [body] = sent(machine.apply_outcome("r1", denied("not on a Friday"), 1))
    output = body["response"]["response"]["hookSpecificOutput"]
    assert (output["permissionDecision"], output["permissionDecisionReason"]) == ("deny", "not on a Friday")


def test_a_second_ruling_for_the_same_call_changes_nothing() -> None:
    machine = running()
    machine.handle_message(call(), 1)
    machine.apply_outcome("r1", denied(), 1)
    assert machine.apply_outcome("r1", allowed(), 2) == []
    assert machine.apply_outcome("never asked", allowed(), 2) == []


def test_parallel_calls_are_answered_each_by_itself() -> None:
    machine = running()
    for number in (1, 2, 3):
        assert machine.handle_message(call(number), 1) == [RequestPermission(call(number))]
        machine.apply_outcome(f"r{number}", waiting(), 1)
    assert decisions(machine.apply_outcome("r3", denied(), 5)) == [("r3", "deny")]
    assert decisions(machine.apply_outcome("r1", allowed(), 6)) == [("r1", "allow")]
    assert decisions(machine.apply_outcome("r2", allowed(), 7)) == [("r2", "allow")]


def test_the_prompt_behind_an_allowed_callback_is_answered_from_the_same_grant() -> None:
    machine = running()
    machine.handle_message(call(), 1)
    machine.apply_outcome("r1", allowed(tool_input='{"command":"edited"}'), 1)
    again = call(request_id="net", is_callback=False)
    commands = machine.handle_message(again, 2)
    assert decisions(commands) == [("net", "allow")]
    assert b"edited" in commands[0].data  # type: ignore[union-attr]


@pytest.mark.parametrize(
    "other",
    [
        call(request_id="net", is_callback=False, tool_name="Write"),
        call(request_id="net", is_callback=False, tool_use_id="toolu_9"),
        call(request_id="net"),
    ],
)
def test_anything_but_that_prompt_is_a_new_question(other: ToolRequest) -> None:
    machine = running()
    machine.handle_message(call(), 1)
    machine.apply_outcome("r1", allowed(), 1)
    assert machine.handle_message(other, 2) == [RequestPermission(other)]


def test_a_denied_call_that_comes_again_by_the_prompt_is_asked_again_and_not_allowed() -> None:
    machine = running()
    machine.handle_message(call(), 1)
    machine.apply_outcome("r1", denied(), 1)
    assert machine.handle_message(call(request_id="net", is_callback=False), 2) == [
        RequestPermission(call(request_id="net", is_callback=False))
    ]


def test_a_request_said_twice_is_asked_and_answered_once() -> None:
    machine = running()
    machine.handle_message(call(), 1)
    assert machine.handle_message(call(), 1) == []
    assert decisions(machine.apply_outcome("r1", allowed(), 2)) == [("r1", "allow")]
    assert machine.handle_message(call(), 3) == []


def test_a_call_that_is_already_open_is_not_asked_a_second_time() -> None:
    machine = running()
    machine.handle_message(call(), 1)
    machine.apply_outcome("r1", waiting(), 1)
    assert decisions(machine.handle_message(call(request_id="r2"), 2)) == [("r2", "deny")]
    assert decisions(machine.apply_outcome("r1", allowed(), 3)) == [("r1", "allow")]


def test_a_withdrawn_question_is_closed_and_never_answered() -> None:
    machine, approval = running(), uuid4()
    machine.handle_message(call(), 1)
    machine.apply_outcome("r1", waiting(approval), 1)
    commands = machine.handle_message(Withdrawn("r1"), 2)
    assert kinds(commands) == [Withdraw, OutcomeSent]
    assert machine.apply_outcome("r1", allowed(approval), 3) == []
    assert machine.handle_message(Withdrawn("unknown"), 4) == []


def test_a_question_about_a_plan_brings_the_plan() -> None:
    machine = running()
    block = {"type": "tool_use", "id": "toolu_1", "name": "ExitPlanMode", "input": {"plan": "1. tidy"}}
    machine.handle_message(OutputMessage("assistant", "", {"type": "assistant", "message": {"content": [block]}}), 1)
    asked = call(tool_name="ExitPlanMode", tool_input="{}")
    assert machine.handle_message(asked, 2) == [RequestPermission(asked, "1. tidy")]


def test_other_requests_are_refused_and_noted() -> None:
    commands = running().handle_message(OtherRequest("x1", "mcp_message"), 1)
    assert kinds(commands) == [Record, Write]
    [body] = sent(commands)
    assert (body["response"]["subtype"], body["response"]["request_id"]) == ("error", "x1")


def test_deadlines_of_questions_are_told_and_can_be_put_off() -> None:
    machine, approval = running(), uuid4()
    machine.handle_message(call(), 1)
    machine.apply_outcome("r1", waiting(approval, for_s=89), 1)
    assert machine.next_expiry() == 90
    assert machine.overdue_approvals(89) == []
    assert machine.overdue_approvals(90) == [approval]
    machine.postpone_expiry(approval, 91)
    assert machine.overdue_approvals(90) == []
    assert decisions(machine.apply_outcome("r1", denied("nobody answered"), 91)) == [("r1", "deny")]
    assert machine.next_expiry() == float("inf")


# --- parking


def parked_at_hold(machine: TurnMachine, at: float = 1.0) -> list[Command]:
    assert machine.tick(at + HOLD - 1) == []
    return machine.tick(at + HOLD)


def test_a_call_nobody_answers_within_the_hold_is_deferred_and_the_turn_parked() -> None:
    machine = running()
    machine.handle_message(call(), 1)
    machine.apply_outcome("r1", waiting(), 1)
    assert machine.deadline() == 1 + HOLD
    assert decisions(parked_at_hold(machine)) == [("r1", "defer")]
    assert machine.apply_outcome("r1", allowed(), 1 + HOLD) == []  # too late for this process
    commands = machine.handle_message(DEFERRED, 2 + HOLD)
    assert CloseInput() in commands and Withdraw not in kinds(commands)
    assert machine.outcome and machine.outcome.status == PARKED
    assert machine.deferred_tool_use_id == "toolu_1"


def test_after_a_deferred_call_every_further_one_of_the_turn_is_asked_and_put_off() -> None:
    machine = running()
    machine.handle_message(call(), 1)
    machine.apply_outcome("r1", waiting(), 1)
    parked_at_hold(machine)
    [ask] = machine.handle_message(call(2), 2 + HOLD)
    assert isinstance(ask, RequestPermission) and ask.put_off
    assert machine.tick(2 + 9 * HOLD) == [], "it cannot be deferred as well"
    assert decisions(machine.apply_outcome("r2", denied(), 3 + HOLD)) == [("r2", "deny")]
    commands = machine.handle_message(DEFERRED, 4 + HOLD)
    assert Withdraw not in kinds(commands)
    assert machine.outcome and machine.outcome.status == PARKED


def test_a_sub_agents_call_beside_a_deferred_one_is_refused() -> None:
    machine = running()
    machine.handle_message(call(), 1)
    machine.apply_outcome("r1", waiting(), 1)
    parked_at_hold(machine)
    [body] = sent(machine.handle_message(call(2, agent_id="agent-1"), 2 + HOLD))
    output = body["response"]["response"]["hookSpecificOutput"]
    assert (output["permissionDecision"], output["permissionDecisionReason"]) == ("deny", m.NOT_NOW)


@pytest.mark.parametrize("unfit", [{"agent_id": "agent-1"}, {"is_callback": False}])
def test_a_call_that_cannot_be_deferred_is_held_for_as_long_as_it_takes(unfit: dict[str, Any]) -> None:
    machine = running()
    machine.handle_message(call(**unfit), 1)
    machine.apply_outcome("r1", waiting(), 1)
    assert machine.deadline() == float("inf")
    assert machine.tick(1 + 10 * HOLD) == []
    assert decisions(machine.apply_outcome("r1", allowed(), 1 + 11 * HOLD)) == [("r1", "allow")]


def test_nothing_is_deferred_while_a_second_call_is_open() -> None:
    machine = running()
    for number in (1, 2):
        machine.handle_message(call(number), 1)
        machine.apply_outcome(f"r{number}", waiting(), 1)
    assert machine.tick(1 + 2 * HOLD) == []
    machine.apply_outcome("r2", denied(), 2 + 2 * HOLD)
    assert decisions(machine.tick(3 + 2 * HOLD)) == [("r1", "defer")]


def test_a_call_that_is_not_put_to_a_person_yet_is_not_deferred() -> None:
    machine = running()
    machine.handle_message(call(), 1)
    assert machine.tick(1 + 2 * HOLD) == []


def test_a_hold_longer_than_the_idle_time_still_parks() -> None:
    machine = running(limits=Limits(hold=2 * IDLE, idle=IDLE, turn=TURN, background=BACKGROUND))
    machine.handle_message(call(), 1)
    machine.apply_outcome("r1", waiting(), 1)
    assert decisions(machine.tick(1 + 2 * IDLE)) == [("r1", "defer")]
    assert machine.tick(2 + 2 * IDLE) == []
    assert machine.deadline() > 2 + 2 * IDLE


def test_a_turn_put_off_by_the_cli_alone_is_a_failure_and_not_parked_for_ever() -> None:
    machine = running()
    machine.handle_message(DEFERRED, 1)
    assert machine.outcome and machine.outcome.status == Turn.Status.FAILED


def test_a_call_too_large_for_the_cli_to_find_again_is_held() -> None:
    machine = running()
    large = call(tool_input=json.dumps({"content": "x" * m.LARGEST_DEFERRED}))
    machine.handle_message(large, 1)
    machine.apply_outcome("r1", waiting(), 1)
    assert machine.tick(1 + 2 * HOLD) == []
    assert machine.deadline() == float("inf")
    assert decisions(machine.apply_outcome("r1", allowed(tool_input=large.tool_input), 2 + 2 * HOLD)) == [
        ("r1", "allow")
    ]


def test_a_parked_call_that_the_cli_never_repeats_is_taken_up_as_after_a_kill() -> None:
    machine = running(prompt="", replay=True)
    assert machine.deadline() == m.REPLAYS_S
    assert machine.tick(m.REPLAYS_S - 1) == []
    assert kinds(machine.tick(m.REPLAYS_S)) == [CloseInput, Signal]
    assert machine.outcome and machine.outcome.status == STOPPED
    assert machine.replay_missed
    late = running(prompt="", replay=True)
    late.handle_message(call(), m.REPLAYS_S - 1)
    late.apply_outcome("r1", waiting(), m.REPLAYS_S - 1)
    assert Signal not in kinds(late.tick(2 * m.REPLAYS_S)) and not late.replay_missed


def test_a_replayed_call_is_asked_before_anything_is_said_to_the_cli() -> None:
    machine = running(prompt="", replay=True)
    assert machine.handle_message(call(), 1) == [RequestPermission(call())]
    assert decisions(machine.apply_outcome("r1", allowed(), 1)) == [("r1", "allow")]
    machine.handle_message(DONE, 2)
    assert machine.outcome and machine.outcome.status == Turn.Status.COMPLETED


def test_a_prompt_follows_after_the_replayed_calls_own_result() -> None:
    machine = running(prompt="next", replay=True)
    machine.handle_message(call(), 1)
    machine.apply_outcome("r1", denied("expired"), 1)
    [prompt] = sent(machine.handle_message(DONE, 2))
    assert prompt["message"]["content"] == "next"
    assert CloseInput() in machine.handle_message(DONE, 3)
    assert machine.outcome and machine.outcome.status == Turn.Status.COMPLETED


def test_a_replayed_call_is_not_parked_again_while_a_prompt_waits_behind_it() -> None:
    machine = running(prompt="next", replay=True)
    machine.handle_message(call(), 1)
    machine.apply_outcome("r1", waiting(), 1)
    assert machine.tick(1 + 2 * HOLD) == []


def test_a_prompt_behind_a_call_that_the_cli_never_repeats_is_sent_in_its_place() -> None:
    machine = running(prompt="next", replay=True)
    [prompt] = sent(machine.tick(m.TAKES_UP_S))
    assert prompt["message"]["content"] == "next"
    assert machine.tick(2 * m.REPLAYS_S) == [] and not machine.replay_missed


# --- stopping


def test_an_interrupt_withdraws_the_questions_and_ends_the_turn_as_interrupted() -> None:
    machine, approval = running(), uuid4()
    machine.handle_message(call(), 1)
    machine.apply_outcome("r1", waiting(approval), 1)
    commands = machine.interrupt(2)
    assert kinds(commands) == [Withdraw, Write]
    assert sent(commands)[0]["request"] == {"subtype": "interrupt"}
    assert machine.interrupt(3) == []
    assert machine.apply_outcome("r1", allowed(approval), 3) == []
    machine.handle_message(ABORTED, 4)
    assert machine.outcome and machine.outcome.status == Turn.Status.INTERRUPTED


def test_a_call_that_comes_after_an_interrupt_is_denied() -> None:
    machine = running()
    machine.interrupt(1)
    assert decisions(machine.handle_message(call(), 2)) == [("r1", "deny")]


def test_an_interrupt_before_the_prompt_ends_without_sending_it() -> None:
    machine = TurnMachine(prompt="go", limits=Limits(hold=HOLD, idle=IDLE, turn=TURN, background=BACKGROUND))
    machine.start(0)
    assert machine.interrupt(1) == [CloseInput()]
    assert machine.outcome and machine.outcome.status == Turn.Status.INTERRUPTED


def test_an_interrupt_that_is_not_obeyed_ends_in_term_and_kill() -> None:
    machine = running()
    machine.interrupt(10)
    assert Signal(hard=False) in machine.tick(10 + m.AFTER_RESULT_S)
    assert Signal(hard=True) in machine.tick(10 + m.AFTER_RESULT_S + m.AFTER_TERM_S)
    assert machine.outcome and machine.outcome.status == Turn.Status.INTERRUPTED


def test_a_stop_parks_the_one_open_call_at_once() -> None:
    machine = running()
    machine.handle_message(call(), 1)
    machine.apply_outcome("r1", waiting(), 1)
    assert decisions(machine.stop(2)) == [("r1", "defer")]
    machine.handle_message(DEFERRED, 3)
    assert machine.outcome and machine.outcome.status == PARKED


def test_a_stop_with_two_open_calls_leaves_them_to_another_process() -> None:
    machine = running()
    for number in (1, 2):
        machine.handle_message(call(number), 1)
        machine.apply_outcome(f"r{number}", waiting(), 1)
    commands = machine.stop(2)
    assert Withdraw not in kinds(commands) and Signal(hard=False) in commands
    assert machine.outcome and machine.outcome.status == STOPPED


def test_a_stop_while_the_agent_works_leaves_the_turn_to_another_process() -> None:
    machine = running()
    assert Signal(hard=False) in machine.stop(2)
    assert machine.outcome and machine.outcome.status == STOPPED
    assert machine.stop(3) == []


def test_a_stop_before_the_prompt_says_that_it_was_not_sent() -> None:
    machine = TurnMachine(prompt="go", limits=Limits(hold=HOLD, idle=IDLE, turn=TURN, background=BACKGROUND))
    machine.start(0)
    machine.stop(1)
    assert machine.outcome and machine.outcome.status == UNSENT


@pytest.mark.parametrize("ruling", [allowed(), denied()])
def test_a_stop_during_the_policys_thinking_takes_effect_with_its_answer(ruling: PermissionOutcome) -> None:
    machine = running()
    machine.handle_message(call(), 1)
    assert machine.stop(2) == []
    commands = machine.apply_outcome("r1", ruling, 3)
    assert Signal(hard=False) in commands
    assert machine.outcome and machine.outcome.status == STOPPED


def test_a_stop_during_the_policys_thinking_parks_what_a_person_must_answer() -> None:
    machine = running()
    machine.handle_message(call(), 1)
    machine.stop(2)
    assert decisions(machine.apply_outcome("r1", waiting(), 3)) == [("r1", "defer")]


def test_giving_up_withdraws_the_questions_and_asks_the_process_to_end() -> None:
    machine, approval = running(), uuid4()
    machine.handle_message(call(), 1)
    machine.apply_outcome("r1", waiting(approval), 1)
    commands = machine.abandon(failed("x", "because"), 2)
    assert kinds(commands) == [Withdraw, CloseInput, Signal]
    assert machine.abandon(failed("y", "again"), 3) == []
    assert machine.outcome and machine.outcome.code == "x"


def test_a_refused_login_ends_the_turn_at_once_and_other_retries_do_not() -> None:
    machine = running()
    assert kinds(machine.handle_message(ApiRetry(529, {"attempt": 1}), 1)) == [Record]
    assert Signal(hard=False) in machine.handle_message(ApiRetry(401, {"attempt": 1}), 2)
    assert machine.outcome and machine.outcome.code == "api_unauthorized"


# --- time


def test_silence_ends_the_turn_but_not_while_a_question_is_open() -> None:
    machine = running()
    machine.handle_message(call(is_callback=False), 1)
    machine.apply_outcome("r1", waiting(), 1)
    assert machine.tick(1 + 5 * IDLE) == []
    machine.apply_outcome("r1", allowed(), 1 + 5 * IDLE)
    assert machine.tick(5 * IDLE + IDLE - 1) == []
    assert Signal(hard=False) in machine.tick(1 + 6 * IDLE)
    assert machine.outcome and machine.outcome.code == "agent_idle"


def test_the_time_people_take_does_not_count_for_the_turn() -> None:
    machine = running()
    machine.handle_message(call(is_callback=False), 100)
    machine.apply_outcome("r1", waiting(), 100)
    machine.apply_outcome("r1", allowed(), 100 + TURN)
    at = 100 + TURN
    while at + IDLE / 2 < 2 * TURN:
        at += IDLE / 2
        assert machine.handle_message(Delta("x"), at) == [Stream("x")]
        assert machine.tick(at) == []
    machine.handle_message(Delta("x"), 2 * TURN - 1)
    assert Signal(hard=False) in machine.tick(2 * TURN)
    assert machine.outcome and machine.outcome.code == "turn_timeout"


def test_a_process_that_stays_after_its_last_word_gets_term_once_and_kill_once() -> None:
    machine = running()
    assert CloseInput() in machine.handle_message(DONE, 5)
    assert machine.deadline() == 5 + m.AFTER_RESULT_S
    assert machine.tick(6) == []
    assert machine.tick(machine.deadline()) == [Signal(hard=False)]
    assert machine.tick(6 + m.AFTER_RESULT_S) == []
    assert machine.tick(machine.deadline()) == [Signal(hard=True)]
    assert machine.deadline() == float("inf")
    assert machine.outcome and machine.outcome.status == Turn.Status.COMPLETED


def test_a_process_that_ends_without_a_last_word_closes_its_questions() -> None:
    machine, approval = running(), uuid4()
    machine.handle_message(call(), 1)
    machine.apply_outcome("r1", waiting(approval), 1)
    assert machine.handle_exit(-9, "") == [Withdraw(approval, "the agent's process ended")]
    assert machine.outcome and machine.outcome.code == "agent_killed"


# --- any order of events

WORDS: list[protocol.Message] = [
    READY,
    DONE,
    DEFERRED,
    ABORTED,
    ApiRetry(529, {}),
    ApiRetry(401, {}),
    Delta("x"),
    UnreadableLine("?", 1),
    OtherRequest("other", ""),
    OutputMessage("assistant", "", {"type": "assistant", "message": {"content": 7}}),
    Reply(protocol.INITIALIZE_ID, "no"),
    Result({"is_error": True, "kind": 1}),
    tasks("t1"),
    tasks(),
    INIT,
    DONE,
    ended("toolu_1"),
    tool_result("toolu_2"),
    tool_result("toolu_3", is_error=True),
]


class AnyOrder(RuleBasedStateMachine):
    """What must hold whatever the CLI, people, the worker and the clock do."""

    asked = Bundle("asked")

    @initialize(
        prompt=st.sampled_from(["", "go"]),
        replay=st.booleans(),
        interrupted=st.booleans(),
        hold=st.sampled_from([5.0, HOLD, 2000.0]),
    )
    def begin(self, prompt: str, replay: bool, interrupted: bool, hold: float) -> None:
        self.now, self.count, self.over = 0.0, 0, False
        self.answers: dict[str, str] = {}
        self.ruled: set[tuple[str, str]] = set()
        self.defers = self.prompts = self.terms = self.kills = 0
        limits = Limits(hold=hold, idle=IDLE, turn=TURN, background=BACKGROUND)
        self.machine = TurnMachine(prompt=prompt, limits=limits, replay=replay, interrupted=interrupted)
        self.do(self.machine.start(self.now))

    def do(self, commands: list[Command]) -> None:
        for request_id, decision in decisions(commands):
            assert request_id not in self.answers, "answered twice"
            self.answers[request_id] = decision
            self.defers += decision == "defer"
            if decision == "allow":
                request = self.requests[request_id]
                assert (request.tool_use_id, request.tool_input) in self.ruled, "allowed without a ruling"
        self.prompts += sum(body["type"] == "user" for body in sent(commands))
        self.terms += Signal(hard=False) in commands
        self.kills += Signal(hard=True) in commands
        assert self.defers <= 1 and self.prompts <= 1 and self.terms <= 1 and self.kills <= 1

    @property
    def requests(self) -> dict[str, ToolRequest]:
        if not hasattr(self, "_requests"):
            self._requests: dict[str, ToolRequest] = {}
        return self._requests

    @rule(target=asked, is_callback=st.booleans(), agent_id=st.sampled_from(["", "a1"]), same=st.integers(0, 3))
    def the_cli_asks(self, is_callback: bool, agent_id: str, same: int) -> str:
        self.count += 1
        tool_use_id = f"toolu_{same}" if same else f"toolu_new_{self.count}"
        request = call(request_id=f"r{self.count}", tool_use_id=tool_use_id, is_callback=is_callback, agent_id=agent_id)
        self.requests[request.request_id] = request
        self.do(self.machine.handle_message(request, self.now))
        return request.request_id

    @rule(request_id=asked)
    def the_cli_repeats_itself(self, request_id: str) -> None:
        self.do(self.machine.handle_message(self.requests[request_id], self.now))

    @rule(request_id=asked, ruling=st.sampled_from(["allow", "deny", "wait"]))
    def somebody_rules(self, request_id: str, ruling: str) -> None:
        request = self.requests[request_id]
        if ruling == "allow" and request_id in self.machine.calls:
            self.ruled.add((request.tool_use_id, request.tool_input))
        made = {"allow": allowed(), "deny": denied(), "wait": waiting(for_s=100)}[ruling]
        self.do(self.machine.apply_outcome(request_id, made, self.now))

    @rule(request_id=asked)
    def the_cli_withdraws(self, request_id: str) -> None:
        self.do(self.machine.handle_message(Withdrawn(request_id), self.now))

    @rule(word=st.sampled_from(WORDS))
    def the_cli_speaks(self, word: protocol.Message) -> None:
        self.do(self.machine.handle_message(word, self.now))

    @rule(what=st.sampled_from(["interrupt", "stop", "abandon"]))
    def somebody_stops_it(self, what: str) -> None:
        if what == "abandon":
            self.do(self.machine.abandon(failed("x", "y"), self.now))
        else:
            self.do(getattr(self.machine, what)(self.now))

    @rule(seconds=st.sampled_from([0.0, 0.1, 1.0, 11.0, 299.0, 601.0, 20_000.0]))
    def time_passes(self, seconds: float) -> None:
        self.now += seconds
        self.do(self.machine.tick(self.now))

    @precondition(lambda self: self.machine.deadline() != float("inf"))
    @rule()
    def the_deadline_comes(self) -> None:
        self.now = max(self.now, self.machine.deadline())
        self.do(self.machine.tick(self.now))
        assert self.machine.deadline() > self.now, "the loop would spin"

    @rule()
    def the_process_ends(self) -> None:
        self.do(self.machine.handle_exit(1, "boom"))

    @invariant()
    def what_is_over_waits_for_nobody(self) -> None:
        if self.machine.outcome is not None:
            assert not self.machine.calls
            assert not self.machine.calls

    @invariant()
    def the_deadline_comes_again_after_each_tick(self) -> None:
        self.do(self.machine.tick(self.now))
        assert self.machine.deadline() > self.now or self.machine.tick(self.now) == []
        assert self.machine.deadline() > self.now, "the loop would spin"

    def teardown(self) -> None:
        """Whatever happened: once it is over, the process is killed within a bounded time."""
        if not hasattr(self, "machine"):
            return
        self.do(self.machine.abandon(failed("x", "y"), self.now))
        for _ in range(5):
            if self.machine.deadline() == float("inf"):
                break
            self.now = max(self.now, self.machine.deadline())
            self.do(self.machine.tick(self.now))
        assert self.machine.outcome is not None


TestAnyOrder = AnyOrder.TestCase
TestAnyOrder.settings = hypothesis_settings(max_examples=150, stateful_step_count=25, deadline=None)


def test_a_request_that_nobody_can_refuse_ends_the_run() -> None:
    machine = TurnMachine(prompt="go", limits=Limits(hold=300, idle=600, turn=3600, background=3600))
    machine.start(0)
    commands = machine.handle_message(protocol.parse(b'{"type":"control_request", broken'), 1)
    assert machine.outcome
    assert machine.outcome.code == "agent_garbled"
    assert Signal(hard=False) in commands


# --- the gate's audit of itself


def test_a_call_that_ran_as_it_was_allowed_is_acknowledged_and_nothing_else() -> None:
    machine = running()
    machine.handle_message(call(), 1)
    machine.apply_outcome("r1", allowed(tool_input='{"command":"edited"}'), 1)
    [answer] = sent(machine.handle_message(ended("toolu_1", '{"command":"edited"}'), 2))
    assert (answer["response"]["request_id"], answer["response"]["response"]) == ("end_toolu_1", {})
    assert machine.outcome is None


@pytest.mark.parametrize(
    "heard", [ended("toolu_1"), ended("toolu_9"), tool_result("toolu_9"), tool_result("toolu_9", is_error=True)]
)
def test_a_tool_that_ran_without_its_decision_kills_the_process_at_once(heard: protocol.Message) -> None:
    machine, waits = running(), uuid4()
    machine.handle_message(call(), 1)
    machine.apply_outcome("r1", allowed(tool_input='{"command":"edited"}'), 1)
    machine.handle_message(call(2), 2)
    machine.apply_outcome("r2", waiting(waits), 2)
    commands = machine.handle_message(heard, 3)
    assert commands[0] == Signal(hard=True)
    assert ReportViolation in kinds(commands)
    assert waits in [command.approval_id for command in commands if isinstance(command, Withdraw)]
    machine.handle_message(DONE, 4)
    machine.handle_exit(-9, "")
    assert machine.outcome and (machine.outcome.status, machine.outcome.code) == ("failed", "ran_unapproved")


def test_a_violation_counts_after_the_result_too() -> None:
    machine = running()
    machine.handle_message(DONE, 1)
    assert Signal(hard=True) in machine.handle_message(tool_result("toolu_9"), 2)
    assert machine.outcome and machine.outcome.code == "ran_unapproved"


def test_a_replayed_call_is_let_go_only_when_its_run_can_be_audited() -> None:
    machine = TurnMachine(prompt="", replay=True, limits=Limits(hold=9, idle=9, turn=9, background=9))
    machine.start(0)
    machine.handle_message(call(is_callback=False), 1)
    assert machine.apply_outcome("r1", allowed(), 1) == []
    commands = machine.handle_message(READY, 2)
    assert decisions(commands) == [("r1", "allow")]
    assert OutcomeSent("r1", None) in commands


def test_a_refusal_of_a_replayed_call_waits_for_nothing() -> None:
    machine = TurnMachine(prompt="", replay=True, limits=Limits(hold=9, idle=9, turn=9, background=9))
    machine.start(0)
    machine.handle_message(call(is_callback=False), 1)
    assert decisions(machine.apply_outcome("r1", denied(), 1)) == [("r1", "deny")]


def test_the_prompt_behind_a_callback_is_answered_once_with_the_input_of_the_decision() -> None:
    machine = running()
    machine.handle_message(call(), 1)
    machine.apply_outcome("r1", allowed(tool_input='{"command":"edited","x":1}'), 1)
    rewritten = call(request_id="net", is_callback=False, tool_input='{"command":"edited"}')
    [answer] = machine.handle_message(rewritten, 2)
    assert b'{"command":"edited","x":1}' in answer.data  # type: ignore[union-attr]
    again = call(request_id="net2", is_callback=False)
    assert machine.handle_message(again, 3) == [RequestPermission(again)]


@pytest.mark.parametrize("head", ['{"type":"user","message":{"content":[{"type":"tool_result",', '"orch_ended"'])
def test_a_report_too_long_to_be_read_ends_the_run(head: str) -> None:
    machine = running()
    commands = machine.handle_message(protocol.parse(protocol.OversizedLine(head.encode(), 10**9)), 1)
    assert Signal(hard=False) in commands
    assert machine.outcome and machine.outcome.code == "unauditable"


def test_a_call_that_would_run_elsewhere_is_held_and_not_parked() -> None:
    machine = running(directory="/work")
    machine.handle_message(call(folder="/work/sub"), 1)
    machine.apply_outcome("r1", waiting(), 1)
    assert machine.tick(1 + HOLD) == []
    machine = running(directory="/work")
    machine.handle_message(call(folder="/work"), 1)
    machine.apply_outcome("r1", waiting(), 1)
    assert decisions(machine.tick(1 + HOLD)) == [("r1", "defer")]


# --- the background


def test_a_turn_lasts_while_tasks_live_and_the_last_result_counts() -> None:
    machine = running()
    machine.handle_message(tasks("t1"), 1)
    commands = machine.handle_message(cost(0.5, result="main text"), 2)
    assert CloseInput() not in commands
    assert machine.outcome is None
    assert machine.tick(2 + IDLE + 1) == []  # silence is no failure now
    machine.handle_message(tasks(), 1000)
    machine.handle_message(INIT, 1001)
    assert machine.tick(1500) == []
    assert CloseInput() not in machine.handle_message(cost(0.25, result="all done"), 1501)
    assert CloseInput() in machine.tick(machine.deadline())
    assert machine.outcome and machine.outcome.text == "all done"
    assert (machine.outcome.cost_usd, machine.outcome.input_tokens, machine.outcome.output_tokens) == (0.75, 20, 2)


def test_without_background_tasks_a_result_ends_the_turn_at_once() -> None:
    assert CloseInput() in running().handle_message(DONE, 1)


def test_a_sub_agents_call_stays_open_behind_the_result_and_is_never_parked() -> None:
    machine, approval = running(), uuid4()
    machine.handle_message(tasks("t1"), 1)
    machine.handle_message(call(agent_id="a1"), 2)
    machine.apply_outcome("r1", waiting(approval), 2)
    assert not any(isinstance(command, Withdraw) for command in machine.handle_message(DONE, 3))
    assert machine.tick(3 + HOLD + BACKGROUND) == []
    assert decisions(machine.apply_outcome("r1", allowed(approval), 20_000)) == [("r1", "allow")]
    assert machine.tick(20_001) == []  # people's time does not count
    assert machine.outcome is None


def test_the_main_call_is_held_and_not_parked_while_a_task_lives() -> None:
    machine = running()
    machine.handle_message(tasks("t1"), 1)
    machine.handle_message(call(), 2)
    machine.apply_outcome("r1", waiting(), 2)
    assert machine.tick(2 + HOLD + 1) == []
    machine.handle_message(tasks(), 400)
    assert decisions(machine.tick(401)) == [("r1", "defer")]


def test_tasks_that_never_end_are_stopped_and_reported() -> None:
    machine = running()
    machine.handle_message(tasks("t1", "t2"), 1)
    [_, note] = machine.handle_message(DONE, 2)
    assert isinstance(note, Record) and "task t1" in note.lines[0][1]
    assert machine.deadline() == 2 + BACKGROUND
    stopped, *rest = machine.tick(2 + BACKGROUND)
    assert isinstance(stopped, Record)
    said = json.loads(stopped.lines[0][1])
    assert (said["status"], said["tasks"]) == ("background_stopped", ["task t1", "task t2"])
    assert CloseInput() in rest
    assert machine.outcome and machine.outcome.status == "completed"


def test_an_interrupt_ends_a_turn_that_only_waits_for_its_tasks() -> None:
    machine = running()
    machine.handle_message(tasks("t1"), 1)
    machine.handle_message(DONE, 2)
    commands = machine.interrupt(3)
    assert Signal(hard=False) in commands and CloseInput() in commands
    assert machine.outcome and machine.outcome.status == "interrupted"


def test_a_worker_that_must_go_ends_such_a_turn_and_does_not_run_it_again() -> None:
    machine = running()
    machine.handle_message(tasks("t1"), 1)
    machine.handle_message(DONE, 2)
    assert CloseInput() in machine.stop(3)
    assert machine.outcome and machine.outcome.status == "completed"


def test_a_process_that_dies_behind_its_result_has_completed() -> None:
    machine = running()
    machine.handle_message(tasks("t1"), 1)
    machine.handle_message(Result(DONE.body | {"result": "main text"}), 2)
    machine.handle_exit(-9, "")
    assert machine.outcome and (machine.outcome.status, machine.outcome.text) == ("completed", "main text")
