"""Whole turns with a CLI that misbehaves, on a real database. After each, the stage checks the promises."""

import json
import os
import subprocess
import sys
import threading
from datetime import timedelta
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import psutil
import pytest
from django.conf import settings as django_settings
from django.db import connection, connections
from django.db.models.functions import Now
from psycopg_pool import ConnectionPool

from approvals.commands import cancel_approval, decide_approval, expire_due_approvals
from approvals.errors import ApprovalClosed
from approvals.models import Approval
from sessions_app.commands import cancel_session, interrupt_session, send_message
from sessions_app.errors import SessionFull
from sessions_app.models import AgentSession, Event, PermissionRequest, Run, Turn
from sessions_app.supervisor import leases, turn_machine, worker
from tests.sessions_app.supervisor.stage import Stage, Taken, events, eventually, gone, last_turn

MB = 1024 * 1024
UNNAMEABLE = (
    '{"type":"control_request","request_id":"z3","request":{"subtype":"can_use_tool",'
    '"tool_name":"Ba\\u0000sh","tool_use_id":"t","input":{}}}'
)
A_WORKER = """
import dataclasses, sys, uuid
import django
django.setup()
from django.conf import settings
settings.ORCHESTRA = dataclasses.replace(settings.ORCHESTRA, marker=sys.argv[2])
from sessions_app.supervisor import worker
worker.take_turn(uuid.UUID(sys.argv[1]))
"""


def write(name: str = "a.txt", **more: Any) -> dict[str, Any]:
    return {"tool": "Write", "input": {"file_path": name, "content": "hello\n"}, **more}


def told(session: AgentSession, tool_use_id: str) -> str:
    """What the model was told about a call."""
    [result] = [event for event in events(session, "tool_result") if event["tool_use_id"] == tool_use_id]
    content = result["content"]
    return content if isinstance(content, str) else json.dumps(content)


@pytest.fixture
def hasty(monkeypatch: pytest.MonkeyPatch) -> None:
    """A process that should go gets its signals soon."""
    monkeypatch.setattr(turn_machine, "AFTER_RESULT_S", 0.5)
    monkeypatch.setattr(turn_machine, "AFTER_TERM_S", 0.5)


# --- ends


SILENT_ENDS: list[tuple[list[dict[str, Any]], str, int]] = [
    ([{"exit": 0}], "agent_died", 0),
    ([{"exit": 1}], "agent_died", 1),
    ([{"raw": '{"type":"assistant","mess', "newline": False}, {"exit": 0}], "agent_died", 0),
    ([{"exit": 137}], "agent_killed", 137),
    ([{"kill": "KILL"}], "agent_killed", -9),
    ([{"stderr": "oh \0 no \ud800 \x1b[31m"}, {"exit": 2}], "agent_died", 2),
]
ENDS_WITH_WORDS: list[tuple[list[dict[str, Any]], str, int]] = [  # nothing is said before the first prompt
    ([{"text": "hm"}, {"exit": 0}], "agent_died", 0),
    ([{"text": "hm"}, {"kill": "SEGV"}], "agent_killed", -11),
]


@pytest.mark.parametrize(
    ("steps", "code", "exit_code", "when"),
    [(*end, when) for when in ("start", "turn") for end in SILENT_ENDS] + [(*end, "turn") for end in ENDS_WITH_WORDS],
)
def test_an_agent_that_ends_without_a_last_word_fails_the_turn_with_a_reason(
    stage: Stage, steps: list[dict[str, Any]], code: str, exit_code: int, when: str
) -> None:
    stage.scene(steps, start=steps if when == "start" else [])
    session = stage.session()
    stage.take(session).done()
    session.refresh_from_db()
    turn, run = last_turn(session), Run.objects.get(session=session)
    assert (session.status, turn.status, turn.failure_code) == ("failed", "failed", code)
    assert turn.failure_detail and "\0" not in turn.failure_detail
    assert (run.exit_code, run.ended_why) == (exit_code, code)


