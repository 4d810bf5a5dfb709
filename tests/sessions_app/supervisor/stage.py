"""A stage for whole turns: the fake CLI, real rows, real processes, and the promises checked afterwards."""

import dataclasses
import json
import threading
import time
from collections import Counter
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any, TypeVar
from uuid import uuid4

import psutil
from django.db import connection
from pytest_django import Settings

from approvals.commands import decide_approval
from approvals.models import Approval, AuditEntry
from approvals.policy.digest import input_digest
from sessions_app.commands import SessionRequest, start_session
from sessions_app.models import AgentSession, Event, PermissionRequest, Run, Turn
from sessions_app.supervisor import orphan_reaper, worker
from tests.fakes.fake_cli import children, make_fake_cli, read_ledger

GUARD_S = 90.0  # far beyond anything that works
UNGATED = frozenset({"Read", "Task", "AskUserQuestion", "ExitPlanMode"})
OPEN_SESSION = ("queued", "running", "waiting")

T = TypeVar("T")


def eventually(look: Callable[[], T], what: str = "it") -> T:
    """The first true value of ``look``."""
    end = time.monotonic() + GUARD_S
    while time.monotonic() < end:
        found = look()
        if found:
            return found
        time.sleep(0.02)
    raise AssertionError(f"never happened: {what}")


class Taken(threading.Thread):
    """A worker's slot at work on one turn; ``said`` is what ``take_turn`` returned."""

    def __init__(self, turn: Turn) -> None:
        super().__init__(daemon=True)
        self.turn = turn
        self.said = ""
        self.error: BaseException | None = None
        self.start()

    def run(self) -> None:
        try:
            self.said = worker.take_turn(self.turn.pk)
        except BaseException as error:
            self.error = error
        finally:
            connection.close()

    def done(self) -> str:
        """Wait for its end."""
        self.join(GUARD_S)
        assert not self.is_alive(), "the supervisor did not come to an end"
        if self.error:
            raise self.error
        return self.said


class Stage:
    """What a fault test needs, and little more."""

    def __init__(self, folder: Path, settings: Settings) -> None:
        self.folder, self.settings = folder, settings
        # suites that run beside this one must not take our processes for theirs
        settings.ORCHESTRA = dataclasses.replace(settings.ORCHESTRA, marker=uuid4().hex)
        self.root = folder / "work"
        self.root.mkdir()
        self.agents(cli_path=str(make_fake_cli(folder / "cli")), working_roots=(self.root.resolve(),))

    # --- before

    def agents(self, **changes: Any) -> None:
        self.settings.AGENTS = dataclasses.replace(self.settings.AGENTS, **changes)

    def approvals(self, *, hold_s: float | None = None, timeout_s: float | None = None) -> None:
        changes: dict[str, Any] = {"self_approval": True}
        if hold_s is not None:
            changes["hold"] = timedelta(seconds=hold_s)
        if timeout_s is not None:
            changes["timeout"] = timedelta(seconds=timeout_s)
        self.settings.APPROVALS = dataclasses.replace(self.settings.APPROVALS, **changes)

    def scene(self, *turns: list[dict[str, Any]], start: list[dict[str, Any]] | None = None) -> None:
        """What the agent does: a list of steps a turn, see ``fake_cli``."""
        scenario = {"start": start or [], "turns": list(turns)}
        (self.folder / "cli" / "scenario.json").write_text(json.dumps(scenario))

    def session(self, prompt: str = "go", **wanted: Any) -> AgentSession:
        return start_session(SessionRequest(prompt=prompt, **wanted), by="olga", may_allow=True)

    # --- during

    def take(self, session: AgentSession) -> Taken:
        return Taken(open_turn(session))

    def play(self, *turns: list[dict[str, Any]], **wanted: Any) -> AgentSession:
        """Write the scene, start a session, run its first turn to its end."""
        self.scene(*turns)
        session = self.session(**wanted)
        self.take(session).done()
        session.refresh_from_db()
        return session

    def asked(self, session: AgentSession, count: int = 1) -> list[Approval]:
        """The open requests, as soon as there are that many."""

        def look() -> list[Approval]:
            found = list(Approval.objects.filter(session=session.pk, status="pending").order_by("created_at"))
            return found if len(found) >= count else []

        return eventually(look, f"{count} open requests")

    def decide(self, approval: Approval, verdict: str = "approved", **more: Any) -> Approval:
        return decide_approval(approval_id=approval.pk, decision=verdict, by="anna", via="api", **more)

    # --- afterwards

    @property
    def ran(self) -> list[dict[str, Any]]:
        """What the fake CLI executed, in order."""
        return read_ledger(self.folder / "cli")

    @property
    def children(self) -> list[int]:
        """What the fake CLI left to itself."""
        return children(self.folder / "cli")

    def check_promises(self) -> None:
        """What must hold after every scene, however it went."""
        check_decided_once()
        check_ran_only_what_was_approved(self.ran)
        check_sessions()
        eventually(lambda: not list(orphan_reaper.marked_processes()), "no process outlives its run")


