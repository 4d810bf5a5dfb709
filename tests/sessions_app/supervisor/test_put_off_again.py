"""Calls that were put off behind a parked one and wait again, or were asked again: each runs once, as decided last."""

import json

import pytest

from approvals.commands import cancel_approval
from approvals.models import Approval, Rule
from approvals.reopening import reopen_approval
from approvals.stop import commands as stops
from sessions_app.models import AgentSession, PermissionRequest
from tests.sessions_app.supervisor.stage import Stage, events, eventually, last_turn
from tests.sessions_app.supervisor.test_put_off import ONE, THREE, TWO, commands_run, overdue, parked


def refuse(stage: Stage, how: str, approval: Approval) -> None:
    if how == "rejected":
        stage.decide(approval, "rejected", reason="no")
    elif how == "expired":
        overdue(approval)
    else:
        cancel_approval(approval_id=approval.pk, by="anna", via="api")


def ask_again(approval: Approval) -> Approval:
    return reopen_approval(approval_id=approval.pk, by="anna", via="api")


def status(session: AgentSession) -> str:
    return str(AgentSession.objects.get(pk=session.pk).status)


def go_on(stage: Stage, session: AgentSession) -> str:
    assert status(session) == "queued"
    return stage.take(session).done()


def all_ran_in_one_turn(stage: Stage, session: AgentSession, requests: int) -> bool:
    turns = (status(session), last_turn(session).number, commands_run(stage))
    assert not PermissionRequest.objects.filter(session=session, put_off=True).exists()
    assert Approval.objects.filter(session=session.pk).count() == requests
    return turns == ("completed", 1, ["echo one", "echo two"])


def test_a_call_that_is_taken_up_during_a_stop_and_parked_keeps_its_approval(stage: Stage) -> None:
    session = parked(stage, {"tools": [ONE, TWO]}, {"sleep": 1}, TWO, {"text": "done"})
    for approval in stage.asked(session, 2):
        stage.decide(approval)
    taken = stage.take(session)
    eventually(lambda: commands_run(stage) == ["echo one"])
    stops.stop_all(by="boris", via="api")
    assert taken.done() == "parked"
    stops.lift_stop(by="boris", via="api")
    assert go_on(stage, session) == "completed"
    assert all_ran_in_one_turn(stage, session, requests=2)


@pytest.mark.parametrize("how", ["rejected", "expired"])
@pytest.mark.parametrize("when", ["before it is made", "while it waits"])
def test_the_second_call_waits_for_the_newest_request(stage: Stage, how: str, when: str) -> None:
    session = parked(stage, {"tools": [ONE, TWO]}, TWO, {"text": "done"})
    one, two = stage.asked(session, 2)
    refuse(stage, how, two)
    fresh = ask_again(two)
    if when == "before it is made":
        stage.decide(fresh)
        stage.decide(one)
    else:
        stage.decide(one)
        assert go_on(stage, session) == "parked"
        assert commands_run(stage) == ["echo one"]
        stage.decide(fresh)
    assert go_on(stage, session) == "completed"
    assert all_ran_in_one_turn(stage, session, requests=3)


@pytest.mark.parametrize("how", ["rejected", "expired", "withdrawn"])
@pytest.mark.parametrize("first", [True, False])
def test_the_parked_call_has_the_answer_of_the_newest_request(stage: Stage, how: str, first: bool) -> None:
    session = parked(stage, {"tools": [ONE, TWO]}, TWO, {"text": "done"})
    one, two = stage.asked(session, 2)
    refuse(stage, how, one)
    fresh = ask_again(one)
    for approval in (fresh, two) if first else (two, fresh):
        stage.decide(approval)
    assert go_on(stage, session) == "completed"
    assert all_ran_in_one_turn(stage, session, requests=3)


def test_a_call_that_is_put_off_a_second_time_is_not_asked_a_second_time(stage: Stage) -> None:
    session = parked(stage, {"tools": [ONE, TWO]}, {"tools": [THREE, TWO]}, TWO, {"text": "done"})
    for approval in stage.asked(session, 2):
        stage.decide(approval)
    assert go_on(stage, session) == "parked"
    [three] = stage.asked(session)
    stage.decide(three)
    assert go_on(stage, session) == "completed"
    assert commands_run(stage) == ["echo one", "echo three", "echo two"]
    assert Approval.objects.filter(session=session.pk).count() == 3


def test_a_rule_that_forbids_a_parked_call_by_now_counts_more_than_its_newest_request(stage: Stage) -> None:
    session = parked(stage, ONE, {"text": "done"})
    [one] = stage.asked(session)
    overdue(one)
    stage.decide(ask_again(one))
    Rule.objects.create(effect="deny", tool="Bash", scope="everywhere")
    assert go_on(stage, session) == "completed"
    assert commands_run(stage) == []
    assert "policy does not allow this" in json.dumps(events(session, "tool_result"))
