"""Files attached to a prompt: which are refused and why, and what is read, shown and noted of the others."""

import contextlib
import hashlib
import io
import json
import os
import socket
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from django.conf import settings as house
from django.core.management import CommandError, call_command
from django.test import Client
from pytest_django import Settings

from approvals.models import AuditEntry, Rule
from orchestra.realtime.registry import Caller
from sessions_app import hub
from sessions_app.commands import SessionRequest, send_message, start_session
from sessions_app.errors import AttachmentRefused, InvalidSession
from sessions_app.models import AgentSession, Event, ScheduledRun, Turn
from sessions_app.prompts import attachments
from sessions_app.prompts.attachments import LARGEST_FILE, MOST_FILES, framed
from sessions_app.schedules import commands as schedules
from sessions_app.schedules.commands import Timing
from sessions_app.supervisor import leases
from sessions_app.supervisor.leases import Claim
from sessions_app.transcript.render import said
from tests.factories import client_of, make_session, make_user
from tests.stack import until

pytestmark = pytest.mark.django_db
WORKER = leases.Worker(host="here", pid=1, started=1.0)
OUTSIDE = "let the agent ask to read it"
SWAPPING = """
import itertools, os, sys
os.chdir(sys.argv[1])
for target in itertools.cycle(sys.argv[2:]):
    os.symlink(target, "next")
    os.replace("next", "link")
"""


@pytest.fixture
def project(settings: Settings, tmp_path: Path) -> Path:
    """A working directory with a file in it, and a secret outside."""
    make_user("olga", group="Operator")
    folder = (tmp_path / "work" / "project").resolve()
    folder.mkdir(parents=True)
    (folder / "notes.txt").write_text("remember the milk\n")
    (tmp_path / "secret.txt").write_text("CANARY")
    settings.AGENTS = replace(settings.AGENTS, working_roots=(folder.parent,))
    return folder


def start(project: Path, *paths: str, by: str = "olga") -> AgentSession:
    wanted = SessionRequest(prompt="look", working_directory=str(project), agent="demo", attachments=list(paths))
    return start_session(wanted, by=by, may_allow=False, via="api")


def claimed(session: AgentSession) -> Claim:
    found = leases.claim_turn(Turn.objects.get(session=session, status="queued").pk, WORKER)
    assert found
    return found


def refusal(project: Path, *paths: str) -> str:
    with pytest.raises(AttachmentRefused) as refused:
        start(project, *paths)
    assert not Turn.objects.exists()
    assert not AuditEntry.objects.filter(action="attached").exists()
    return refused.value.detail


# --- what is taken


def test_a_file_is_kept_with_its_turn_shown_and_audited(project: Path) -> None:
    session = start(project, "notes.txt", str(project / "notes.txt"), "notes.txt")
    turn = Turn.objects.get()
    assert [(one["path"], one["bytes"]) for one in turn.attachments] == [
        ("notes.txt", 18), (str(project / "notes.txt"), 18),
    ]  # fmt: skip
    prompt = json.loads(Event.objects.get(kind="prompt").payload)
    assert prompt["attachments"][0] == {"path": "notes.txt", "bytes": 18}
    entry = AuditEntry.objects.filter(action="attached").first()
    assert entry and (entry.by, entry.via, entry.won) == ("olga", "api", True)
    assert '"notes.txt" (sha256 ' + turn.attachments[0]["sha256"] in entry.reason
    [first, _] = attachments.read_for(claimed(session))
    assert 'Attached file "notes.txt", 18 bytes, begins' in first and "remember the milk\n" in first


def test_what_is_no_utf_8_is_read_with_replacements(project: Path) -> None:
    (project / "latin.txt").write_bytes(b"caf\xe9")
    assert "caf\ufffd" in attachments.read_for(claimed(start(project, "latin.txt")))[0]


def test_a_frame_cannot_be_imitated_and_never_begins_with_a_command() -> None:
    one, other = framed("a\n/compact", b"/compact\n@/etc/passwd"), framed("a\n/compact", b"/compact\n@/etc/passwd")
    assert one != other
    assert one.startswith('--- Attached file "a\\n/compact", 21 bytes, begins (')


def test_a_rule_may_allow_what_is_outside(project: Path, tmp_path: Path) -> None:
    Rule.objects.create(effect="allow", tool="Read", pattern=f"{tmp_path}/secret.txt", scope="everywhere", max_uses=1)
    session = start(project, "../../secret.txt")
    claim = claimed(session)
    assert "CANARY" in attachments.read_for(claim)[0]
    with pytest.raises(AttachmentRefused, match=OUTSIDE):
        attachments.read_for(claim)  # its one use is spent


