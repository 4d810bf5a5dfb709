"""Backups are whole or refused; a restore is safe; nothing that ran since runs again unasked."""

import json
import os
import random
import shutil
import subprocess
import sys
import threading
from collections.abc import Callable
from contextlib import closing
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import psycopg
import pytest
from django.conf import settings as django_settings
from django.db import connection
from django.test import Client
from django.utils import timezone

from approvals.audit import chain
from approvals.commands import consume_approval, decide_approval
from approvals.models import Approval, AuditEntry, Rule
from approvals.tasks import seal_audit
from orchestra.auth.session_store import hashed
from orchestra.backup.commands import inspect, restore_backup, take_backup, verify_backup
from orchestra.backup.database_override import override_database
from orchestra.backup.errors import BackupRefused
from orchestra.backup.manifest import Manifest, sha256_of
from orchestra.db import fencing
from orchestra.models import BrowserSession, Lease, SignInLink
from orchestra.runtime import data_lock
from sessions_app.commands import SessionRequest, send_message, start_session
from sessions_app.models import AgentSession, Run, Turn
from sessions_app.supervisor import leases
from tests.chaos.checker import Evidence, violations
from tests.factories import make_approval, make_session, make_turn, make_user

A, S, T = Approval.Status, AgentSession.Status, Turn.Status
WORKER = leases.Worker(host="here", pid=1, started=0.0)


def backup_of(house: Path) -> Path:
    seal_audit()
    return take_backup(house / "backups")


def ask(session: AgentSession, turn: Turn, tool_use_id: str = "toolu_1") -> Approval:
    """An open request of a running session, through the doors an agent uses."""
    from approvals.commands import ApprovalRequest, request_approval
    from approvals.policy.digest import input_digest
    from sessions_app.models import PermissionRequest

    text = json.dumps({"command": f"touch {tool_use_id}"})
    digest = input_digest(
        tool_name="Bash", tool_input=text, working_directory=session.working_directory, session=session.pk
    )
    question = ApprovalRequest(
        title="Bash", tool_name="Bash", tool_input=text, input_digest=digest, session=session.pk,
        subject=f"session:{session.pk}:{tool_use_id}", requested_by="olga", working_directory=session.working_directory,
    )  # fmt: skip
    approval = Approval.objects.get(pk=request_approval(question))
    PermissionRequest.objects.create(
        session=session, turn=turn, approval=approval, request_id="1", tool_use_id=tool_use_id
    )
    return approval


def running_session() -> tuple[AgentSession, Turn, leases.Claim]:
    session = start_session(SessionRequest(prompt="Tidy up", agent="demo"), by="olga", may_allow=False)
    turn = session.turns.get()
    claim = leases.claim_turn(turn.pk, WORKER)
    assert claim is not None
    return session, turn, claim


def test_a_backup_restores_to_what_was_there(house: Path) -> None:
    session, turn, _ = running_session()
    approval = ask(session, turn)
    folder = backup_of(house)
    assert {path.name for path in folder.iterdir()} > {"manifest.json"}
    assert verify_backup(folder).counts["approvals"] == 1
    make_approval(title="after the backup")
    restored = restore_backup(folder, keep_rules=False)
    assert [row.pk for row in Approval.objects.all()] == [approval.pk]
    assert restored.kept
    assert violations(Evidence(ledger=[], settled=True)) == []


def test_the_secret_key_is_not_in_it(house: Path) -> None:
    folder = backup_of(house)
    for path in folder.iterdir():
        assert django_settings.SECRET_KEY.encode() not in path.read_bytes()


def test_what_was_there_before_is_kept(house: Path) -> None:
    folder = backup_of(house)
    make_approval(title="only before")
    kept = restore_backup(folder, keep_rules=False).kept
    assert not Approval.objects.exists()
    if connection.vendor == "sqlite":
        with override_database(NAME=kept):
            assert Approval.objects.get().title == "only before"
    else:
        with connection.cursor() as cursor:
            cursor.execute(f"SELECT title FROM {kept.removeprefix('schema ')}.approvals")
            assert cursor.fetchall() == [("only before",)]


def test_a_restored_database_can_be_backed_up_and_restored_again(house: Path) -> None:
    make_approval()
    first = restore_backup(backup_of(house), keep_rules=False)
    second = restore_backup(backup_of(house), keep_rules=False)
    assert second.epoch > first.epoch
    assert Approval.objects.count() == 1
    assert list(chain.problems(chain.head())) == []


# --- nothing runs again


