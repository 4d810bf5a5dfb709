"""Somebody who looks at the process table and the runs all the while: orphans, and how long recoveries take."""

import contextlib
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from uuid import UUID

import psutil
from django.db.models.functions import Now

from sessions_app.models import OPEN_SESSION, AgentSession, Run
from sessions_app.supervisor import orphan_reaper
from tests.chaos.clients import patiently

EVERY_S = 1.0
ORPHAN_S = 10.0
SLACK_S = 3.0  # two looks and the time one takes on a busy machine


@dataclass
class Watch:
    """``suspended`` says that a fault is on right now which keeps the janitor itself from working."""

    suspended: Callable[[], bool]
    orphans: dict[tuple[int, float], str] = field(default_factory=dict)
    recoveries: list[tuple[float, float]] = field(default_factory=list)  # killed, in other hands
    stop: threading.Event = field(default_factory=threading.Event)
    _since: dict[tuple[int, float], float] = field(default_factory=dict)
    _lost: dict[UUID, float] = field(default_factory=dict)  # a run that may need recovery -> the kill
    _thread: threading.Thread | None = None

    def start(self) -> None:
        self._thread = threading.Thread(target=self._run, name="watch", daemon=True)
        self._thread.start()

    def done(self) -> None:
        self.stop.set()
        if self._thread:
            self._thread.join(60)

    def killed(self, at: float) -> None:
        """A sessions worker was killed: whatever it ran must be live again, resumable, or ended."""
        lived = Run.objects.filter(created_at__lte=Now(), ended_at__isnull=True)
        for pk in patiently(lambda: list(lived.values_list("pk", flat=True)), 60):
            self._lost.setdefault(pk, at)

    def _run(self) -> None:
        while not self.stop.wait(EVERY_S):
            before = time.monotonic()
            found = list(_marked())
            live = {
                str(pk)
                for pk in patiently(
                    lambda: list(Run.objects.filter(ended_at__isnull=True).values_list("pk", flat=True))
                )
            }
            if self.suspended() or time.monotonic() - before > SLACK_S:
                self._since.clear()
            self._evaluate_policy([(key, run) for key, run in found if run not in live])
            self._measure()

    def _evaluate_policy(self, strays: list[tuple[tuple[int, float], str]]) -> None:
        now = time.monotonic()
        self._since = {key: self._since.get(key, now) for key, _ in strays}
        for key, run in strays:
            age = now - self._since[key]
            if age > ORPHAN_S + SLACK_S:
                self.orphans[key] = f"process {key[0]} still lives {age:.0f} s after its run {run} ended"

    def _measure(self) -> None:
        """How long after the kill each lost session was in other hands, or free to be taken up by an answer."""
        if not self._lost:
            return
        runs = {run.pk: run for run in patiently(lambda: list(Run.objects.filter(pk__in=list(self._lost))))}
        sessions = [run.session_id for run in runs.values()]
        states = dict(patiently(lambda: list(AgentSession.objects.filter(pk__in=sessions).values_list("pk", "status"))))
        alive = set(
            patiently(
                lambda: list(
                    Run.objects.filter(session__in=sessions, ended_at__isnull=True).values_list("session", flat=True)
                )
            )
        )
        for pk, at in list(self._lost.items()):
            run = runs.get(pk)
            if run is None or run.ended_at is None:
                continue
            if run.ended_why != "lost":  # it ended by itself at that very moment
                del self._lost[pk]
            elif (
                states[run.session_id] == "waiting"
                or states[run.session_id] not in OPEN_SESSION
                or run.session_id in alive
            ):
                self.recoveries.append((at, time.time()))
                del self._lost[pk]


def _marked() -> Iterator[tuple[tuple[int, float], str]]:
    for process, run in orphan_reaper.marked_processes():
        with contextlib.suppress(psutil.Error):
            if process.status() != psutil.STATUS_ZOMBIE:
                yield (process.pid, process.create_time()), run
