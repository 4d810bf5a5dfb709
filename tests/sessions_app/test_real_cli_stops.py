"""The real CLI while all agents are stopped: it waits at its tool calls, is interrupted, and goes on after the lift."""

import json
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest
from pytest_django.fixtures import Settings

from approvals.models import Approval, Violation
from approvals.stop import commands as stops
from sessions_app.models import AgentSession, Event, Run
from tests.dialog import Dialog, Start
from tests.sessions_app.test_real_cli import bash
from tests.stack import until

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture(autouse=True)
def lifted() -> Any:
    """A test that fails must not leave a turn that waits for ever."""
    yield
    stops.lift_stop(by="boris", via="api")


def stop(mode: str = "hold") -> None:
    stops.stop_all(by="boris", via="api", reason="wait", mode=mode)


def lift() -> None:
    stops.lift_stop(by="boris", via="api")


def held(dialog: Dialog) -> list[str]:
    said = Event.objects.filter(session=dialog.session, kind="status").order_by("seq")
    lines = [json.loads(payload) for payload in said.values_list("payload", flat=True)]
    return [one["tool"] for one in lines if one["status"] == "held"]


def test_after_a_stop_neither_a_free_tool_nor_an_approved_command_runs_until_the_lift(start: Start) -> None:
    read = {"tool": "Read", "input": {"file_path": "notes.txt"}}
    dialog = start([bash("sleep 4; echo one > one.txt"), read, bash("echo two > two.txt"), "done"])
    dialog.answer("approved")
    until(lambda: Approval.objects.filter(consumed_at__isnull=False).exists(), "the first command runs")
    stop()
    until(lambda: held(dialog) == ["Read"], "the free tool waits")
    assert (dialog.folder / "one.txt").read_text() == "one\n"  # it was allowed before
    lift()
    approval = dialog.ask(2)
    stop()
    dialog.answer("approved", 2)
    assert dialog.thread
    dialog.thread.join(4)
    approval.refresh_from_db()
    assert dialog.thread.is_alive() and approval.consumed_at is None
    assert not (dialog.folder / "two.txt").exists()
    lift()
    turn = dialog.end()
    assert (turn.status, turn.result) == ("completed", "done")
    assert (dialog.folder / "two.txt").read_text() == "two\n"
    assert not Violation.objects.exists()


def test_a_stop_that_interrupts_ends_the_turn_and_the_dialog_goes_on_later(start: Start) -> None:
    dialog = start([bash("echo never > never.txt"), "done", "gone on"])
    dialog.ask()
    stop("interrupt")
    turn = dialog.end()
    assert turn.status == "interrupted"
    assert Approval.objects.get(session=dialog.session.pk).status == "cancelled"
    lift()
    dialog.say("go on")
    assert dialog.end().status == "completed"
    assert not (dialog.folder / "never.txt").exists()
    assert not Violation.objects.exists()


def test_a_parked_command_approved_during_a_stop_runs_once_after_the_lift(start: Start, settings: Settings) -> None:
    settings.APPROVALS = replace(settings.APPROVALS, hold=timedelta(seconds=0.5))
    dialog = start([bash("echo ran >> once.txt"), "done"])
    dialog.ask()
    dialog.end()
    stop()
    dialog.answer("approved")
    until(lambda: AgentSession.objects.get(pk=dialog.session.pk).status == "queued", "it waits in the queue")
    dialog.run()
    dialog.end()
    assert Run.objects.filter(session=dialog.session).count() == 1
    lift()
    dialog.run()
    assert dialog.end().status == "completed"
    assert (dialog.folder / "once.txt").read_text() == "ran\n"
