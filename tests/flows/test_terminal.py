"""The terminal commands as their user runs them: real processes, the real database, Redis alive or dead."""

import io
import json
import os
import pty
import re
import select
import subprocess
import sys
import threading
import time
from datetime import timedelta
from pathlib import Path

import pytest
from django.core.management import CommandError, call_command
from django.db import connection
from django.utils import timezone

from approvals.models import Approval, AuditEntry
from sessions_app.models import SESSION_FLOW, TURN_FLOW, AgentSession, Turn
from sessions_app.transcript import writer
from tests.factories import make_approval, make_session, make_turn, make_user

pytestmark = pytest.mark.django_db(transaction=True)

S = Approval.Status
ROOT = Path(__file__).resolve().parents[2]
DEAD_REDIS = "unix:///nowhere/dead.sock?db=0"


def environment(**extra):
    params = connection.get_connection_params()
    url = f"postgres://{params.get('user', '')}@/{connection.settings_dict['NAME']}?host={params.get('host', '')}"
    return os.environ | {"DATABASE_URL": url, "PYTHONIOENCODING": "utf-8", "DB_POOL_MIN_SIZE": "1"} | extra


def call(*words):
    """The command inside this process: the same parser, the same database, no start-up."""
    out, err = io.StringIO(), io.StringIO()
    try:
        call_command(*words, stdout=out, stderr=err)
    except (CommandError, SystemExit) as error:
        return subprocess.CompletedProcess(words, 1, out.getvalue(), f"{err.getvalue()}{error}")
    return subprocess.CompletedProcess(words, 0, out.getvalue(), err.getvalue())


def manage(*words, **extra):
    """The command as its user types it."""
    return subprocess.run(
        [sys.executable, "manage.py", *words], cwd=ROOT, env=environment(**extra), stdin=subprocess.DEVNULL,
        capture_output=True, text=True, timeout=120,
    )  # fmt: skip


def short(row):
    return str(row.pk)[:8]


def test_a_question_is_listed_shown_and_approved_by_the_start_of_its_id():
    approval = make_approval()
    assert "Bash: rm -r build" in call("approvals", "list").stdout
    assert "$ rm -r build" in call("approvals", "show", short(approval)).stdout
    done = manage("approvals", "approve", short(approval), "--reason", "fine")
    assert done.returncode == 0, done.stderr
    approval.refresh_from_db()
    assert (approval.status, approval.decided_via, approval.reason) == (S.APPROVED, "cli", "fine")
    assert approval.decided_by.startswith("shell:")


def test_answers_need_neither_redis_nor_a_worker():
    approval = make_approval()
    done = manage("approvals", "reject", short(approval), "--reason", "no", REDIS_URL=DEAD_REDIS)
    assert done.returncode == 0, done.stderr
    approval.refresh_from_db()
    assert approval.status == S.REJECTED


def test_the_second_answer_is_refused_and_names_the_first():
    approval = make_approval(status=S.REJECTED, decided_by="anna", decided_via="telegram")
    done = manage("approvals", "approve", short(approval))
    assert done.returncode == 1
    assert "already rejected by anna via telegram" in done.stderr
    assert "Traceback" not in done.stderr


def test_an_account_that_may_not_decide_is_refused():
    make_user("vera", group="Viewer")
    make_user("ada", group="Approver")
    gone = make_user("gone", group="Approver")
    gone.is_active = False
    gone.save()
    approval = make_approval()
    for name in ("vera", "gone", "nobody"):
        done = call("approvals", "approve", short(approval), "--user", name)
        assert done.returncode == 1
        assert "Traceback" not in done.stderr
    assert call("approvals", "approve", short(approval), "--user", "ada").returncode == 0
    assert AuditEntry.objects.get(approval=approval, won=True).by == "ada"


def test_an_edited_input_comes_from_a_file(tmp_path):
    approval = make_approval()
    (tmp_path / "input.json").write_text('{"command": "rm -r build/größe"}')
    done = call("approvals", "approve", short(approval), "--edit", str(tmp_path / "input.json"))
    assert done.returncode == 0, done.stderr
    approval.refresh_from_db()
    assert json.loads(approval.updated_input) == {"command": "rm -r build/größe"}


def test_a_question_is_answered_in_order():
    questions = [{"question": "Which?", "options": [{"label": "A"}]}, {"question": "Why?"}]
    approval = make_approval(
        kind="question", tool_name="AskUserQuestion", tool_input=json.dumps({"questions": questions})
    )
    assert "--answer" in call("approvals", "approve", short(approval)).stderr
    assert call("approvals", "approve", short(approval), "--answer", "A", "--answer", "because").returncode == 0
    approval.refresh_from_db()
    assert json.loads(approval.answers) == {"Which?": "A", "Why?": "because"}