def test_what_stood_in_an_unfinished_line_is_kept(stage: Stage) -> None:
    session = stage.play([{"raw": '{"type":"assistant","mess', "newline": False}, {"exit": 0}])
    assert [event["text"] for event in events(session, "raw")] == ['{"type":"assistant","mess']


def test_a_result_that_no_column_can_hold_still_completes_the_turn(stage: Stage) -> None:
    usage = {"m": {"inputTokens": 10**30, "outputTokens": -5, "costUSD": 1e300}}
    result = {"type": "result", "result": "done \0 \ud800", "kind": 1, "model_usage_since_last_result": usage}
    session = stage.play([{"emit": result}, {"sleep": 600}])
    turn = last_turn(session)
    assert (session.status, turn.status) == ("completed", "completed")
    assert turn.result.startswith("done ")


@pytest.mark.parametrize("cli_path", ["/no/such/claude", "{plain}", "{broken}"])
def test_a_cli_that_is_missing_or_cannot_run_is_a_recorded_failure(stage: Stage, tmp_path: Path, cli_path: str) -> None:
    (tmp_path / "plain").write_text("no program")
    (tmp_path / "broken").write_text("#!/no/such/interpreter\n")
    (tmp_path / "broken").chmod(0o755)
    stage.agents(cli_path=cli_path.format(plain=tmp_path / "plain", broken=tmp_path / "broken"))
    session = stage.play([])
    assert session.status == "failed"
    assert session.failure_code in ("cli_missing", "cli_unusable", "agent_died")
    assert session.failure_detail
    assert Run.objects.get(session=session).ended_at


def test_a_directory_that_went_away_is_a_recorded_failure_and_the_next_message_is_taken(stage: Stage) -> None:
    stage.scene([{"text": "hi"}])
    session = stage.session()
    Path(session.working_directory).rmdir()
    stage.take(session).done()
    session.refresh_from_db()
    assert (session.status, session.failure_code) == ("failed", "directory_unusable")
    Path(session.working_directory).mkdir()
    send_message(session_id=session.pk, prompt="again", by="olga")
    assert stage.take(session).done() == "completed"


# --- garbage and floods


def test_garbage_is_recorded_as_such_and_the_session_goes_on(stage: Stage) -> None:
    stage.agents(line_cap_bytes=MB)
    noise: list[dict[str, Any]] = [
        {"raw_hex": "fffe00c328"},
        {"raw_hex": "00"},
        {"raw": "null"},
        {"raw": "[1,2]"},
        {"raw": "{"},
        {"raw": "x" * 5000},
        {"raw": "[" * 100_000},
        {"raw": '{"type":"x","deep":' + "[" * 1000 + "]" * 1000 + "}"},
        {"raw": '{"type":"assistant","message":7}'},
        {
            "raw": '{"type":"user","tool_result_meta":5,"message":{"content":[5,{"type":"tool_result","is_error":true,'
            '"content":"<tool_use_error>"}]}}'
        },
        {"raw": '{"type":"of tomorrow","n":NaN,"m":1e999}'},
        {"raw": '{"type":["a"],"subtype":{}}'},
        {"raw": '{"type":"control_response","response":5}'},
        {"raw": '{"type":"control_cancel_request"}'},
        {"raw": '{"type":"control_request","request_id":"z1","request":{"subtype":"can_use_tool"}}'},
        {"raw": '{"type":"control_request","request_id":"z2","request":{"subtype":"hook_callback","input":[]}}'},
        {"raw": UNNAMEABLE},
        {"long_line": 20 * MB},
    ]
    stage.scene([*noise, write(id="toolu_w"), {"text": "still here"}])
    session = stage.session()
    taken = stage.take(session)
    stage.decide(stage.asked(session)[0])
    assert taken.done() == "completed"
    raw = events(session, "raw")
    assert len([event for event in raw if event.get("note") == "not a message"]) >= 6
    assert len([event for event in raw if event.get("note") == "refused a request of the CLI"]) == 3
    assert [event["size_bytes"] for event in raw if event.get("size_bytes", 0) > 20 * MB]
    assert events(session, "text")[-1]["text"] == "still here"
    assert [entry["tool_use_id"] for entry in stage.ran] == ["toolu_w"]