def test_an_unspent_approval_of_the_backup_cannot_be_spent_after_the_restore(house: Path) -> None:
    """It was spent after the backup; whether it was, the restored database cannot know."""
    session, turn, _ = running_session()
    approval = ask(session, turn)
    decide_approval(approval_id=approval.pk, decision=A.APPROVED, by="anna", via="api")
    folder = backup_of(house)
    assert consume_approval(approval_id=approval.pk, digest=approval.input_digest)  # it runs now
    restore_backup(folder, keep_rules=False)
    assert consume_approval(approval_id=approval.pk, digest=approval.input_digest) is None
    assert AuditEntry.objects.filter(approval=approval, action="voided").count() == 1
    assert violations(Evidence(ledger=[], settled=True)) == []


def test_an_open_question_of_an_agent_is_withdrawn_and_its_turn_ends(house: Path) -> None:
    session, turn, _ = running_session()
    approval = ask(session, turn)
    folder = backup_of(house)
    restore_backup(folder, keep_rules=False)
    for row in (approval, session, turn):
        row.refresh_from_db()
    assert (approval.status, session.status, turn.status) == (A.CANCELLED, S.COMPLETED, T.INTERRUPTED)
    assert turn.failure_code == "restored"
    assert not Run.objects.filter(ended_at=None).exists()
    assert send_message(session_id=session.pk, prompt="go on", by="olga").number == 2


def test_a_turn_that_nobody_had_taken_does_not_start_by_itself(house: Path) -> None:
    turn = make_turn(make_session())
    restore_backup(backup_of(house), keep_rules=False)
    turn.refresh_from_db()
    assert turn.status == T.INTERRUPTED
    assert leases.claim_turn(turn.pk, WORKER) is None


def test_a_question_of_a_program_stays_open_with_a_warning(house: Path) -> None:
    approval = make_approval(kind="external", tool_name="", tool_input="")
    restore_backup(backup_of(house), keep_rules=False)
    approval.refresh_from_db()
    assert approval.is_open
    assert "restored from a backup" in approval.facts["warning"]


@pytest.mark.parametrize(("keep", "alive"), [(False, {"deny"}), (True, {"deny", "directory"})])
def test_standing_rules_end_unless_they_are_kept(house: Path, keep: bool, alive: set[str]) -> None:
    Rule.objects.create(effect="allow", tool="Bash", scope="session", scope_value="x", note="session")
    Rule.objects.create(effect="allow", tool="Bash", scope="directory", scope_value="/tmp", note="directory")
    Rule.objects.create(effect="deny", tool="Bash", scope="everywhere", note="deny")
    restore_backup(backup_of(house), keep_rules=keep)
    assert {rule.note for rule in Rule.objects.filter(ends_at=None)} == alive


def test_a_supervisor_of_before_the_restore_changes_nothing(house: Path) -> None:
    """Nor can any number of later runs bring its fence back."""
    session, _, claim = running_session()
    folder = backup_of(house)
    AgentSession.objects.filter(pk=session.pk).update(fence=claim.fence + 7)  # six more runs since
    late = replace(claim, fence=claim.fence + 7)
    restore_backup(folder, keep_rules=False)
    assert claim.session().update(title="stale") == 0
    turn = send_message(session_id=session.pk, prompt="go on", by="olga")
    fresh = leases.claim_turn(turn.pk, WORKER)
    assert fresh is not None
    assert late.session().update(title="stale") == 0
    assert fresh.fence > late.fence
    assert fencing.first_fence(fencing.current_epoch()) < 2**53


def test_leases_and_sign_in_links_are_nobodys(house: Path) -> None:
    Lease.objects.create(name="telegram", owner="old", fence=3, expires_at=timezone.now() + timedelta(hours=1))
    BrowserSession.objects.create(
        session_key="k" * 32, session_data="", expire_date=timezone.now() + timedelta(hours=1)
    )
    SignInLink.objects.create(token_sha256="0" * 64, user=make_user(), expires_at=timezone.now() + timedelta(hours=1))
    restore_backup(backup_of(house), keep_rules=False)
    lease = Lease.objects.get(name="telegram")
    assert (lease.owner, lease.expires_at) == ("", None)
    assert lease.fence > 3
    assert not SignInLink.objects.exists()
    assert not BrowserSession.objects.exists()


# --- refusals


def damage_at_random(folder: Path, chance: random.Random) -> str:
    """Flip a bit, cut, lengthen, empty, delete or swap something; says what."""
    path = chance.choice(sorted(folder.iterdir()))
    data = bytearray(path.read_bytes())
    kind = chance.choice(["flip", "flip", "flip", "cut", "more", "empty", "delete", "zeros", "stranger"])
    if kind == "flip":
        data[chance.randrange(len(data))] ^= 1 << chance.randrange(8)
    elif kind == "cut":
        del data[chance.randrange(len(data)) :]
    elif kind == "more":
        data += chance.randbytes(chance.randrange(1, 100))
    elif kind == "empty":
        data.clear()
    elif kind == "zeros":
        start = chance.randrange(len(data))
        end = min(len(data), start + 4096)
        data[start:end] = bytes(byte ^ 0xFF for byte in data[start:end])
    if kind == "delete":
        path.unlink()
    elif kind == "stranger":
        (folder / "more.sql").write_text("DROP TABLE approvals;")
    else:
        path.write_bytes(data)
    return f"{kind} {path.name}"