# --- what is refused


@pytest.mark.parametrize("path", ["/etc/passwd", "../../secret.txt", "nothing/../../../secret.txt", "/nothing/there"])
def test_what_is_outside_is_refused_whether_or_not_it_is_there(project: Path, path: str) -> None:
    assert OUTSIDE in refusal(project, path)


@pytest.mark.parametrize("name", [".env", "id_rsa", ".ssh/config", "aws-credentials.txt"])
def test_what_looks_like_a_secret_is_refused(project: Path, name: str) -> None:
    (project / name).parent.mkdir(exist_ok=True)
    (project / name).write_text("CANARY")
    assert OUTSIDE in refusal(project, name)


def test_what_the_guardrails_protect_is_refused_with_their_reason(project: Path) -> None:
    assert "belongs to Orchestra itself" in refusal(project, str(house.ORCHESTRA.data_dir / "secret_key"))
    assert "the environment of processes is not readable" in refusal(project, "/proc/self/environ")


def test_what_a_rule_denies_is_refused(project: Path) -> None:
    Rule.objects.create(effect="deny", tool="Read", pattern="*.txt", scope="everywhere", note="no texts")
    assert "no texts" in refusal(project, "notes.txt")


def test_links_count_for_what_they_lead_to(project: Path, tmp_path: Path) -> None:
    (project / "link").symlink_to(tmp_path / "secret.txt")
    (project / "folder").symlink_to(tmp_path)
    assert OUTSIDE in refusal(project, "link")
    assert OUTSIDE in refusal(project, "folder/secret.txt")


def test_folders_pipes_sockets_and_devices_are_refused_and_not_waited_for(project: Path) -> None:
    os.mkfifo(project / "pipe")
    with socket.socket(socket.AF_UNIX) as listening:
        listening.bind(str(project / "s"))
        for path in ("pipe", ".", "s", "missing.txt"):
            refusal(project, path)


def test_sizes_numbers_and_binaries_have_limits(project: Path) -> None:
    (project / "large").write_bytes(b"x" * (LARGEST_FILE + 1))
    (project / "image.png").write_bytes(b"\x89PNG\r\n\x1a\n\0\0\0\r")
    for number in range(5):
        (project / f"{number}").write_bytes(b"x" * LARGEST_FILE)
    assert "more than 256 KiB" in refusal(project, "large")
    assert "not text" in refusal(project, "image.png")
    assert "1024 KiB together" in refusal(project, *map(str, range(5)))
    answer = client_of(make_user("ada", group="Operator")).post(
        "/api/sessions", {"prompt": "x", "agent": "demo", "attachments": ["a"] * (MOST_FILES + 1)}, format="json"
    )
    assert (answer.status_code, list(answer.json()["fields"])) == (400, ["attachments"])


@pytest.mark.parametrize("path", ["", " ", "a\0b", "caf\udce9", "x" * 5000])
def test_what_cannot_be_a_path_is_refused(project: Path, path: str) -> None:
    with pytest.raises(InvalidSession) as refused:
        start(project, path)
    assert list(refused.value.facts["fields"]) == ["attachments"]  # type: ignore[call-overload]
    session = make_session(working_directory=str(project), status="completed")
    with pytest.raises(AttachmentRefused):
        send_message(session_id=session.pk, prompt="x", by="olga", attachments=[path])


# --- when the process starts


def swapped(project: Path) -> None:
    (project / "notes.txt").unlink()
    (project / "notes.txt").symlink_to(project.parent.parent / "secret.txt")


def edited(project: Path) -> None:
    (project / "notes.txt").write_text("something else")


def removed(project: Path) -> None:
    (project / "notes.txt").unlink()


def denied(project: Path) -> None:
    Rule.objects.create(effect="deny", tool="Read", pattern="*.txt", scope="everywhere")


def moved(project: Path) -> None:
    (project / "notes.txt").rename(project.parent / "else")
    project.rmdir()
    project.symlink_to("/etc")


@pytest.mark.parametrize("change", [swapped, edited, removed, denied, moved])
def test_what_has_changed_since_fails_the_turn(project: Path, change: Callable[[Path], None]) -> None:
    claim = claimed(start(project, "notes.txt"))
    change(project)
    with pytest.raises(AttachmentRefused) as refused:
        attachments.read_for(claim)
    assert "CANARY" not in refused.value.detail