def test_a_flood_of_lines_is_kept_whole_and_in_order_in_bounded_memory(stage: Stage) -> None:
    count, me = 100_000, psutil.Process()
    stage.scene([{"flood": count}, {"text": "dry again"}])
    session = stage.session()
    before, peak = me.memory_info().rss, 0
    taken = stage.take(session)
    while taken.is_alive():
        peak = max(peak, me.memory_info().rss)
        taken.join(0.1)
    assert taken.done() == "completed"
    numbers = [int(event["content"]) for event in events(session, "system") if event["subtype"] == "informational"]
    assert numbers == list(range(count))
    assert peak - before < 150 * MB


@pytest.mark.parametrize("steps", [[{"flood": 20_000}], [{"text": "x" * 3 * MB}]], ids=["many", "long"])
def test_a_transcript_that_grows_too_long_ends_the_turn_says_so_and_takes_no_more(stage: Stage, steps: Any) -> None:
    cap = MB // 4
    stage.agents(session_cap_bytes=cap)
    session = stage.play([{"text": "so far"}, *steps, write(), {"text": "late"}])
    assert (session.status, session.failure_code) == ("failed", "session_full")
    last = events(session, "status")[-1]
    assert last["failure_code"] == "session_full" and "beyond 0.25 MB" in last["failure_detail"]
    stored = sum(len(payload) for payload in Event.objects.filter(session=session).values_list("payload", flat=True))
    assert stored == session.transcript_bytes > cap
    assert stage.ran == []
    with pytest.raises(SessionFull):
        send_message(session_id=session.pk, prompt="more", by="olga")
    assert AgentSession.objects.get(pk=session.pk).status == "failed"


def test_a_session_that_is_full_while_people_are_asked_withdraws_the_question(stage: Stage) -> None:
    stage.agents(session_cap_bytes=100_000)
    session = stage.play([{"tools": [write(fill=150_000), write("b.txt")]}])
    assert (session.status, session.failure_code) == ("failed", "session_full")
    assert not Approval.objects.filter(session=session.pk, status="pending").exists()
    assert stage.ran == []


# --- what will not go


def test_an_agent_that_hangs_deaf_to_term_is_killed_when_it_was_idle_too_long(stage: Stage, hasty: None) -> None:
    stage.agents(idle_timeout=timedelta(seconds=1))
    session = stage.play([{"ignore": "TERM"}, {"text": "hm"}, {"hang": True}])
    assert (session.status, session.failure_code) == ("failed", "agent_idle")
    assert Run.objects.get(session=session).exit_code == -9


def test_an_interrupt_that_a_hanging_agent_does_not_hear_still_ends_the_turn(stage: Stage, hasty: None) -> None:
    stage.scene([{"ignore": "TERM"}, {"text": "hm"}, {"hang": True}])
    session = stage.session()
    taken = stage.take(session)
    eventually(lambda: events(session, "text"))
    interrupt_session(session_id=session.pk, by="olga")
    assert taken.done() == "interrupted"
    session.refresh_from_db()
    assert session.status == "completed"


@pytest.mark.parametrize("command", ["exec sleep 600", f"exec yes {'y' * 2000}"], ids=["quiet", "loud"])
@pytest.mark.parametrize("stdout", [False, True], ids=["closed", "holding stdout"])
def test_who_escapes_into_a_session_of_his_own_is_killed_with_the_run(
    stage: Stage, hasty: None, command: str, stdout: bool
) -> None:
    session = stage.play(
        [{"text": "hm"}, {"spawn": command, "setsid": True, "stdout": stdout}, {"text": "bye"}, {"exit": 0}]
    )
    assert session.status == "failed"  # it left without a last word
    [child] = stage.children
    eventually(lambda: gone(child), "the grandchild is gone")