def test_a_hundred_random_corruptions_are_refused_before_anything_is_touched(house: Path) -> None:
    make_approval()
    folder = backup_of(house)
    make_approval(title="live")
    chance = random.Random(20261125)
    for round_ in range(100):
        bad = house / f"bad-{round_}"
        shutil.copytree(folder, bad)
        what = damage_at_random(bad, chance)
        with pytest.raises(BackupRefused):
            pytest.fail(f"{what} was restored: {restore_backup(bad, keep_rules=False)}")
        shutil.rmtree(bad)
    assert Approval.objects.count() == 2
    assert not Lease.objects.filter(name=fencing.NAME).exists()
    verify_backup(folder)


def resigned(folder: Path, **changes: Any) -> Path:
    """A backup whose manifest says something else, properly signed."""
    replace(Manifest.read(folder), **changes).write(folder)
    return folder


def test_a_copy_that_is_not_what_the_manifest_counts_is_refused(house: Path) -> None:
    folder = backup_of(house)
    counts = Manifest.read(folder).counts
    with pytest.raises(BackupRefused, match="not those that the manifest counts"):
        verify_backup(resigned(folder, counts=counts | {"approvals": 1}))
    with pytest.raises(BackupRefused):
        restore_backup(folder, keep_rules=False)


def test_a_backup_with_an_edited_audit_is_refused(house: Path) -> None:
    approval = make_approval()
    decide_approval(approval_id=approval.pk, decision=A.REJECTED, by="anna", via="api")
    seal_audit()
    AuditEntry.objects.update(by="boris")
    folder = take_backup(house / "backups")
    with pytest.raises(BackupRefused, match="was edited"):
        verify_backup(folder)


def test_a_file_that_is_no_database_is_refused_even_with_the_right_sums(house: Path) -> None:
    folder = backup_of(house)
    manifest = Manifest.read(folder)
    file = folder / manifest.file
    file.write_bytes(b"nothing of use" * 100)
    resigned(folder, size=file.stat().st_size, sha256=sha256_of(file))
    with pytest.raises(BackupRefused):
        verify_backup(folder)


def test_a_newer_schema_is_refused(house: Path) -> None:
    folder = backup_of(house)
    migrations = Manifest.read(folder).migrations
    newer = migrations | {"approvals": [*migrations["approvals"], "0999_from_the_future"]}
    with pytest.raises(BackupRefused, match="newer Orchestra"):
        restore_backup(resigned(folder, migrations=newer), keep_rules=False)
    with pytest.raises(BackupRefused, match="newer Orchestra"):
        restore_backup(resigned(folder, format=2), keep_rules=False)


def test_a_backup_made_with_another_key_is_refused(house: Path, settings: Any) -> None:
    folder = backup_of(house)
    settings.SECRET_KEY = "another" * 10
    with pytest.raises(BackupRefused, match="another key"):
        restore_backup(folder, keep_rules=False)


def test_a_forged_manifest_is_refused(house: Path) -> None:
    folder = backup_of(house)
    path = folder / "manifest.json"
    path.write_text(path.read_text().replace('"fence_epoch": 0', '"fence_epoch": 1'))
    with pytest.raises(BackupRefused, match="signature"):
        restore_backup(folder, keep_rules=False)


@pytest.mark.parametrize(
    ("make", "says"),
    [
        (lambda folder: folder.mkdir(), "There is no backup"),
        (lambda folder: folder.write_text("x"), "cannot be read"),
        (
            lambda folder: (folder.mkdir(), (folder / "manifest.json").write_text('{"product": "cups"}')),
            "is not a backup of",
        ),
        (lambda folder: (folder.mkdir(), (folder / "manifest.json").write_text("[" * 10**6)), "cannot be read"),
        (lambda folder: (folder.mkdir(), (folder / "manifest.json").write_text("[]")), "no object"),
    ],
)
def test_what_is_no_backup_is_refused(house: Path, make: Callable[[Path], Any], says: str) -> None:
    make(house / "foreign")
    with pytest.raises(BackupRefused, match=says):
        inspect(house / "foreign")


