"""Several calls of one message, the first of which parks: all are asked, and each runs as it was decided."""

import json
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest
from django.utils import timezone

from approvals.commands import cancel_approval, expire_due_approvals
from approvals.models import Approval
from sessions_app.commands import send_message
from sessions_app.models import AgentSession, PermissionRequest
from sessions_app.supervisor.leases import resume_answered
from tests.sessions_app.supervisor.stage import Stage, events, last_turn


def bash(word: str) -> dict[str, Any]:
    return {"tool": "Bash", "input": {"command": f"echo {word}"}}


ONE, TWO, THREE = bash("one"), bash("two"), bash("three")


def parked(stage: Stage, *steps: dict[str, Any], **wanted: Any) -> AgentSession:
    """A session whose process is gone."""
    stage.approvals(hold_s=0.3)
    stage.scene(list(steps))
    session = stage.session(**wanted)
    assert stage.take(session).done() == "parked"
    return session


def commands_run(stage: Stage) -> list[str]:
    return [json.loads(one["input"])["command"] for one in stage.ran]


def test_all_calls_of_a_message_are_asked_and_each_runs_once_as_decided(stage: Stage) -> None:
    session = parked(stage, {"tools": [ONE, TWO, THREE]}, {"tools": [TWO, THREE]}, {"text": "all three"})
    one, two, three = stage.asked(session, 3)
    assert [json.loads(a.tool_input)["command"] for a in (one, two, three)] == ["echo one", "echo two", "echo three"]
    assert "order" not in one.facts and "makes this call again" in two.facts["order"]
    stage.decide(three, "rejected", reason="two are enough")
    stage.decide(one)
    session.refresh_from_db()
    assert session.status == "waiting", "the second is still open"
    stage.decide(two)
    session.refresh_from_db()
    assert session.status == "queued"
    assert stage.take(session).done() == "completed"
    assert commands_run(stage) == ["echo one", "echo two"]
    assert Approval.objects.filter(session=session.pk).count() == 3
    results = json.dumps(events(session, "tool_result"))
    assert "it was not refused" in results and "two are enough" in results
    assert not PermissionRequest.objects.filter(put_off=True).exists()
    stage.check_promises()


def test_a_call_with_another_input_than_the_one_put_off_is_asked_anew(stage: Stage) -> None:
    session = parked(stage, {"tools": [ONE, TWO]}, THREE, {"text": "done"})
    one, two = stage.asked(session, 2)
    stage.decide(one)
    stage.decide(two)
    assert stage.take(session).done() == "parked"
    assert commands_run(stage) == ["echo one"]
    [three] = stage.asked(session)
    assert json.loads(three.tool_input)["command"] == "echo three"
    stage.decide(three, "rejected")
    session.refresh_from_db()
    assert stage.take(session).done() == "completed"
    two.refresh_from_db()
    assert two.consumed_at is None
    [said] = [one for one in events(session, "approval") if one["approval"] == str(two.pk) and one.get("reason")]
    assert "did not make this call again" in said["reason"]
    stage.check_promises()


def test_the_approval_of_a_call_that_was_put_off_serves_no_later_turn(stage: Stage) -> None:
    session = parked(stage, {"tools": [ONE, TWO]}, {"text": "forgot the second"})
    one, two = stage.asked(session, 2)
    stage.decide(one)
    stage.decide(two)
    assert stage.take(session).done() == "completed"
    stage.scene([{"text": "first turn"}], [TWO, {"text": "done"}])
    send_message(session_id=session.pk, prompt="again", by="olga")
    assert stage.take(session).done() == "parked"
    [again] = stage.asked(session)
    assert again.pk != two.pk
    stage.decide(again)
    assert stage.take(session).done() == "completed"
    assert commands_run(stage) == ["echo one", "echo two"]
    stage.check_promises()


def test_of_two_like_calls_each_needs_an_approval_of_its_own(stage: Stage) -> None:
    session = parked(stage, {"tools": [ONE, ONE]}, ONE, {"text": "twice"})
    first, second = stage.asked(session, 2)
    assert first.input_digest == second.input_digest
    stage.decide(first)
    stage.decide(second, "rejected", reason="once")
    assert stage.take(session).done() == "completed"
    assert commands_run(stage) == ["echo one"]
    stage.check_promises()


def test_a_parked_call_that_was_rejected_and_is_made_again_is_asked_anew(stage: Stage) -> None:
    session = parked(stage, {"tools": [ONE, TWO]}, ONE, {"text": "done"})
    one, two = stage.asked(session, 2)
    stage.decide(one, "rejected", reason="not now")
    stage.decide(two, "rejected")
    assert stage.take(session).done() == "parked"
    [again] = stage.asked(session)
    assert (again.input_digest, again.pk != one.pk) == (one.input_digest, True)
    stage.decide(again)
    session.refresh_from_db()
    assert stage.take(session).done() == "completed"
    assert commands_run(stage) == ["echo one"]
    stage.check_promises()


def test_what_the_policy_forbids_or_allows_becomes_no_request(stage: Stage) -> None:
    forbidden = {"tool": "Read", "input": {"file_path": f"{stage.folder}/orchestra.db"}}
    harmless = {"tool": "Read", "input": {"file_path": "a.txt"}}
    stage.settings.ORCHESTRA = replace(stage.settings.ORCHESTRA, data_dir=stage.folder)
    session = parked(stage, {"tools": [ONE, forbidden, harmless]}, harmless, {"text": "done"})
    [one] = stage.asked(session)
    said = [one["content"] for one in events(session, "tool_result")]
    assert "policy does not allow" in said[0] and "make exactly this call again" in said[1]
    stage.decide(one)
    assert stage.take(session).done() == "completed"
    assert [one["tool"] for one in stage.ran] == ["Bash", "Read"]


def overdue(approval: Approval) -> None:
    Approval.objects.filter(pk=approval.pk).update(expires_at=timezone.now() - timedelta(seconds=5))
    expire_due_approvals(batch=10)


@pytest.mark.parametrize("first_expires", [True, False])
def test_an_answer_counts_although_the_other_request_expired(stage: Stage, first_expires: bool) -> None:
    session = parked(stage, {"tools": [ONE, TWO]}, TWO, {"text": "done"})
    one, two = stage.asked(session, 2)
    stage.decide(two if first_expires else one)
    overdue(one if first_expires else two)
    resume_answered(session.pk)
    session.refresh_from_db()
    assert session.status == "queued"
    assert stage.take(session).done() == "completed"
    assert commands_run(stage) == (["echo two"] if first_expires else ["echo one"])
    stage.check_promises()


def test_nobody_answering_either_ends_the_turn_without_a_process(stage: Stage) -> None:
    session = parked(stage, {"tools": [ONE, TWO]}, {"text": "done"})
    for approval in stage.asked(session, 2):
        overdue(approval)
    resume_answered(session.pk)
    session.refresh_from_db()
    assert (session.status, session.failure_code) == ("failed", "approval_expired")
    assert stage.ran == []


def test_withdrawing_one_of_them_ends_the_turn(stage: Stage) -> None:
    session = parked(stage, {"tools": [ONE, TWO]}, {"text": "done"})
    one, two = stage.asked(session, 2)
    cancel_approval(approval_id=two.pk, by="olga", via="api")
    stage.decide(one)
    resume_answered(session.pk)
    session.refresh_from_db()
    assert (session.status, last_turn(session).status) == ("completed", "interrupted")
    assert stage.ran == []