@pytest.mark.parametrize("text", ["zzzz", "12", "ffffffff", "\x1b[2Jxx"])
def test_an_id_that_names_nothing_is_a_plain_error(text):
    make_approval()
    done = call("approvals", "approve", text)
    assert done.returncode == 1
    assert "Traceback" not in done.stderr
    assert "\x1b" not in done.stderr


def test_hostile_output_never_reaches_the_terminal_raw():
    evil = "echo \x1b[2J\u202e\x9b31m \u200b" + " " * 400 + "rm"
    approval = make_approval(
        title=f"Bash: {evil}"[:300], tool_input=json.dumps({"command": evil}), requested_by="x\x1b[1m"
    )
    session = make_session(title=evil[:200], agent="claude")
    writer.append(session.pk, [writer.line("text", text=evil), writer.line("tool_use", name=evil, input={evil: evil})])
    for words in (
        ("approvals", "list"), ("approvals", "show", short(approval)), ("approvals", "list", "--json"),
        ("session", "list"), ("session", "show", short(session)), ("session", "list", "--json"),
        ("session", "show", short(session), "--json"), ("approvals", "show", short(approval), "--json"),
    ):  # fmt: skip
        done = call(*words)
        assert done.returncode == 0, done.stderr
        assert not set(done.stdout) & set("\x1b\x9b\u202e\u200b"), words


def test_json_is_what_the_rest_door_says():
    approval = make_approval()
    (row,) = json.loads(call("approvals", "list", "--json").stdout)
    assert (row["id"], row["status"], row["tool_input"]) == (str(approval.pk), "pending", {"command": "rm -r build"})
    session = make_session()
    make_turn(session)
    shown = json.loads(call("session", "show", short(session), "--json").stdout)
    assert shown["turns"][0]["prompt"] == "Tidy up the build folder"


def test_a_session_is_started_without_a_broker_and_says_so():
    done = manage("session", "start", "Tidy up", "--agent", "demo", REDIS_URL=DEAD_REDIS)
    assert done.returncode == 0, done.stderr
    assert "The broker did not answer" in done.stdout
    session = AgentSession.objects.get()
    assert (session.status, session.agent, session.turns.get().status) == ("queued", "demo", "queued")
    assert "(demo: scripted, not an AI)" in done.stdout


def test_what_cannot_be_a_session_is_a_plain_error():
    done = call("session", "start", "", "--directory", "/etc")
    assert done.returncode == 1
    assert "prompt:" in done.stderr
    done = call("session", "start", "x", "--directory", "/etc")
    assert "outside the folders agents may work in" in done.stderr
    assert not AgentSession.objects.exists()


def test_a_dialog_is_continued_interrupted_and_cancelled():
    session = make_session(status="completed")
    make_turn(session, status="completed")
    assert call("session", "send", short(session), "And now the docs").returncode == 0
    assert call("session", "send", short(session), "Too early").returncode == 1
    assert call("session", "interrupt", short(session)).returncode == 0
    assert call("session", "cancel", short(session)).returncode == 0
    session.refresh_from_db()
    assert session.status == "cancelled"
    assert session.turns.get(number=2).status == "interrupted"


class Watched:
    """A ``session start --watch`` whose turn the test plays."""

    def __init__(self, *words, **extra):
        self.process = subprocess.Popen(
            [sys.executable, "manage.py", *words], cwd=ROOT, env=environment(**extra), stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        )  # fmt: skip
        self.text = ""
        threading.Thread(target=self._read, daemon=True).start()

    def _read(self):
        for line in self.process.stdout:
            self.text += line

    def wait_for(self, words):
        wait_until(lambda: words in self.text or self.process.poll() is not None)
        assert words in self.text, self.text + self.process.stderr.read()

    def end(self):
        code = self.process.wait(60)
        wait_until(lambda: "session " in self.text)
        return code


def wait_until(true):
    for _ in range(600):
        if true():
            return
        time.sleep(0.1)
    pytest.fail("it did not happen within a minute")


def finish(session, status, **changes):
    turns = Turn.objects.filter(session=session)
    TURN_FLOW.move(turns, to="running")
    TURN_FLOW.move(turns, to=status, cost_usd=0.0421, input_tokens=1200, output_tokens=34, **changes)
    SESSION_FLOW.move(AgentSession.objects.filter(pk=session.pk), to="failed" if status == "failed" else "completed")


