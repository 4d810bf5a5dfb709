"""Asking a call of a session again, with the real CLI: it runs at most once, and only with the input that was asked."""

import json
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from django.db.models.functions import Now
from pytest_django.fixtures import Settings

from approvals.commands import cancel_approval, decide_approval, expire_due_approvals
from approvals.errors import NotReopenable
from approvals.models import Approval, Rule
from approvals.reopening import reopen_approval
from sessions_app import reopened
from sessions_app.commands import cancel_session, interrupt_session
from sessions_app.models import Turn
from tests.dialog import Dialog, Start
from tests.sessions_app.test_real_cli import COLOUR, bash
from tests.stack import until

pytestmark = pytest.mark.django_db(transaction=True)

ONCE = bash("echo once >> log.txt")
PARKS = timedelta(0)
ECHO = "heard: {{last_tool_result}}"


def ask_again(old: Approval) -> Approval:
    return reopen_approval(approval_id=old.pk, by="boris", via="api")


def approve(approval: Approval, **answer: Any) -> None:
    decide_approval(approval_id=approval.pk, decision="approved", by="boris", via="api", **answer)


def run_if_queued(dialog: Dialog) -> Turn:
    dialog.session.refresh_from_db()
    assert dialog.session.status == "queued"
    dialog.run()
    return dialog.end()


def ran(dialog: Dialog) -> str:
    path: Path = dialog.folder / "log.txt"
    return path.read_text() if path.exists() else ""


def expire(approval: Approval) -> None:
    Approval.objects.filter(pk=approval.pk).update(expires_at=Now() - timedelta(seconds=1))
    expire_due_approvals(batch=10)


def refuse(how: str, approval: Approval) -> None:
    if how == "rejected":
        decide_approval(approval_id=approval.pk, decision="rejected", by="boris", via="api")
    elif how == "expired":
        expire(approval)
    else:
        cancel_approval(approval_id=approval.pk, by="anna", via="api")


@pytest.mark.parametrize("how", ["rejected", "expired", "withdrawn"])
def test_a_live_call_runs_once_when_it_was_asked_again(start: Start, how: str) -> None:
    dialog = start([ONCE, "sorry", ONCE, ONCE, ECHO])
    old = dialog.ask()
    refuse(how, old)
    dialog.end()
    fresh = ask_again(old)
    approve(fresh)
    turn_thread = dialog.session
    turn_thread.refresh_from_db()
    assert turn_thread.status == "queued"
    dialog.run()
    asked = dialog.ask(3)  # the model repeats it a second time: that is a request of its own
    assert ran(dialog) == "once\n"
    decide_approval(approval_id=asked.pk, decision="rejected", by="boris", via="api")
    turn = dialog.end()
    assert (turn.number, turn.status, turn.reopened, turn.requested_by) == (2, "completed", fresh.pk, "anna")
    fresh.refresh_from_db()
    assert (fresh.consumed_at is not None, fresh.input_digest) == (True, old.input_digest)
    assert ran(dialog) == "once\n"


@pytest.mark.parametrize("how", ["expired", "withdrawn"])
def test_a_parked_call_is_repeated_by_the_cli(start: Start, settings: Settings, how: str) -> None:
    settings.APPROVALS = replace(settings.APPROVALS, hold=PARKS)
    dialog = start([ONCE, ECHO, "no further turn of the model"])
    dialog.end()
    old = dialog.ask()
    refuse(how, old)
    dialog.session.refresh_from_db()
    assert dialog.session.status in ("failed", "completed")
    approve(ask_again(old), note="mind the gap")
    turn = run_if_queued(dialog)
    assert (turn.number, turn.status, ran(dialog)) == (2, "completed", "once\n")
    assert turn.result.startswith("heard:")  # nothing was said to the model but what its own call returned
    assert Approval.objects.count() == 2
    assert start.model_was_told("boris approved this call and says: mind the gap")
    assert not start.model_was_told("has now approved")


def test_a_parked_call_that_was_rejected_runs_when_asked_again(start: Start, settings: Settings) -> None:
    settings.APPROVALS = replace(settings.APPROVALS, hold=PARKS)
    dialog = start([ONCE, "a pity", ONCE, ECHO])
    dialog.end()
    refuse("rejected", dialog.ask())
    run_if_queued(dialog)
    approve(ask_again(dialog.ask()))
    turn = run_if_queued(dialog)
    assert (turn.status, ran(dialog), Approval.objects.count()) == ("completed", "once\n", 2)


def test_another_input_is_asked_anew(start: Start) -> None:
    dialog = start([ONCE, "sorry", bash("echo other >> log.txt"), ECHO])
    refuse("rejected", dialog.ask())
    dialog.end()
    fresh = ask_again(dialog.ask())
    approve(fresh)
    dialog.session.refresh_from_db()
    dialog.run()
    other = dialog.ask(3)
    assert ran(dialog) == ""
    refuse("rejected", other)
    dialog.end()
    fresh.refresh_from_db()
    assert (fresh.consumed_at, ran(dialog)) == (None, "")