def test_a_process_that_stays_after_its_last_word_is_ended_and_the_turn_counts(stage: Stage, hasty: None) -> None:
    session = stage.play([{"linger": 600}, {"text": "done"}])
    assert session.status == "completed"


# --- the model API


def test_a_refused_login_fails_the_turn_at_once(stage: Stage) -> None:
    session = stage.play([{"api_retry": 401, "times": 2}, {"sleep": 600}])
    assert (session.status, session.failure_code) == ("failed", "api_unauthorized")
    assert events(session, "api_retry")[0]["error_status"] == 401


def test_other_retries_are_shown_and_waited_for(stage: Stage) -> None:
    session = stage.play([{"api_retry": 529, "times": 2}, {"text": "at last"}])
    assert session.status == "completed"
    assert [event["attempt"] for event in events(session, "api_retry")] == [1, 2]


# --- questions


def test_an_approved_call_runs_once_and_its_answer_is_on_record(stage: Stage) -> None:
    stage.scene([write(id="toolu_1"), {"text": "done"}])
    session = stage.session()
    taken = stage.take(session)
    [approval] = stage.asked(session)
    session.refresh_from_db()
    assert session.status == "waiting"
    assert stage.ran == []
    stage.decide(approval)
    assert taken.done() == "completed"
    assert (Path(session.working_directory) / "a.txt").read_text() == "hello\n"
    approval.refresh_from_db()
    assert approval.consumed_at and approval.run_digest == approval.input_digest
    assert PermissionRequest.objects.get(approval=approval).answered_at
    assert [entry["tool_use_id"] for entry in stage.ran] == ["toolu_1"]


def test_calls_of_one_message_are_asked_and_answered_each_by_itself(stage: Stage) -> None:
    calls = [{"tool": "Read", "id": f"toolu_{n}", "input": {"file_path": f"/etc/none{n}"}} for n in range(4)]
    stage.scene([{"tools": calls, "together": True}, {"text": "done"}])
    session = stage.session()
    taken = stage.take(session)
    approvals = {approval.subject.rpartition(":")[2]: approval for approval in stage.asked(session, 4)}
    stage.decide(approvals["toolu_3"])
    answered = PermissionRequest.objects.filter(approval=approvals["toolu_3"], answered_at__isnull=False)
    eventually(answered.exists)
    session.refresh_from_db()
    assert session.status == "waiting"  # for the other three
    stage.decide(approvals["toolu_1"], "rejected", reason="not this one")
    stage.decide(approvals["toolu_0"])
    stage.decide(approvals["toolu_2"], "rejected")
    assert taken.done() == "completed"
    assert {entry["tool_use_id"] for entry in stage.ran} == {"toolu_0", "toolu_3"}
    assert "not this one" in told(session, "toolu_1")
    assert "rejected" in told(session, "toolu_2")


def test_a_rejection_tells_the_model_why_and_nothing_runs(stage: Stage) -> None:
    stage.scene([write(id="toolu_1"), {"text": "as you wish"}])
    session = stage.session()
    taken = stage.take(session)
    stage.decide(stage.asked(session)[0], "rejected", reason="wrong folder \u202e\"'")
    assert taken.done() == "completed"
    assert "wrong folder" in told(session, "toolu_1")
    assert stage.ran == []


def test_a_question_nobody_answers_in_time_is_denied_live(stage: Stage) -> None:
    stage.approvals(timeout_s=1)
    session = stage.play([write(id="toolu_1"), {"text": "stopped"}])
    assert session.status == "completed"
    assert Approval.objects.get(session=session.pk).status == "expired"
    assert "Nobody answered in time" in told(session, "toolu_1")
    assert stage.ran == []


def test_an_edited_input_runs_exactly_as_it_was_edited(stage: Stage) -> None:
    edited = '{\n "file_path": "b.txt",\r\n "content": "h\u00e9 \\u0000 \\ud83d\\ude00 1.10"}'
    stage.scene([write(id="toolu_1"), {"text": "done"}])
    session = stage.session()
    taken = stage.take(session)
    [approval] = stage.asked(session)
    stage.decide(approval, updated_input=edited)
    assert taken.done() == "completed"
    assert json.loads(stage.ran[0]["input"]) == json.loads(edited)
    approval.refresh_from_db()
    assert approval.run_digest != approval.input_digest