@pytest.mark.parametrize("redis", ["alive", "dead"])
def test_watching_prints_what_happens_and_how_to_answer_and_ends_with_the_turn(redis):
    extra = {"REDIS_URL": DEAD_REDIS} if redis == "dead" else {}
    watched = Watched("session", "start", "Tidy up", "--agent", "demo", "--watch", **extra)
    watched.wait_for("prompt 1  Tidy up")
    session = AgentSession.objects.get()
    writer.append(session.pk, [writer.line("text", text="I will look.\nCarefully.")])
    approval = make_approval(session=session.pk)
    watched.wait_for(f"./manage.py approvals approve {short(approval)}")
    writer.append(session.pk, [writer.line("result", is_error=False, stop_reason="tool_deferred")])
    watched.wait_for("parked  No process waits any more")
    writer.append(session.pk, [writer.line("tool_result", content="gone", is_error=False)])
    finish(session, "completed")
    assert watched.end() == 0
    assert "Carefully." in watched.text
    assert "$ rm -r build" in watched.text
    assert "completed: $0.0421, 1,200 tokens in, 34 out" in watched.text
    assert "\x1b" not in watched.text


def test_watching_a_turn_that_fails_ends_with_1_and_the_reason():
    watched = Watched("session", "start", "Tidy up", "--watch")
    watched.wait_for("prompt 1")
    finish(AgentSession.objects.get(), "failed", failure_code="agent_lost", failure_detail="The process ended.")
    assert watched.end() == 1
    assert "failed (agent_lost: The process ended.)" in watched.text


def test_an_interrupted_watch_leaves_the_session_running():
    watched = Watched("session", "start", "Tidy up", "--watch")
    watched.wait_for("prompt 1")
    watched.process.send_signal(2)
    assert watched.process.wait(60) == 0
    wait_until(lambda: "The session goes on" in watched.text)
    assert AgentSession.objects.get().status == "queued"


class Terminal:
    """A command on a pseudo-terminal, with somebody typing."""

    def __init__(self, *words, **extra):
        self.pid, self.fd = pty.fork()
        if self.pid == 0:
            os.chdir(ROOT)
            os.execve(sys.executable, [sys.executable, "manage.py", *words], environment(TERM="xterm", **extra))
        self.text = ""

    def wait_for(self, words):
        deadline = time.monotonic() + 60
        while words not in self.text and time.monotonic() < deadline:
            if select.select([self.fd], [], [], 0.2)[0]:
                try:
                    self.text += os.read(self.fd, 65536).decode(errors="replace")
                except OSError:
                    break
        assert words in self.text, self.text

    def type(self, text):
        os.write(self.fd, text.encode())

    def close(self):
        os.kill(self.pid, 2)
        os.waitpid(self.pid, 0)
        os.close(self.fd)


def test_on_a_terminal_the_question_is_asked_right_there():
    terminal = Terminal("approvals", "watch")
    terminal.wait_for("Waiting for approval requests")
    approval = make_approval()
    terminal.wait_for("[a]pprove / approve with a [n]ote / [r]eject / [s]kip?")
    assert "\x1b[" in terminal.text
    terminal.type("r\n")
    terminal.wait_for("instead?")
    terminal.type("use make clean\n")
    terminal.wait_for(f"{short(approval)} rejected")
    approval.refresh_from_db()
    assert (approval.status, approval.reason, approval.decided_via) == (S.REJECTED, "use make clean", "cli")
    terminal.close()


def test_a_key_pressed_before_the_question_appeared_answers_nothing():
    terminal = Terminal("approvals", "watch")
    terminal.wait_for("Waiting for approval requests")
    terminal.type("a\n")
    time.sleep(1)
    approval = make_approval()
    terminal.wait_for("[a]pprove / approve with a [n]ote / [r]eject / [s]kip?")
    time.sleep(2)
    approval.refresh_from_db()
    assert approval.status == S.PENDING
    terminal.close()


def test_an_answer_given_elsewhere_ends_the_asking():
    approval = make_approval(expires_at=timezone.now() + timedelta(hours=1))
    terminal = Terminal("approvals", "watch")
    terminal.wait_for("[a]pprove / approve with a [n]ote / [r]eject / [s]kip?")
    assert call("approvals", "approve", short(approval)).returncode == 0
    terminal.wait_for(f"{short(approval)} approved by shell:")
    assert not re.search("Traceback", terminal.text)
    terminal.close()
