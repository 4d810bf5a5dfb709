"""Passes each notification to the supervisor it concerns, and keeps the runs of this process alive;
one per process.

It listens to database notifications and, since one may be lost, reads all watched approvals and all
supervised sessions of the process in one query each. The heartbeat of all runs is one UPDATE.
"""

import contextlib
import logging
import os
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

logger = logging.getLogger(__name__)

SWEEP_S = 1.5
HEARTBEAT_S = leases.HEARTBEAT.total_seconds()
SCARCE_MEMORY = 0.10  # of the machine's; below this, agents that wait for people are parked early
STALLED_S = 25.0  # a supervisor that has not finished a round for so long gets no heartbeat

Notification = tuple[str, UUID]
"""A topic (``approval``, ``session`` or ``stop``) and the id of the row that changed."""


class WakePipe:
    """A pipe that wakes a supervisor which waits on ``read_fd``."""

    def __init__(self) -> None:
        self.read_fd, self._write_fd = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
        self._lock = threading.Lock()
        self._is_open = True

    def wake(self) -> None:
        """Wake the supervisor; safe from any thread. It never waits and never raises: a full pipe
        wakes already.

        A closed pipe is not written to, since its number may be another file by now, such as a
        connection to the database or another agent's stdin.
        """
        with self._lock, contextlib.suppress(OSError):
            if self._is_open:
                os.write(self._write_fd, b"!")

    def drain(self) -> None:
        """Read what woke the supervisor, so that it can wait again."""
        with contextlib.suppress(BlockingIOError):
            while os.read(self.read_fd, 4096):
                pass

    def close(self) -> None:
        with self._lock:
            if self._is_open:
                self._is_open = False
                os.close(self._write_fd)
                os.close(self.read_fd)


@dataclass(slots=True)
class Subscription:
    """What one supervisor is notified of, and the notifications that it has not handled yet."""

    session_id: UUID
    run_id: UUID
    wake_pipe: WakePipe = field(default_factory=WakePipe)
    watched: set[UUID] = field(default_factory=set)
    requested: set[UUID] = field(default_factory=set)  # the first notification of these is that of the request itself
    last_round_at: float = field(default_factory=time.monotonic)
    holds_calls: bool = False  # it has calls that the policy allows, and all agents are stopped
    _notifications: deque[Notification] = field(default_factory=deque)

    def watch_before_request(self, approval_id: UUID) -> None:
        """Watch an approval before it is requested, so that no decision is missed.

        The request notifies as well, and so only the second notification is delivered.
        """
        self.requested.add(approval_id)
        self.watch(approval_id)

    def watch(self, approval_id: UUID) -> None:
        """Deliver the notifications of this approval here."""
        self.watched.add(approval_id)
        _watching[str(approval_id)] = self

    def unwatch(self, approval_id: UUID) -> None:
        """Deliver no more notifications of this approval."""
        self.watched.discard(approval_id)
        self.requested.discard(approval_id)
        _watching.pop(str(approval_id), None)

    def deliver(self, topic: str, key: UUID) -> None:
        """Add a notification and wake the supervisor; safe from any thread."""
        self._notifications.append((topic, key))
        self.wake_pipe.wake()

    def take_notifications(self) -> list[Notification]:
        """Return and remove the notifications that have been delivered, the oldest first."""
        self.wake_pipe.drain()  # before reading: what is delivered from here on wakes the supervisor again
        return [self._notifications.popleft() for _ in range(len(self._notifications))]


_watching: dict[str, Subscription] = {}  # by approval: a notification costs the same however many are watched