@pytest.mark.parametrize("content", ["\0", "\ud800", "é😀\u2028\u202e", "x" * 5 * MB, 10**40, {"a": [1.5, None]}])
def test_an_input_of_any_content_is_asked_and_runs_unchanged(stage: Stage, content: Any) -> None:
    given = {"command": "true", "description": content}
    stage.scene([{"tool": "Bash", "id": "toolu_1", "input": given}, {"text": "done"}])
    session = stage.session()
    taken = stage.take(session)
    stage.decide(stage.asked(session)[0])
    assert taken.done() == "completed"
    assert json.loads(stage.ran[0]["input"]) == given


def test_a_question_withdrawn_by_a_person_stops_the_turn(stage: Stage) -> None:
    stage.scene([write(), {"text": "never"}])
    session = stage.session()
    taken = stage.take(session)
    cancel_approval(approval_id=stage.asked(session)[0].pk, by="anna", via="api")
    assert taken.done() == "interrupted"
    assert stage.ran == []


def test_an_interrupt_closes_the_question_and_keeps_the_dialog(stage: Stage) -> None:
    stage.scene([write(), {"text": "never"}], [{"text": "second"}])
    session = stage.session()
    taken = stage.take(session)
    [approval] = stage.asked(session)
    interrupt_session(session_id=session.pk, by="olga")
    assert taken.done() == "interrupted"
    approval.refresh_from_db()
    session.refresh_from_db()
    assert (approval.status, session.status, stage.ran) == ("cancelled", "completed", [])
    with pytest.raises(ApprovalClosed):
        stage.decide(approval)
    send_message(session_id=session.pk, prompt="next", by="olga")
    assert stage.take(session).done() == "completed"


@pytest.mark.parametrize("waiting", [True, False])
def test_a_cancel_in_the_middle_ends_the_process_for_good(stage: Stage, waiting: bool) -> None:
    stage.scene([{"text": "hm"}, write() if waiting else {"sleep": 600}, {"text": "never"}])
    session = stage.session()
    taken = stage.take(session)
    _ = stage.asked(session) if waiting else eventually(lambda: events(session, "text"))
    cancel_session(session_id=session.pk, by="olga")
    assert taken.done() == "cancelled"
    session.refresh_from_db()
    assert (session.status, last_turn(session).status, stage.ran) == ("cancelled", "cancelled", [])


def test_no_database_connection_is_held_while_a_person_thinks(stage: Stage) -> None:
    stage.scene([write(), {"text": "done"}])
    session = stage.session()
    taken = stage.take(session)
    [approval] = stage.asked(session)
    pool: ConnectionPool[Any] = connections["default"].pool  # type: ignore[attr-defined]
    connection.close()

    def all_back() -> bool:
        stats = pool.get_stats()
        return bool(stats["pool_available"] == stats["pool_size"])

    eventually(all_back, "every connection is back in the pool")
    stage.decide(approval)
    assert taken.done() == "completed"


# --- parking


def test_a_call_nobody_answers_soon_is_parked_and_runs_once_after_the_answer(stage: Stage) -> None:
    stage.approvals(hold_s=0.5)
    stage.scene([write(id="toolu_1"), {"text": "done"}])
    session = stage.session()
    assert stage.take(session).done() == "parked"
    session.refresh_from_db()
    [approval] = stage.asked(session)
    assert (session.status, session.deferred_tool_use_id, stage.ran) == ("waiting", "toolu_1", [])
    stage.decide(approval)
    eventually(lambda: AgentSession.objects.get(pk=session.pk).status == "queued")
    assert stage.take(session).done() == "completed"
    assert [entry["tool_use_id"] for entry in stage.ran] == ["toolu_1"]
    assert Approval.objects.filter(session=session.pk).count() == 1


