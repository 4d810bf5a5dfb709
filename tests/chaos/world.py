"""A small Orchestra in one process: a worker, its sweeps and two people, driven until nothing is left to do.

The fake CLI runs as a real process on real rows; only the message broker is replaced, by looking at the rows.
"""

import time
from collections.abc import Callable
from contextlib import suppress

from django.db import DatabaseError, connection

from approvals.commands import decide_approval, expire_due_approvals
from approvals.errors import ApprovalClosed, ApprovalExpired
from approvals.models import Approval
from sessions_app.models import OPEN_SESSION, AgentSession, Run, Turn
from sessions_app.supervisor import leases, orphan_reaper
from tests.chaos.checker import Deed, Evidence, Violation, violations
from tests.chaos.failpoints import Crash
from tests.sessions_app.supervisor.stage import Stage, Taken

Verdict = Callable[[Approval], str]


def approve(_: Approval) -> str:
    return "approved"


class World:
    """What happened is in ``history``; ``sweeps`` and ``people`` can be taken away."""

    def __init__(self, stage: Stage) -> None:
        self.stage = stage
        self.history: list[Deed] = []
        self.crashes = 0
        self.sweeps = True
        self.verdict: Verdict = approve
        self._taken: dict[str, Taken] = {}
        self._all: list[Taken] = []

    def take(self, session: AgentSession) -> Taken:
        """Have a worker take the open turn, in the background."""
        self._all.append(self.stage.take(session))
        return self._all[-1]

    def drive(self, session: AgentSession, patience_s: float = 40.0) -> bool:
        """Do what is to be done until the session has ended; False if it never does."""
        end = time.monotonic() + patience_s
        while time.monotonic() < end:
            with suppress(DatabaseError):
                self._round(session)
                session.refresh_from_db()
                if session.status not in OPEN_SESSION and not self._busy(session):
                    return True
            time.sleep(0.02)
        return False

    def _round(self, session: AgentSession) -> None:
        for approval in Approval.objects.filter(session=session.pk, status="pending"):
            self.decide(approval, self.verdict(approval))
        if not self._busy(session):
            for turn in Turn.objects.filter(
                session=session.pk, session__status="queued", status__in=("queued", "running")
            ):
                self._taken[str(session.pk)] = self.take(session)
                assert turn
        if self.sweeps:
            try:
                expire_due_approvals(batch=10)
                for session_id in leases.answered_parked_sessions():
                    leases.resume_answered(session_id)
            except Crash:
                self.crashes += 1

    def decide(self, approval: Approval, verdict: str, by: str = "anna", via: str = "api") -> Deed:
        """As a client decides that asks again when it got no answer."""
        deed = Deed("decide", by, via, approval=str(approval.pk), verdict=verdict)
        self.history.append(deed)
        for _ in range(5):
            try:
                decide_approval(approval_id=approval.pk, decision=verdict, by=by, via=via)
                deed.ok = True
            except (ApprovalClosed, ApprovalExpired) as error:
                deed.refused = dict(error.facts)
            except (Crash, DatabaseError) as error:
                self.crashes += isinstance(error, Crash)
                continue
            break
        return deed

    def _busy(self, session: AgentSession) -> bool:
        """Whether a worker still has it; one that crashed is found dead, and what it ran is given up for lost."""
        taken = self._taken.get(str(session.pk))
        if taken is None or taken.is_alive():
            return taken is not None
        del self._taken[str(session.pk)]
        if taken.error is not None:
            self.crashes += isinstance(taken.error, Crash)
            if not isinstance(taken.error, (Crash, DatabaseError)):
                raise taken.error
            for run in Run.objects.filter(session=session, ended_at__isnull=True):
                orphan_reaper.kill_run(run.pk)
                leases.reclaim(run, why="the worker is gone", dead=True)
        return False

    def close(self) -> None:
        """Whatever a scene left running ends here."""
        for taken in self._all:
            for run in Run.objects.filter(turn=taken.turn.pk):
                orphan_reaper.kill_run(run.pk)
            taken.join(20)
        for process, _ in orphan_reaper.marked_processes():
            process.kill()

    def judge(self, *more: str) -> list[Violation]:
        """What the checker finds, and what a scene saw itself."""
        time.sleep(0.05)
        orphans = [f"process {process.pid} of run {run}" for process, run in orphan_reaper.marked_processes()]
        connection.close()
        evidence = Evidence(ledger=self.stage.ran, history=self.history, orphans=orphans, settled=True)
        return [*violations(evidence), *(Violation("seen", what) for what in more)]