def open_turn(session: AgentSession) -> Turn:
    return Turn.objects.filter(session=session, status__in=("queued", "running")).latest("number")


def last_turn(session: AgentSession) -> Turn:
    return Turn.objects.filter(session=session).latest("number")


def events(session: AgentSession, *kinds: str) -> list[dict[str, Any]]:
    """Payloads of the transcript in order; only of those kinds if some are given."""
    rows = Event.objects.filter(session=session).order_by("seq")
    rows = rows.filter(kind__in=kinds) if kinds else rows
    return [json.loads(payload) for payload in rows.values_list("payload", flat=True)]


def gone(pid: int) -> bool:
    """Whether that process has ended."""
    try:
        return psutil.Process(pid).status() == psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return True


def check_decided_once() -> None:
    for approval in Approval.objects.exclude(status="pending"):
        winners = AuditEntry.objects.filter(approval=approval, won=True, action=approval.status)
        others = AuditEntry.objects.filter(approval=approval, won=True).exclude(
            action__in=(approval.status, "requested", "extended", "reopened")
        )
        assert (winners.count(), others.count()) == (1, 0)


def check_ran_only_what_was_approved(ran: list[dict[str, Any]]) -> None:
    granted = Counter(Approval.objects.filter(consumed_at__isnull=False).values_list("run_digest", flat=True))
    for approval in Approval.objects.filter(consumed_at__isnull=False):
        assert approval.status == "approved"
        assert approval.decided_at and approval.consumed_at and approval.decided_at <= approval.consumed_at
    executed: Counter[str] = Counter()
    for entry in ran:
        if entry["tool"] in UNGATED:
            continue
        session = AgentSession.objects.get(pk=entry["session"])
        digest = input_digest(
            tool_name=entry["tool"],
            tool_input=entry["input"],
            working_directory=session.working_directory,
            session=session.pk,
        )
        executed[digest] += 1
        first = Approval.objects.filter(run_digest=digest, consumed_at__isnull=False).order_by("decided_at").first()
        assert first and first.decided_at and first.decided_at.timestamp() <= entry["at"]
    assert not executed - granted, "more ran than was granted"


def check_sessions() -> None:
    for session in AgentSession.objects.all():
        seqs = list(Event.objects.filter(session=session).order_by("seq").values_list("seq", flat=True))
        assert seqs == list(range(1, session.last_seq + 1))
        if session.status not in OPEN_SESSION:
            assert not Approval.objects.filter(session=session.pk, status="pending").exists()
            assert not Run.objects.filter(session=session, ended_at__isnull=True).exists()
            assert not Turn.objects.filter(session=session, status__in=("queued", "running")).exists()
            closed = PermissionRequest.objects.filter(session=session)
            assert not closed.filter(answered_at__isnull=True).exists()