def test_what_is_open_is_judged_not_what_the_path_says_later(project: Path, tmp_path: Path) -> None:
    """A link in the place of the file at the instant it is opened: the policy is asked about what it led to."""
    (project / "notes.txt").unlink()
    (project / "notes.txt").symlink_to(tmp_path / "secret.txt")
    reader = attachments.Reader(session_id=make_session().pk, directory=str(project), requester="olga")
    opened = attachments._open("notes.txt", reader)
    (project / "notes.txt").unlink()
    (project / "notes.txt").write_text("harmless again")
    assert opened.real == str(tmp_path / "secret.txt")
    with pytest.raises(AttachmentRefused, match=OUTSIDE):
        attachments._evaluate_policy("notes.txt", opened.real, reader)


def test_a_link_that_is_swapped_all_the_time_never_shows_what_is_outside(project: Path, tmp_path: Path) -> None:
    """Hundreds of races between what is judged and what is opened."""
    reader = attachments.Reader(session_id=make_session().pk, directory=str(project), requester="olga")
    targets = [str(project / "notes.txt"), str(tmp_path / "secret.txt")]
    with subprocess.Popen([sys.executable, "-c", SWAPPING, str(project), *targets]) as swapping:
        until((project / "link").is_symlink, "the link is there")
        seen: set[str] = set()
        for _ in range(600):
            with contextlib.suppress(AttachmentRefused):
                seen.update(one["sha256"] for one in attachments.look_at(["link"], reader, here=True))
        swapping.kill()
    assert seen == {hashlib.sha256(b"remember the milk\n").hexdigest()}


def test_a_turn_that_an_earlier_process_began_goes_on_and_says_what_is_missing(project: Path) -> None:
    claim = replace(claimed(start(project, "notes.txt")), repeats=True)
    edited(project)
    [text] = attachments.read_for(claim)
    assert text.startswith("(A file was attached and cannot be shown again. notes.txt has changed")
    assert "something else" not in text


def test_a_turn_that_only_goes_on_with_a_parked_call_reads_nothing(project: Path) -> None:
    claim = replace(claimed(start(project, "notes.txt")), prompt="")
    removed(project)
    assert attachments.read_for(claim) == []


def test_files_of_another_host_are_judged_by_their_path_until_it_reads_them(project: Path) -> None:
    session = make_session(working_directory=str(project), status="completed", host="far", requested_by="olga")
    with pytest.raises(AttachmentRefused, match=OUTSIDE):
        send_message(session_id=session.pk, prompt="x", by="olga", attachments=["/etc/passwd"])
    turn = send_message(session_id=session.pk, prompt="x", by="olga", attachments=["not-here.txt"])
    assert turn.attachments == [{"path": "not-here.txt", "bytes": None, "sha256": ""}]
    (project / "not-here.txt").write_text("there")
    assert "there" in attachments.read_for(claimed(session))[0]
    first, second = AuditEntry.objects.filter(action="attached", by="olga").order_by("pk")
    assert "to be read when the turn starts" in first.reason and "sha256" in second.reason


@pytest.fixture
def open_project(project: Path, settings: Settings) -> Iterator[Path]:
    """A working directory that other accounts may enter, unlike those below pytest's own folder."""
    with tempfile.TemporaryDirectory(dir="/tmp") as name:
        folder = Path(name).resolve()
        folder.chmod(0o755)
        settings.AGENTS = replace(settings.AGENTS, working_roots=(folder,))
        yield folder


@pytest.mark.skipif(os.geteuid() != 0, reason="only root gives a process another account")
def test_files_are_read_as_the_account_of_the_agent(open_project: Path, settings: Settings, tmp_path: Path) -> None:
    for name, mode in (("notes.txt", 0o644), ("own.txt", 0o600)):
        (open_project / name).write_text("line one\nline two\n")
        (open_project / name).chmod(mode)
    claim, locked = claimed(start(open_project, "notes.txt")), claimed(start(open_project, "own.txt"))
    settings.AGENTS = replace(settings.AGENTS, run_as="nobody")
    assert "line one\nline two\n" in attachments.read_for(claim)[0]
    with pytest.raises(AttachmentRefused, match="agent's account"):
        attachments.read_for(locked)


@pytest.mark.skipif(os.geteuid() != 0, reason="only root gives a process another account")
def test_the_account_too_opens_first_and_tells_what_is_open(open_project: Path, settings: Settings) -> None:
    settings.AGENTS = replace(settings.AGENTS, run_as="nobody")
    reader = attachments.Reader(session_id=make_session().pk, directory=str(open_project), requester="olga")
    (open_project / "link").symlink_to("/etc/hostname")
    assert attachments._open_as_account("link", reader).real == os.path.realpath("/etc/hostname")
    os.mkfifo(open_project / "pipe", 0o644)
    for path in ("pipe", ".", "missing"):
        with pytest.raises(AttachmentRefused):
            attachments._open_as_account(path, reader)