def test_a_parked_call_that_is_rejected_tells_the_model_after_the_resume(stage: Stage) -> None:
    stage.approvals(hold_s=0.3)
    stage.scene([write(id="toolu_1"), {"text": "as you wish"}])
    session = stage.session()
    stage.take(session).done()
    stage.decide(stage.asked(session)[0], "rejected", reason="no")
    assert stage.take(session).done() == "completed"
    assert stage.ran == []
    assert "rejected this: no" in told(session, "toolu_1")


def test_a_parked_call_that_expires_spawns_nothing_and_is_denied_with_the_next_message(stage: Stage) -> None:
    stage.approvals(hold_s=0.3, timeout_s=1.5)
    stage.scene([write(id="toolu_1"), {"text": "hm"}], [{"text": "second"}])
    session = stage.session()
    assert stage.take(session).done() == "parked"
    eventually(lambda: expire_due_approvals(batch=10))
    session.refresh_from_db()
    assert (session.status, session.failure_code) == ("failed", "approval_expired")
    asked, became = events(session, "approval")
    assert (asked["status"], became["status"], became["approval"]) == ("pending", "expired", asked["approval"])
    assert events(session, "status")[-1]["failure_detail"].startswith("Nobody answered in time (Write: a.txt)")
    assert Run.objects.filter(session=session).count() == 1
    send_message(session_id=session.pk, prompt="next", by="olga")
    assert stage.take(session).done() == "completed"
    assert "Nobody answered in time" in told(session, "toolu_1")
    assert events(session, "text")[-1]["text"] == "second"
    assert stage.ran == []


def test_a_call_may_be_parked_again_after_a_resume(stage: Stage) -> None:
    stage.approvals(hold_s=0.3)
    stage.scene([write("a.txt", id="toolu_1"), write("b.txt", id="toolu_2"), {"text": "done"}])
    session = stage.session()
    for _ in range(2):
        assert stage.take(session).done() == "parked"
        stage.decide(stage.asked(session)[0])
    assert stage.take(session).done() == "completed"
    assert [entry["tool_use_id"] for entry in stage.ran] == ["toolu_1", "toolu_2"]


def test_a_parked_session_is_interrupted_without_a_process(stage: Stage) -> None:
    stage.approvals(hold_s=0.3)
    stage.scene([write(), {"text": "hm"}])
    session = stage.session()
    stage.take(session).done()
    interrupt_session(session_id=session.pk, by="olga")
    session.refresh_from_db()
    assert (session.status, last_turn(session).status) == ("completed", "interrupted")
    assert Run.objects.filter(session=session).count() == 1


# --- losing the session


def given_up(session: AgentSession) -> None:
    """What the sweep does to a run that has not beaten for 30 s."""
    run = Run.objects.get(session=session, ended_at__isnull=True)
    Run.objects.filter(pk=run.pk).update(heartbeat_at=Now() - timedelta(minutes=1))
    assert leases.reclaim(run, why="it did not beat")


def test_a_supervisor_that_was_given_up_for_lost_writes_and_runs_nothing_more(stage: Stage) -> None:
    stage.scene([{"text": "hm"}, write(id="toolu_1"), {"text": "never by this one"}])
    session = stage.session()
    taken = stage.take(session)
    [approval] = stage.asked(session)
    pid = Run.objects.get(session=session).pid
    given_up(session)
    session.refresh_from_db()
    said = session.last_seq
    stage.decide(approval)
    taken.done()
    eventually(lambda: gone(pid or 0), "the process is gone")
    session.refresh_from_db()
    assert session.last_seq == said
    assert stage.ran == []
    approval.refresh_from_db()
    assert approval.consumed_at is None


def test_after_a_loss_the_next_process_takes_the_answer_up_and_the_call_runs_once(stage: Stage) -> None:
    stage.scene([{"text": "hm"}, write(id="toolu_1"), {"text": "done"}])
    session = stage.session()
    taken = stage.take(session)
    [approval] = stage.asked(session)
    given_up(session)
    taken.done()
    stage.decide(approval)
    eventually(lambda: AgentSession.objects.get(pk=session.pk).status == "queued")
    assert stage.take(session).done() == "completed"
    assert len(stage.ran) == 1


