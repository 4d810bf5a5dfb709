"""Whole turns while all agents are stopped: held at their tool calls or interrupted, and gone on after the lift."""

import os
import subprocess
import sys
from typing import Any

import pytest
from django.conf import settings as django_settings

from approvals.models import Approval, Rule
from approvals.stop import commands as stops
from sessions_app.commands import send_message
from sessions_app.dispatch import dispatch_queued_turns
from sessions_app.models import AgentSession, Run, Turn
from sessions_app.supervisor import leases, supervisor, worker
from tests.sessions_app.supervisor.stage import Stage, events, eventually, gone, last_turn
from tests.sessions_app.supervisor.test_faults import A_WORKER, database_url, told, write

READ = {"tool": "Read", "id": "toolu_r", "input": {"file_path": "notes.txt"}}  # free: no person is asked


def stop(mode: str = "hold") -> None:
    stops.stop_all(by="boris", via="api", reason="wait", mode=mode)


def lift() -> None:
    stops.lift_stop(by="boris", via="api")


def status(session: AgentSession) -> str:
    return str(AgentSession.objects.get(pk=session.pk).status)


def held(session: AgentSession) -> list[dict[str, Any]]:
    return [event for event in events(session, "status") if event.get("status") == "held"]


@pytest.fixture(autouse=True)
def lifted(stage: Stage) -> Any:
    """A test that fails must not leave supervisors that wait for ever."""
    yield
    lift()


# --- holding


def test_a_free_tool_waits_for_the_lift_and_runs_then(stage: Stage) -> None:
    stage.scene([{"sleep": 0.5}, READ, {"text": "done"}])
    session = stage.session()
    taken = stage.take(session)
    eventually(lambda: Run.objects.filter(session=session, pid__isnull=False).exists())
    stop()
    [line] = eventually(lambda: held(session))
    assert (line["tool"], line["tool_use_id"]) == ("Read", "toolu_r")
    assert stage.ran == [] and taken.is_alive()
    lift()
    assert taken.done() == "completed"
    assert [entry["tool_use_id"] for entry in stage.ran] == ["toolu_r"]


def test_a_rule_allows_nothing_during_a_stop_and_its_use_counts_once(stage: Stage) -> None:
    rule = Rule.objects.create(
        effect="allow", tool="Write", scope="everywhere", created_by="anna", made_for="olga", max_uses=1
    )
    stage.scene([{"sleep": 0.5}, write(id="toolu_1"), {"text": "done"}])
    session = stage.session()
    taken = stage.take(session)
    eventually(lambda: Run.objects.filter(session=session, pid__isnull=False).exists())
    stop()
    eventually(lambda: held(session))
    assert stage.ran == []
    rule.refresh_from_db()
    assert rule.uses == 0
    assert not Approval.objects.exists()
    lift()
    assert taken.done() == "completed"
    rule.refresh_from_db()
    assert (rule.uses, len(stage.ran)) == (1, 1)


def test_a_call_that_a_person_approves_during_a_stop_runs_after_the_lift(stage: Stage) -> None:
    stage.scene([write(id="toolu_1"), {"text": "done"}])
    session = stage.session()
    taken = stage.take(session)
    [approval] = stage.asked(session)
    stop()
    assert stage.decide(approval).status == "approved"
    taken.join(2.5)  # longer than a supervisor takes to look by itself
    approval.refresh_from_db()
    assert taken.is_alive() and stage.ran == [] and approval.consumed_at is None
    lift()
    assert taken.done() == "completed"
    assert [entry["tool_use_id"] for entry in stage.ran] == ["toolu_1"]


def test_a_rejection_during_a_stop_reaches_the_agent_at_once(stage: Stage) -> None:
    stage.scene([write(id="toolu_1"), {"text": "as you wish"}])
    session = stage.session()
    taken = stage.take(session)
    [approval] = stage.asked(session)
    stop()
    stage.decide(approval, "rejected", reason="no")
    assert taken.done() == "completed"
    assert "no" in told(session, "toolu_1")


