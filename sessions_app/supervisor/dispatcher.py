"""One per process: rings the bell of the supervisor a piece of news is for, and keeps their runs alive.

It listens to the doorbell and, since rings may be lost, reads all waiting approvals and all supervised sessions of the
process in one query each. The heartbeat of all runs is one UPDATE.
"""

import logging
import threading
import time
from collections import deque
from dataclasses import dataclass, field
from uuid import UUID

import psutil
from django.conf import settings
from django.db import DatabaseError, connection

from approvals.models import Approval
from approvals.stop import commands as stops
from orchestra.db.notify import listener
from sessions_app.models import AgentSession, Run, Turn
from sessions_app.supervisor import leases
from sessions_app.supervisor.process import Bell

logger = logging.getLogger(__name__)

SWEEP_S = 1.5
BEAT_S = leases.HEARTBEAT.total_seconds()
SCARCE_MEMORY = 0.10  # of the machine's; below this, agents that wait for people are parked early
STALLED_S = 25.0  # a supervisor that has not come round for so long gets no heartbeat


@dataclass(slots=True)
class Extension:
    """One supervisor's line: its bell, its news, and what it waits for."""

    session_id: UUID
    run_id: UUID
    bell: Bell
    news: deque[tuple[str, UUID]] = field(default_factory=deque)
    waiting: set[UUID] = field(default_factory=set)
    asking: set[UUID] = field(default_factory=set)  # the first ring for these is that of the question itself
    came_round_at: float = field(default_factory=time.monotonic)
    holds_calls: bool = False  # that would be allowed, were not all agents stopped

    def listen_before_asking(self, approval_id: UUID) -> None:
        """So that no answer comes unheard. The question rings as well; whichever of two rings comes second is news."""
        self.asking.add(approval_id)
        self.wait_for(approval_id)

    def wait_for(self, approval_id: UUID) -> None:
        """Have rings for it told here."""
        self.waiting.add(approval_id)
        _awaited[str(approval_id)] = self

    def stop_waiting(self, approval_id: UUID) -> None:
        """No ring for it is news any more."""
        self.waiting.discard(approval_id)
        self.asking.discard(approval_id)
        _awaited.pop(str(approval_id), None)

    def tell(self, topic: str, key: UUID) -> None:
        """Put news down and wake the supervisor; from any thread."""
        self.news.append((topic, key))
        self.bell.ring()


_awaited: dict[str, Extension] = {}  # by the key that rings for it: a ring costs the same however many wait


class Switchboard:
    """All supervisors of this process."""

    def __init__(self) -> None:
        self._lines: dict[UUID, Extension] = {}
        self._lock = threading.Lock()
        self._thread: threading.Thread | None = None
        self._beat_at = float("-inf")
        self.pressed = False

    def beating(self) -> bool:
        """Whether some run of this process gave a sign of life within the time after which it would count as lost."""
        return bool(self._lines) and time.monotonic() - self._beat_at < leases.LOST_AFTER.total_seconds()

    def plug_in(self, extension: Extension) -> None:
        """Start listening for a supervisor."""
        with self._lock:
            self._lines[extension.session_id] = extension
            if self._thread is None:
                listener.add(self.heard)
                self._thread = threading.Thread(target=self._run, name="switchboard", daemon=True)
                self._thread.start()

    def unplug(self, extension: Extension) -> None:
        """Stop listening for it."""
        with self._lock:
            if self._lines.get(extension.session_id) is extension:
                del self._lines[extension.session_id]
        for approval_id in list(extension.waiting):
            extension.stop_waiting(approval_id)

    def count(self) -> int:
        """How many supervisors live here."""
        return len(self._lines)

    def wake_all(self) -> None:
        """Ring everybody, such as when the worker must stop."""
        for extension in self._all():
            extension.bell.ring()

    def heard(self, topic: str, key: str) -> None:
        """The doorbell rang."""
        if topic == "approval":
            extension = _awaited.get(key)
            if extension is None:
                return
            approval_id = UUID(key)
            if approval_id in extension.asking:
                extension.asking.discard(approval_id)
            else:
                extension.tell("approval", approval_id)
        elif topic == "session":
            extension = self._lines.get(UUID(key))
            if extension:
                extension.tell("session", extension.session_id)
        elif topic == stops.TOPIC:
            self._tell_of_stop(self._all())

    def _tell_of_stop(self, extensions: list[Extension]) -> None:
        for extension in extensions:
            extension.tell(stops.TOPIC, extension.session_id)

    def _all(self) -> list[Extension]:
        with self._lock:
            return list(self._lines.values())

    def _run(self) -> None:
        beat_at = 0.0
        while True:
            time.sleep(SWEEP_S)
            extensions = self._all()
            self.pressed = under_pressure(len(extensions))
            if not extensions:
                continue
            try:
                if time.monotonic() >= beat_at:
                    self._beat(extensions)
                    beat_at = time.monotonic() + BEAT_S
                self._sweep(extensions)
            except DatabaseError as error:
                logger.warning("switchboard: the database did not answer (%s)", type(error).__name__)
            except Exception:
                logger.exception("switchboard")
            finally:
                connection.close()

    def _sweep(self, extensions: list[Extension]) -> None:
        """What a lost ring would have said."""
        waiting = {approval_id: extension for extension in extensions for approval_id in list(extension.waiting)}
        answered = Approval.objects.filter(pk__in=list(waiting)).exclude(status=Approval.Status.PENDING)
        answered = answered.exclude(stops.stop_in_force(), status=Approval.Status.APPROVED)  # after the lift
        for approval_id in answered.values_list("pk", flat=True) if waiting else ():
            waiting[approval_id].tell("approval", approval_id)
        holding = [extension for extension in extensions if extension.holds_calls]
        if holding and not stops.is_stopped():
            self._tell_of_stop(holding)
        by_session = {extension.session_id: extension for extension in extensions}
        told_to_stop = Turn.objects.filter(session__in=list(by_session), status=Turn.Status.RUNNING)
        for session_id in told_to_stop.filter(interrupt_requested_at__isnull=False).values_list("session", flat=True):
            by_session[session_id].tell("session", session_id)

    def _beat(self, extensions: list[Extension]) -> None:
        now = time.monotonic()
        awake = {extension.run_id: extension for extension in extensions if now - extension.came_round_at < STALLED_S}
        beaten = leases.heartbeat_all(list(awake))
        if beaten:
            self._beat_at = time.monotonic()
        if beaten == len(awake):
            return
        # somebody was given up for lost, or cancelled: let the supervisors look for themselves
        live = set(Run.objects.filter(pk__in=list(awake), ended_at__isnull=True).values_list("pk", flat=True))
        for run_id, extension in awake.items():
            if run_id not in live:
                extension.tell("session", extension.session_id)


def under_pressure(processes: int) -> bool:
    """Whether agents that only wait should make room: memory is scarce, or every slot of this worker is taken."""
    memory = psutil.virtual_memory()
    return memory.available < SCARCE_MEMORY * memory.total or processes >= settings.AGENTS.max_concurrent


switchboard = Switchboard()


def orders_for(claim: leases.Claim) -> str:
    """What the rows want of a supervisor: ``go_on``, ``interrupt``, ``cancel``, or ``leave`` it to another."""
    session = AgentSession.objects.filter(pk=claim.session_id).values_list("fence", "status").first()
    if session is None or session[0] != claim.fence:
        return "leave"
    if session[1] == AgentSession.Status.CANCELLED:
        return "cancel"
    told = Turn.objects.filter(pk=claim.turn_id, interrupt_requested_at__isnull=False).exists()
    return "interrupt" if told else "go_on"