def test_a_worker_that_is_killed_takes_its_agent_along_and_another_one_goes_on(stage: Stage) -> None:
    # its pipes close an instant before it is killed, and it would take the call for refused and go on
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
        assert worker.reclaim_orphans() == 0
    finally:
        process.kill()
        process.wait()
    eventually(lambda: gone(agent or 0), "the agent dies with its worker")
    stage.scene([{"text": "hm"}, write(id="toolu_1"), {"text": "done"}])
    assert worker.reclaim_orphans() == 1
    assert stage.ran == []
    stage.decide(approval)
    eventually(lambda: AgentSession.objects.get(pk=session.pk).status == "queued")
    assert stage.take(session).done() == "completed"
    assert len(stage.ran) == 1
    assert [run.ended_why for run in Run.objects.filter(session=session).order_by("fence")] == ["lost", "completed"]


def database_url() -> str:
    """The test's own database, for another process."""
    given = urlsplit(os.environ["DATABASE_URL"])
    return given._replace(path=f"/{connection.settings_dict['NAME']}").geturl()


def test_an_output_written_after_the_loss_is_void(stage: Stage) -> None:
    stage.scene([{"text": "hm"}, {"sleep": 1}, {"flood": 500}, {"sleep": 600}])
    session = stage.session()
    taken = stage.take(session)
    eventually(lambda: events(session, "text"))
    given_up(session)
    session.refresh_from_db()
    said = session.last_seq
    taken.done()
    session.refresh_from_db()
    assert session.last_seq == said


# --- duplicates


def test_a_turn_said_to_many_workers_at_once_is_run_by_one(stage: Stage) -> None:
    stage.scene([{"text": "hm"}])
    session = stage.session()
    turn = last_turn(session)
    said = sorted(thread.done() for thread in [Taken(turn) for _ in range(8)])
    assert said == ["completed", *["taken"] * 7]
    assert Run.objects.filter(session=session).count() == 1
    assert worker.take_turn(turn.pk) == "taken"


def test_a_duplicate_message_while_the_agent_waits_does_nothing(stage: Stage) -> None:
    stage.scene([write(), {"text": "done"}])
    session = stage.session()
    taken = stage.take(session)
    [approval] = stage.asked(session)
    assert [Taken(last_turn(session)).done() for _ in range(3)] == ["taken"] * 3
    stage.decide(approval)
    assert taken.done() == "completed"
    assert len(stage.ran) == 1


def test_an_answer_given_by_two_people_at_once_is_given_once(stage: Stage) -> None:
    stage.scene([write(), {"text": "done"}])
    session = stage.session()
    taken = stage.take(session)
    [approval] = stage.asked(session)
    won: list[str] = []

    def answer(who: str, verdict: str) -> None:
        try:
            decide_approval(approval_id=approval.pk, decision=verdict, by=who, via="api")
            won.append(verdict)
        except ApprovalClosed:
            pass
        finally:
            connection.close()

    threads = [threading.Thread(target=answer, args=(f"p{n}", ("approved", "rejected")[n % 2])) for n in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert taken.done() == "completed"
    assert len(won) == 1
    assert len(stage.ran) == (won == ["approved"])


def test_a_worker_that_is_full_leaves_the_turn_queued(stage: Stage) -> None:
    stage.agents(max_concurrent=1)
    stage.scene([write(), {"text": "done"}])
    first, second = stage.session(), stage.session()
    taken = stage.take(first)
    [approval] = stage.asked(first)
    assert worker.take_turn(last_turn(second).pk) == "full"
    assert Turn.objects.get(session=second).status == "queued"
    stage.decide(approval)
    assert taken.done() == "completed"
    Turn.objects.filter(session=second).update(status="cancelled")
    AgentSession.objects.filter(pk=second.pk).update(status="cancelled")
    assert os.getpid() == Run.objects.get(session=first).worker_pid