def test_a_lift_that_no_ring_tells_of_is_found_out(stage: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    stage.scene([{"sleep": 0.5}, READ, {"text": "done"}])
    session = stage.session()
    taken = stage.take(session)
    eventually(lambda: Run.objects.filter(session=session, pid__isnull=False).exists())
    stop()
    eventually(lambda: held(session))
    monkeypatch.setattr(stops.notify, "send", lambda topic, key: None)
    lift()
    assert taken.done() == "completed"


def test_held_calls_end_neither_by_idleness_nor_by_the_turns_time_nor_by_their_deadline(stage: Stage) -> None:
    from datetime import timedelta

    stage.agents(idle_timeout=timedelta(seconds=1), turn_timeout=timedelta(seconds=2))
    stage.approvals(timeout_s=1.5)
    stage.scene([{"tools": [READ, write(id="toolu_1")], "together": True}, {"text": "done"}])
    stop_before = stage.session()
    taken = stage.take(stop_before)
    [approval] = stage.asked(stop_before)
    stop()
    taken.join(4)
    approval.refresh_from_db()
    assert taken.is_alive() and approval.is_open
    lift()
    stage.decide(approval)
    assert taken.done() == "completed"


# --- starting


def test_no_turn_starts_during_a_stop_and_messages_wait(stage: Stage) -> None:
    session = stage.play([{"text": "one"}], [{"text": "two"}])
    stop()
    send_message(session_id=session.pk, prompt="more", by="olga")
    assert leases.claim_turn(last_turn(session).pk, worker.this_worker()) is None
    assert stage.take(session).done() == "taken"
    assert (status(session), last_turn(session).status) == ("queued", "queued")
    Turn.objects.update(dispatched_at=None)
    assert dispatch_queued_turns() == 0
    lift()
    assert stage.take(session).done() == "completed"


def test_a_parked_request_approved_during_a_stop_runs_after_the_lift(stage: Stage) -> None:
    stage.approvals(hold_s=0.3)
    stage.scene([write(id="toolu_1"), {"text": "done"}])
    session = stage.session()
    assert stage.take(session).done() == "parked"
    stop()
    stage.decide(stage.asked(session)[0])
    eventually(lambda: status(session) == "queued")
    assert stage.take(session).done() == "taken"
    assert stage.ran == []
    lift()
    assert stage.take(session).done() == "completed"
    assert [entry["tool_use_id"] for entry in stage.ran] == ["toolu_1"]


def test_a_call_approved_and_held_may_still_be_parked(stage: Stage) -> None:
    stage.approvals(hold_s=1.5)
    stage.scene([write(id="toolu_1"), {"text": "done"}])
    session = stage.session()
    taken = stage.take(session)
    [approval] = stage.asked(session)
    stop()
    stage.decide(approval)
    assert taken.done() == "parked"
    eventually(lambda: status(session) == "queued")
    lift()
    assert stage.take(session).done() == "completed"
    assert len(stage.ran) == 1


# --- interrupting


def test_a_stop_that_interrupts_ends_running_turns_and_keeps_their_dialogs(stage: Stage) -> None:
    stage.scene([write(id="toolu_1"), {"text": "hm"}], [{"text": "second"}])
    session = stage.session()
    taken = stage.take(session)
    [approval] = stage.asked(session)
    stop("interrupt")
    assert taken.done() == "interrupted"
    approval.refresh_from_db()
    assert (approval.status, stage.ran) == ("cancelled", [])
    lift()
    send_message(session_id=session.pk, prompt="go on", by="olga")
    assert stage.take(session).done() == "completed"


def test_a_stop_that_holds_can_be_made_one_that_interrupts(stage: Stage) -> None:
    stage.scene([{"sleep": 0.5}, READ, {"text": "hm"}])
    session = stage.session()
    taken = stage.take(session)
    eventually(lambda: Run.objects.filter(session=session, pid__isnull=False).exists())
    stop()
    eventually(lambda: held(session))
    stop("interrupt")
    assert taken.done() == "interrupted"
    assert stage.ran == []


def test_a_parked_turn_is_left_alone_by_an_interrupt(stage: Stage) -> None:
    stage.approvals(hold_s=0.3)
    stage.scene([write(id="toolu_1"), {"text": "done"}])
    session = stage.session()
    assert stage.take(session).done() == "parked"
    stop("interrupt")
    [approval] = stage.asked(session)
    stage.decide(approval)
    eventually(lambda: status(session) == "queued")
    lift()
    assert stage.take(session).done() == "completed"


# --- whatever crashes


def test_a_worker_that_must_go_leaves_held_calls_to_another_one(stage: Stage) -> None:
    stage.scene([{"sleep": 0.5}, READ, {"text": "done"}])
    session = stage.session()
    taken = stage.take(session)
    eventually(lambda: Run.objects.filter(session=session, pid__isnull=False).exists())
    stop()
    eventually(lambda: held(session))
    try:
        worker.stop()
        taken.done()
    finally:
        supervisor.worker_stopping.clear()
    assert status(session) == "queued"
    assert stage.ran == []
    lift()
    stage.scene([READ, {"text": "done"}])
    assert stage.take(session).done() == "completed"


def test_a_worker_killed_during_a_stop_changes_nothing_about_it(stage: Stage) -> None:
    stage.scene([{"text": "hm"}, write(id="toolu_1")], start=[{"ignore": "EOF"}])
    session = stage.session()
    env = os.environ | {
        "DATABASE_URL": database_url(),
        "AGENT_CLI_PATH": str(stage.folder / "cli" / "claude"),
        "AGENT_WORKING_ROOTS": str(stage.root),
        "DJANGO_SETTINGS_MODULE": "config.settings",
    }
    command = [sys.executable, "-c", A_WORKER, str(last_turn(session).pk), django_settings.ORCHESTRA.marker]
    process = subprocess.Popen(command, env=env, cwd=django_settings.BASE_DIR, start_new_session=True)
    try:
        [approval] = stage.asked(session)
        agent = eventually(lambda: Run.objects.get(session=session).pid)
        stop()
        stage.decide(approval)
    finally:
        process.kill()
        process.wait()
    eventually(lambda: gone(agent or 0), "the agent dies with its worker")
    stage.scene([{"text": "hm"}, write(id="toolu_1"), {"text": "done"}])
    assert worker.reclaim_orphans() == 1
    eventually(lambda: status(session) == "queued")
    assert stage.take(session).done() == "taken"
    assert stage.ran == []
    lift()
    assert stage.take(session).done() == "completed"
    assert len(stage.ran) == 1