# --- every surface


def test_rest_takes_and_refuses_them(project: Path) -> None:
    client = client_of(make_user("oleg", group="Operator"))
    body = {"prompt": "x", "agent": "demo", "working_directory": str(project)}
    answer = client.post("/api/sessions", body | {"attachments": ["notes.txt"]}, format="json")
    assert answer.status_code == 201
    assert answer.json()["turns"][0]["attachments"] == [{"path": "notes.txt", "bytes": 18}]
    answer = client.post("/api/sessions", body | {"attachments": ["/etc/passwd"]}, format="json")
    assert (answer.status_code, answer.json()["code"]) == (400, "attachment_refused")
    assert OUTSIDE in answer.json()["fields"]["attachments"][0]
    session = make_session(working_directory=str(project), status="completed")
    path = f"/api/sessions/{session.pk}/messages"
    answer = client.post(path, {"prompt": "x", "attachments": ["/etc/passwd"]}, format="json")
    assert (answer.status_code, answer.json()["code"]) == (400, "attachment_refused")
    answer = client.post(path, {"prompt": "x", "attachments": ["notes.txt"]}, format="json")
    assert (answer.status_code, answer.json()["attachments"]) == (201, [{"path": "notes.txt", "bytes": 18}])


def test_the_hub_takes_and_refuses_them(project: Path) -> None:
    caller = Caller(make_user("oleg", group="Operator"), "127.0.0.1", by_cookie=False)
    session = make_session(working_directory=str(project), status="completed")
    with pytest.raises(AttachmentRefused):
        hub.send_message(caller, {"session": str(session.pk), "prompt": "x", "attachments": ["/etc/passwd"]})
    hub.send_message(caller, {"session": str(session.pk), "prompt": "x", "attachments": ["notes.txt"]})
    assert AuditEntry.objects.get(action="attached").via == "websocket"


def test_the_console_takes_refuses_and_shows_them(project: Path) -> None:
    browser = Client()
    browser.force_login(make_user("oleg", group="Operator"))
    form = {"prompt": "x", "agent": "demo", "permission_mode": "default", "working_directory": str(project)}
    page = browser.post("/sessions/new", form | {"attachments": "/etc/passwd"})
    assert OUTSIDE in page.content.decode()
    browser.post("/sessions/new", form | {"attachments": "notes.txt\n\n"})
    session = AgentSession.objects.get()
    assert "<bdi>notes.txt (18 bytes)</bdi>" in browser.get(f"/sessions/{session.pk}").content.decode()
    AgentSession.objects.update(status="completed")
    Turn.objects.update(status="completed")
    act = f"/sessions/{session.pk}/act"
    refused = browser.post(
        act, {"act": "message", "prompt": "y", "attachments": "../x"}, headers={"HX-Request": "true"}
    )
    assert OUTSIDE in refused.content.decode()
    browser.post(act, {"act": "message", "prompt": "y", "attachments": "notes.txt"})
    assert [entry.via for entry in AuditEntry.objects.filter(action="attached")] == ["dashboard", "dashboard"]


def test_the_terminal_takes_refuses_and_shows_them(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(project)
    words = ("session", "start", "x", "--agent", "demo", "--directory", ".", "--attach")
    with pytest.raises(CommandError, match=OUTSIDE):
        call_command(*words, "/etc/passwd", stdout=io.StringIO())
    call_command(*words, "notes.txt", stdout=io.StringIO())
    assert AuditEntry.objects.get(action="attached").via == "cli"
    assert "notes.txt (18 bytes)⟩" in said(Event.objects.get(kind="prompt")).body


def test_a_schedule_reads_them_each_time(project: Path) -> None:
    olga = make_user("oleg", group="Operator")
    body: dict[str, Any] = {"prompt": "x", "agent": "demo", "working_directory": str(project)}
    body["attachments"] = ["notes.txt"]
    saved = schedules.save_schedule(
        user=olga, title="t", session=body, timing=Timing(every_seconds=3600, overlap="allow")
    )
    assert schedules.start_now(schedule_id=saved.pk, user=olga).status == ScheduledRun.Status.STARTED
    removed(project)
    run = schedules.start_now(schedule_id=saved.pk, user=olga)
    assert (run.status, "notes.txt" in run.detail) == ("refused", True)