class Dispatcher:
    """The subscriptions of all supervisors of this process."""

    def __init__(self) -> None:
        self._subscriptions: dict[UUID, Subscription] = {}
        self._lock = threading.Lock()
        self._thread: threading.Thread | None = None
        self._heartbeat_at = float("-inf")
        self.is_under_pressure = False

    def is_beating(self) -> bool:
        """Whether a run of this process had a heartbeat within the time after which it would count
        as lost.
        """
        age = time.monotonic() - self._heartbeat_at
        return bool(self._subscriptions) and age < leases.LOST_AFTER.total_seconds()

    def subscribe(self, subscription: Subscription) -> None:
        """Start to deliver notifications to a supervisor."""
        with self._lock:
            self._subscriptions[subscription.session_id] = subscription
            if self._thread is None:
                listener.add(self.handle_notification)
                self._thread = threading.Thread(target=self._run, name="dispatcher", daemon=True)
                self._thread.start()

    def unsubscribe(self, subscription: Subscription) -> None:
        """Deliver no more notifications to it."""
        with self._lock:
            if self._subscriptions.get(subscription.session_id) is subscription:
                del self._subscriptions[subscription.session_id]
        for approval_id in list(subscription.watched):
            subscription.unwatch(approval_id)

    def wake_all(self) -> None:
        """Wake every supervisor without a notification, such as when the worker must stop."""
        for subscription in self._all():
            subscription.wake_pipe.wake()

    def handle_notification(self, topic: str, key: str) -> None:
        """Deliver a database notification; called on the listener's thread."""
        if topic == "approval":
            subscription = _watching.get(key)
            if subscription is None:
                return
            approval_id = UUID(key)
            if approval_id in subscription.requested:
                subscription.requested.discard(approval_id)
            else:
                subscription.deliver("approval", approval_id)
        elif topic == "session":
            subscription = self._subscriptions.get(UUID(key))
            if subscription:
                subscription.deliver("session", subscription.session_id)
        elif topic == stops.TOPIC:
            _deliver_stop_change(self._all())

    def _all(self) -> list[Subscription]:
        with self._lock:
            return list(self._subscriptions.values())

    def _run(self) -> None:
        next_heartbeat_at = 0.0
        while True:
            time.sleep(SWEEP_S)
            subscriptions = self._all()
            self.is_under_pressure = is_under_pressure(len(subscriptions))
            if not subscriptions:
                continue
            try:
                if time.monotonic() >= next_heartbeat_at:
                    self._send_heartbeats(subscriptions)
                    next_heartbeat_at = time.monotonic() + HEARTBEAT_S
                _sweep(subscriptions)
            except DatabaseError as error:
                logger.warning("dispatcher: the database did not answer (%s)", type(error).__name__)
            except Exception:
                logger.exception("dispatcher: a sweep failed")
            finally:
                connection.close()

    def _send_heartbeats(self, subscriptions: list[Subscription]) -> None:
        now = time.monotonic()
        awake = {one.run_id: one for one in subscriptions if now - one.last_round_at < STALLED_S}
        updated = leases.heartbeat_all(list(awake))
        if updated:
            self._heartbeat_at = time.monotonic()
        if updated == len(awake):
            return
        # a run was given up for lost, or cancelled: its supervisor reads its rows and ends
        live = set(Run.objects.filter(pk__in=list(awake), ended_at__isnull=True).values_list("pk", flat=True))
        for run_id, subscription in awake.items():
            if run_id not in live:
                subscription.deliver("session", subscription.session_id)


def _sweep(subscriptions: list[Subscription]) -> None:
    """Deliver what lost notifications would have delivered."""
    watching = {approval_id: one for one in subscriptions for approval_id in list(one.watched)}
    decided = Approval.objects.filter(pk__in=list(watching)).exclude(status=Approval.Status.PENDING)
    decided = decided.exclude(stops.stop_in_force(), status=Approval.Status.APPROVED)  # used after the lift
    for approval_id in decided.values_list("pk", flat=True) if watching else ():
        watching[approval_id].deliver("approval", approval_id)
    holding = [one for one in subscriptions if one.holds_calls]
    if holding and not stops.is_stopped():
        _deliver_stop_change(holding)
    by_session = {one.session_id: one for one in subscriptions}
    running = Turn.objects.filter(session__in=list(by_session), status=Turn.Status.RUNNING)
    for session_id in running.filter(interrupt_requested_at__isnull=False).values_list("session", flat=True):
        by_session[session_id].deliver("session", session_id)


def _deliver_stop_change(subscriptions: list[Subscription]) -> None:
    for subscription in subscriptions:
        subscription.deliver(stops.TOPIC, subscription.session_id)


def is_under_pressure(processes: int) -> bool:
    """Whether agents that only wait should make room: memory is scarce, or every slot of this
    worker is taken.
    """
    memory = psutil.virtual_memory()
    return memory.available < SCARCE_MEMORY * memory.total or processes >= settings.AGENTS.max_concurrent


dispatcher = Dispatcher()


def requested_action(claim: leases.Claim) -> str:
    """What the rows request of a supervisor: ``go_on``, ``interrupt``, ``cancel``, or ``leave`` it
    to another one.
    """
    session = AgentSession.objects.filter(pk=claim.session_id).values_list("fence", "status").first()
    if session is None or session[0] != claim.fence:
        return "leave"
    if session[1] == AgentSession.Status.CANCELLED:
        return "cancel"
    interrupted = Turn.objects.filter(pk=claim.turn_id, interrupt_requested_at__isnull=False).exists()
    return "interrupt" if interrupted else "go_on"