def test_a_backup_of_the_other_engine_is_refused(house: Path) -> None:
    other = "sqlite" if connection.vendor == "postgresql" else "postgresql"
    with pytest.raises(BackupRefused, match="runs on"):
        inspect(resigned(backup_of(house), engine=other))


def test_nothing_is_restored_while_the_runner_holds_the_data_folder(house: Path) -> None:
    folder = backup_of(house)
    with data_lock.lock_runner(house), pytest.raises(BackupRefused, match="running"):
        restore_backup(folder, keep_rules=False)


def test_nothing_is_restored_while_somebody_has_the_database_open(house: Path) -> None:
    folder = backup_of(house)
    if connection.vendor == "sqlite":
        code = "import sqlite3, sys; c = sqlite3.connect(sys.argv[1]); c.execute('select 1 from auth_user');"
        run = [sys.executable, "-c", f"{code} print(1, flush=True); input()", str(house / "orchestra.db")]
        with subprocess.Popen(run, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as other:
            assert other.stdout and other.stdout.readline() == "1\n"
            with pytest.raises(BackupRefused, match="running"):
                restore_backup(folder, keep_rules=False)
            other.communicate("\n")
    else:
        with closing(psycopg.connect(**_libpq())), pytest.raises(BackupRefused, match="Other clients are connected"):
            restore_backup(folder, keep_rules=False)
    restore_backup(folder, keep_rules=False)


BESIDE = """
import os, sys
sys.path.insert(0, os.getcwd())
os.environ["DJANGO_SETTINGS_MODULE"] = "config.settings"
import django
django.setup()
from django.db import connection
{}
connection.close()
print(1, flush=True)
input()
"""


@pytest.mark.parametrize("house", ["sqlite"], indirect=True)
@pytest.mark.parametrize(
    ("process", "does"), [("web", ""), ("worker", ""), ("", 'connection.cursor().execute("SELECT 1")')]
)
def test_nothing_is_restored_while_an_idle_process_uses_the_data_folder(house: Path, process: str, does: str) -> None:
    """One that has no file open at the moment: a web process between two requests, a shell, a drill."""
    folder = backup_of(house)
    environment = os.environ | {"ORCHESTRA_DATA_DIR": str(house), "DATABASE_URL": "", "ORCHESTRA_PROCESS": process}
    command = [sys.executable, "-c", BESIDE.format(does)]
    with subprocess.Popen(
        command, env=environment, cwd=django_settings.BASE_DIR, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as other:
        assert other.stdout and other.stdout.readline() == "1\n"
        with pytest.raises(BackupRefused, match=f"process {other.pid}, .*python"):
            restore_backup(folder, keep_rules=False)
        other.communicate("\n")
    restore_backup(folder, keep_rules=False)


@pytest.mark.parametrize("house", ["sqlite"], indirect=True)
@pytest.mark.parametrize(
    "arguments",
    [
        ["approvals", "list"],
        ["run", "web"],
        ["shell", "-c", "from approvals.models import Approval as A; A.objects.count()"],
    ],
)
def test_during_a_restore_no_process_begins(house: Path, arguments: list[str]) -> None:
    environment = os.environ | {"ORCHESTRA_DATA_DIR": str(house), "DATABASE_URL": "", "ORCHESTRA_PROCESS": ""}
    with data_lock.exclusive(house):
        command = [sys.executable, "manage.py", *arguments]
        ended = subprocess.run(
            command,
            env=environment,
            cwd=django_settings.BASE_DIR,
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
    assert ended.returncode == 1
    assert "is being restored" in ended.stderr and "Traceback" not in ended.stderr


@pytest.mark.parametrize("house", ["postgresql"], indirect=True)
def test_who_is_just_leaving_the_database_is_waited_for(house: Path) -> None:
    folder = backup_of(house)
    leaving = psycopg.connect(**_libpq())
    threading.Timer(1.0, leaving.close).start()
    restore_backup(folder, keep_rules=False)
    assert leaving.closed


def test_no_value_of_a_backup_signs_a_browser_in(house: Path) -> None:
    client = Client()
    client.force_login(make_user("anna"))
    cookie = client.cookies[django_settings.SESSION_COOKIE_NAME].value
    folder = backup_of(house)
    path = next(path for path in folder.iterdir() if path.name != "manifest.json")
    text = path.read_bytes() if connection.vendor == "sqlite" else _as_sql(path)
    assert hashed(cookie).encode() in text  # it is really there to be found
    assert cookie.encode() not in text


def _as_sql(dump: Path) -> bytes:
    return subprocess.run(["pg_restore", "-f", "-", str(dump)], capture_output=True, check=True).stdout


def _libpq() -> dict[str, Any]:
    params = connection.get_connection_params()
    return {name: params[name] for name in ("dbname", "user", "host") if name in params}