def test_a_grant_ends_with_its_turn(start: Start) -> None:
    dialog = start([ONCE, "sorry", "not needed any more", ONCE, ECHO])
    refuse("rejected", dialog.ask())
    dialog.end()
    approve(ask_again(dialog.ask()))
    run_if_queued(dialog)
    dialog.say("do it after all")
    asked = dialog.ask(3)
    assert ran(dialog) == ""
    refuse("rejected", asked)
    dialog.end()


def test_a_rule_that_forbids_it_meanwhile_counts_more(start: Start) -> None:
    dialog = start([ONCE, "sorry", ONCE, ECHO])
    refuse("rejected", dialog.ask())
    dialog.end()
    approve(ask_again(dialog.ask()))
    Rule.objects.create(effect="deny", tool="Bash", scope="everywhere")
    turn = run_if_queued(dialog)
    assert "policy does not allow this" in turn.result
    assert ran(dialog) == ""


def test_an_approval_while_the_turn_goes_on_serves_that_turn_or_the_next(start: Start) -> None:
    dialog = start([ONCE, bash("touch second.txt"), ONCE, ECHO])
    refuse("rejected", dialog.ask())
    second = dialog.ask(2)
    approve(ask_again(dialog.ask()))
    refuse("rejected", second)
    turn = dialog.end()
    assert (turn.number, turn.status, ran(dialog)) == (1, "completed", "once\n")
    assert Approval.objects.count() == 3
    assert reopened.grants_awaiting_turn() == []


def test_it_stays_open_when_another_turn_ends_or_is_interrupted(start: Start) -> None:
    dialog = start([ONCE, bash("touch second.txt"), ECHO, "third"])
    refuse("rejected", dialog.ask())
    dialog.ask(2)
    fresh = ask_again(dialog.ask())
    interrupt_session(session_id=dialog.session.pk, by="anna")
    dialog.end()
    fresh.refresh_from_db()
    assert fresh.status == "pending"
    assert Approval.objects.filter(status="cancelled").count() == 1


def test_an_open_one_does_not_keep_a_parked_session_from_going_on(start: Start, settings: Settings) -> None:
    settings.APPROVALS = replace(settings.APPROVALS, hold=timedelta(seconds=1))
    dialog = start([ONCE, bash("touch second.txt"), ECHO])
    refuse("rejected", dialog.ask())
    ask_again(dialog.ask())
    second = dialog.ask(2) if dialog.ask(2).title.endswith("second.txt") else dialog.ask(3)
    dialog.end()
    approve(second)
    assert run_if_queued(dialog).status == "completed"
    assert (dialog.folder / "second.txt").exists()


def test_an_open_one_answers_the_parked_call_that_a_message_repeats(start: Start, settings: Settings) -> None:
    settings.APPROVALS = replace(settings.APPROVALS, hold=PARKS)
    dialog = start([ONCE, ECHO, "answer to the message"])
    dialog.end()
    expire(dialog.ask())
    fresh = ask_again(dialog.ask())
    dialog.say("well?")
    until(lambda: waiting(dialog), "the session waits for it")
    approve(fresh)
    turn = dialog.end()
    assert (turn.number, turn.status, ran(dialog)) == (2, "completed", "once\n")
    assert Turn.objects.count() == 2


def waiting(dialog: Dialog) -> bool:
    dialog.session.refresh_from_db()
    return dialog.session.status == "waiting"


def test_a_question_is_answered_in_words(start: Start) -> None:
    dialog = start([{"tool": "AskUserQuestion", "input": {"questions": [COLOUR]}}, "sorry", "heard: {{last_user}}"])
    refuse("expired", dialog.ask())
    dialog.end()
    approve(ask_again(dialog.ask()), answers='{"Which?": "Blue"}')
    turn = run_if_queued(dialog)
    assert "Which?: Blue" in turn.result


def test_the_sweep_starts_what_no_signal_did(start: Start, monkeypatch: pytest.MonkeyPatch) -> None:
    dialog = start([ONCE, "sorry", ONCE, ECHO])
    refuse("rejected", dialog.ask())
    dialog.end()
    fresh = ask_again(dialog.ask())
    Approval.objects.filter(pk=fresh.pk).update(
        status="approved", decided_at=Now(), decided_by="boris", decided_via="api", run_digest=fresh.input_digest
    )
    assert reopened.grants_awaiting_turn() == [fresh.pk]
    assert [reopened.start_turn_for_grant(fresh.pk), reopened.start_turn_for_grant(fresh.pk)] == [True, False]
    assert (run_if_queued(dialog).status, ran(dialog)) == ("completed", "once\n")
    assert "boris has now approved" in json.dumps(start.api.state.requests[-1]["body"]["messages"])


def test_the_call_of_a_cancelled_session_is_not_asked_again(start: Start) -> None:
    dialog = start([ONCE, ECHO])
    dialog.ask()
    cancel_session(session_id=dialog.session.pk, by="anna")
    dialog.end()
    with pytest.raises(NotReopenable, match="was cancelled"):
        ask_again(dialog.ask())
