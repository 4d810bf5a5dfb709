"""Supervises one turn: passes the process's messages to the turn state machine, and carries out its
commands.

One thread runs one turn. The rows hold the truth: if this thread dies, a sweep finds its run by the
heartbeat.
"""

import logging
import os
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from typing import TypeVar
from uuid import UUID, uuid4

from django.conf import settings
from django.db import DatabaseError, connection

from approvals.commands import expire_approval, mark_note_delivered
from approvals.models import Approval
from approvals.queries import status_of
from approvals.stop import commands as stops
from orchestra.diagnostics import tracing
from sessions_app import notes, reopened
from sessions_app.agents.login import login_instructions
from sessions_app.errors import StaleFence
from sessions_app.models import Event
from sessions_app.supervisor import database_access, leases, orphan_reaper, permissions
from sessions_app.supervisor.cli import conversation_files
from sessions_app.supervisor.cli.api_failures import NOT_LOGGED_IN
from sessions_app.supervisor.cli.launch import inherited_environment
from sessions_app.supervisor.cli.process import CliProcess
from sessions_app.supervisor.cli.protocol import Message, OutputMessage
from sessions_app.supervisor.database_access import UNAVAILABLE, DatabaseAccess, Unavailable
from sessions_app.supervisor.dispatcher import Notification, Subscription, dispatcher, requested_action
from sessions_app.supervisor.leases import Claim
from sessions_app.supervisor.message_reader import MessageReader
from sessions_app.supervisor.outcomes import PARKED, Outcome, failed
from sessions_app.supervisor.reconciliation import Violation
from sessions_app.supervisor.start import attached_texts, start_process
from sessions_app.supervisor.transcript_buffer import TranscriptBuffer, session_full_outcome
from sessions_app.supervisor.transcript_lines import (
    decision_line,
    held_line,
    policy_line,
    request_line,
    violation_line,
)
from sessions_app.supervisor.turn_machine import (
    CloseInput,
    Command,
    Limits,
    NotesDelivered,
    OpenCall,
    OutcomeSent,
    Record,
    ReportViolation,
    RequestPermission,
    Signal,
    Stream,
    TurnMachine,
    Withdraw,
    Write,
)
from sessions_app.transcript.writer import Line, line

logger = logging.getLogger(__name__)

SHORT_HOLD_S = 5.0  # how long a process waits for a decision when memory or slots are scarce
ROUND_S = 5.0  # a round takes at most this long
CANCELLED = Outcome(status="cancelled", code="cancelled", detail="The session was cancelled.")

T = TypeVar("T")

worker_stopping = threading.Event()
"""Set when this worker has to stop."""


def supervise(claim: Claim) -> Outcome:
    """Run the claimed turn to its end and close its run. Whatever the agent does, this does not
    raise.
    """
    attached = attached_texts(claim)
    if isinstance(attached, Outcome):
        return _close_unstarted(claim, attached)
    subscription = Subscription(claim.session_id, claim.run_id)
    try:
        process = start_process(claim)
        if isinstance(process, Outcome):
            return _close_unstarted(claim, process)
        connection.close()  # a connection kept while waiting for a slot would be missing to those that have one
        return _run(claim, process, subscription, attached)
    finally:
        subscription.wake_pipe.close()


def _run(claim: Claim, process: CliProcess, subscription: Subscription, attached: Sequence[str]) -> Outcome:
    outcome = None
    try:
        with tracing.span("agent process", session=claim.session_id, run=claim.run_id, pid=process.pid):
            outcome = Supervisor(claim, process, subscription, attached).run()
        return outcome
    finally:
        _clean_up(claim, is_parked=outcome is not None and outcome.status == PARKED)


def _close_unstarted(claim: Claim, outcome: Outcome) -> Outcome:
    leases.finish_run(claim, outcome, exit_code=None, deferred=claim.deferred)
    return outcome


def _clean_up(claim: Claim, *, is_parked: bool) -> None:
    if is_parked:
        conversation_files.keep(claim.conversation, inherited_environment(os.environ))
    elif claim.replay:
        conversation_files.forget(claim.conversation)
    try:
        orphan_reaper.kill_run(claim.run_id)
        leases.resume_answered(claim.session_id)  # it may have been decided in the instant it was parked
        reopened.start_waiting_grants(claim.session_id)
    except DatabaseError as error:
        logger.warning("session %s: the sweep will resume it (%s)", claim.session_id, type(error).__name__)
    finally:
        connection.close()


@dataclass(slots=True)
class Backlog:
    """What the database has not taken or answered yet; it is tried again later, and until then
    nothing runs.
    """

    requests: dict[str, RequestPermission] = field(default_factory=dict)
    """By request id: calls that were not put to the policy."""
    decisions: set[UUID] = field(default_factory=set)
    """Approvals whose decision could not be read."""
    sent: set[UUID] = field(default_factory=set)
    """Approvals whose outcome was sent to the CLI, which is not recorded."""
    notes: set[UUID] = field(default_factory=set)
    """Approvals whose note was delivered, which is not recorded."""
    violations: list[Violation] = field(default_factory=list)


class Supervisor:
    """Runs one turn: its process, its state machine, its approval requests and its transcript."""

    def __init__(
        self, claim: Claim, process: CliProcess, subscription: Subscription, attached: Sequence[str] = ()
    ) -> None:
        self.claim = claim
        self.process = process
        self.subscription = subscription
        self.surroundings = permissions.surroundings()
        self.hold_s = settings.APPROVALS.hold.total_seconds()
        self.reader = MessageReader(process, line_cap_bytes=settings.AGENTS.line_cap_bytes)
        self.transcript = TranscriptBuffer(claim.session_id, claim.fence, stored_bytes=claim.transcript_bytes)
        self.database = DatabaseAccess(claim.session_id)
        self.backlog = Backlog()
        self.machine = TurnMachine(
            prompt=claim.prompt,
            limits=Limits(
                hold=self.hold_s,
                idle=settings.AGENTS.idle_timeout.total_seconds(),
                turn=settings.AGENTS.turn_timeout.total_seconds(),
                background=settings.AGENTS.background_timeout.total_seconds(),
            ),
            replay=claim.replay,
            interrupted=claim.interrupted,
            attached=attached,
            directory=claim.directory,
        )
        self.has_lease = True
        self._held_calls: dict[str, RequestPermission] = {}  # allowed by the policy, while all agents are stopped
        self._goes_on = False  # the last outcome left no request open, and none was made since, held or parked
        process.watch(subscription.wake_pipe.read_fd)

    def run(self) -> Outcome:
        """Work until the process has ended and all its messages are handled; return how the turn
        ended.
        """
        dispatcher.subscribe(self.subscription)
        try:
            self._expect_parked_call()
            self._load_undelivered_notes()
            self._execute(self.machine.start(time.monotonic()))
            self._obey_rows()  # a cancellation between the claim and here notified no subscription
            while self._work_one_round():
                pass
        except StaleFence:  # the lease was lost, or the session cancelled between a request and its decision
            self.has_lease = self._in_database(partial(requested_action, self.claim)) == "cancel"
            self.machine.abandon(CANCELLED, time.monotonic())
            logger.warning("session %s: this run may not go on; ending its process", self.claim.session_id)
        finally:
            exit_code = self.process.end()
            dispatcher.unsubscribe(self.subscription)
        return self._close(exit_code)

    def _expect_parked_call(self) -> None:
        parked = self._in_database(partial(permissions.parked_call, self.claim)) if self.claim.replay else None
        if parked is not None and parked is not UNAVAILABLE:
            self.machine.expect_call(self.claim.deferred, parked.tool_name, parked.tool_input)

    def _load_undelivered_notes(self) -> None:
        """Take over the notes that an earlier process of this turn did not deliver to the model."""
        left = self._in_database(partial(notes.undelivered_notes, self.claim)) if self.claim.repeats else []
        self.machine.notes.left = [] if left is UNAVAILABLE else list(left)

    def _work_one_round(self) -> bool:
        """Wait for the next event and handle it; return False once the process has ended."""
        now = time.monotonic()
        self.subscription.last_round_at = now
        self.machine.limits.hold = min(SHORT_HOLD_S, self.hold_s) if dispatcher.is_under_pressure else self.hold_s
        events = self.reader.wait(
            min(
                self.machine.deadline(),
                self.machine.next_expiry(),
                self.transcript.flush_at,
                self.transcript.publish_at,
                self.database.retry_at,
                now + ROUND_S,
            )
        )
        if events.output:
            for message in self.reader.messages():
                self._handle_message(message)
        if events.is_woken:
            self._handle_notifications(self.subscription.take_notifications())
        self._handle_time(time.monotonic())
        return not self.reader.has_ended(is_paused=self.transcript.is_backed_up)

    def _handle_message(self, message: Message) -> None:
        if isinstance(message, OutputMessage) and message.subtype == "init" and not self.claim.resume:
            self._in_database(partial(leases.mark_resumable, self.claim))
        self._execute(self.machine.handle_message(message, time.monotonic()))

    def _handle_notifications(self, notifications: list[Notification]) -> None:
        for topic, key in notifications:
            if topic == "approval":
                self._send_decision(key)
            else:
                self._obey_rows()
            if topic == stops.TOPIC:
                self._go_on_after_lift()
        if worker_stopping.is_set():
            self._execute(self.machine.stop(time.monotonic()))

    def _go_on_after_lift(self) -> None:
        """Put to the policy again the calls that a stop held, and use the approvals given while it
        was in force.
        """
        for command in list(self._held_calls.values()):
            self._request_permission(command)
        for approval_id in self._awaited_approvals():
            self._send_decision_unless_pending(approval_id)

    def _obey_rows(self) -> None:
        """End, interrupt or leave the turn if the session's rows require it."""
        now = time.monotonic()
        match self._in_database(partial(requested_action, self.claim)):
            case "leave":
                raise StaleFence("another supervisor has this session")
            case "cancel":
                self._execute(self.machine.abandon(CANCELLED, now))
            case "interrupt":
                self._execute(self.machine.interrupt(now))

    def _handle_time(self, now: float) -> None:
        self._execute(self.machine.tick(now))
        for approval_id in self.machine.overdue_approvals(now):
            self._expire(approval_id, now)
        if now >= self.database.retry_at:
            self._retry_backlog()
        if self.transcript.is_due(now):
            self._flush()
        if now >= self.transcript.publish_at:
            self.transcript.publish_text()

    def _expire(self, approval_id: UUID, now: float) -> None:
        self._in_database(partial(expire_approval, approval_id))
        left = self._in_database(partial(permissions.seconds_left, approval_id))
        # the database's clock may be a little behind, and an extension or a stop moves the deadline
        wait_s = max(database_access.RETRY_S, 0.0 if left is UNAVAILABLE else left)
        self.machine.postpone_expiry(approval_id, now + wait_s)
        self._send_decision(approval_id)

    def _retry_backlog(self) -> None:
        self.database.retry_at = float("inf")
        self._store_violations()
        for command in list(self.backlog.requests.values()):
            self._request_permission(command)
        for approval_id in list(self.backlog.decisions):
            self._send_decision(approval_id)

    # --- commands of the state machine

    def _execute(self, commands: list[Command]) -> None:
        for command in commands:
            match command:
                case Write() | CloseInput() | Signal():
                    self._execute_on_process(command)
                case Record(lines):
                    self._record(*lines)
                case Stream(text):
                    self.transcript.add_text(text)
                case RequestPermission():
                    self._request_permission(command)
                case OutcomeSent(_, UUID() as approval_id):
                    self._mark_sent_later(approval_id)
                case NotesDelivered(approval_ids):
                    self._record_notes(approval_ids)
                case Withdraw(approval_id, reason):
                    self._cancel_request(approval_id, reason)
                case ReportViolation(violation):
                    self._report_violation(violation)

    def _execute_on_process(self, command: Write | CloseInput | Signal) -> None:
        match command:
            case Write(data):
                self.process.write(data)
            case CloseInput():
                self.process.close_input()
            case Signal(hard):
                self.process.signal(hard=hard)

    def _request_permission(self, command: RequestPermission) -> None:
        request = command.request
        if request.request_id not in self.machine.calls:
            self.backlog.requests.pop(request.request_id, None)
            self._drop_held(request.request_id)
        elif command.put_off:
            self._put_off(command)
        else:
            self._request_outcome(command)

    def _request_outcome(self, command: RequestPermission) -> None:
        """Put a call to the policy and, if needed, to people."""
        request, fresh_id = command.request, uuid4()
        self.subscription.watch_before_request(fresh_id)
        self._goes_on = False  # the request may be committed although the database does not answer
        outcome = self._in_database(
            partial(
                permissions.request_permission,
                self.claim,
                request,
                plan=command.plan,
                last_text=command.last_text,
                surroundings=self.surroundings,
                approval_id=fresh_id,
            )
        )
        if outcome is UNAVAILABLE or outcome.effect != "wait" or outcome.approval_id != fresh_id:
            self.subscription.unwatch(fresh_id)
        if outcome is UNAVAILABLE:  # the agent waits, and nothing runs
            self.backlog.requests[request.request_id] = command
            return
        self.backlog.requests.pop(request.request_id, None)
        if outcome.effect == "hold":
            self._hold(command)
        else:
            self._drop_held(request.request_id)
        if outcome.effect == "wait" and outcome.approval_id:
            self.subscription.watch(outcome.approval_id)
            self._record(request_line(request, outcome))
        else:
            self._goes_on = not self._awaited_approvals()
            if outcome.approval_id:
                self._record(decision_line(request, outcome))
            elif outcome.by:
                self._record(policy_line(request, outcome))
        self._execute(self.machine.apply_outcome(request.request_id, outcome, time.monotonic()))
        if outcome.effect == "wait" and outcome.approval_id and outcome.approval_id != fresh_id:
            self._send_decision_unless_pending(outcome.approval_id)  # it may have been decided before it was watched

    def _put_off(self, command: RequestPermission) -> None:
        """Request an approval for a call that stands behind a parked one; this process does not use
        the decision.
        """
        request = command.request
        put_off = partial(permissions.put_off, plan=command.plan, surroundings=self.surroundings)
        outcome = self._in_database(partial(put_off, self.claim, request))
        if outcome is UNAVAILABLE:
            self.backlog.requests[request.request_id] = command
            return
        self.backlog.requests.pop(request.request_id, None)
        if outcome.approval_id:
            self._record(request_line(request, outcome))
        elif outcome.by:
            self._record(policy_line(request, outcome))
        denial = replace(outcome, approval_id=None)
        self._execute(self.machine.apply_outcome(request.request_id, denial, time.monotonic()))

    def _hold(self, command: RequestPermission) -> None:
        """Keep a call that the policy allows until the stop of all agents is lifted."""
        request = command.request
        if request.request_id not in self._held_calls:
            self._record(held_line(request))
        self._held_calls[request.request_id] = command
        self.subscription.holds_calls = True

    def _drop_held(self, request_id: str) -> None:
        self._held_calls.pop(request_id, None)
        self.subscription.holds_calls = bool(self._held_calls)

    def _send_decision_unless_pending(self, approval_id: UUID) -> None:
        if self._in_database(partial(status_of, approval_id)) != Approval.Status.PENDING:
            self._send_decision(approval_id)

    def _send_decision(self, approval_id: UUID) -> None:
        """Consume the decision about an open call, if there is one by now, and then send it to the
        CLI.
        """
        call = self._open_call(approval_id)
        self.backlog.decisions.discard(approval_id)
        if call is None:
            return
        request, is_last = call.request, self._awaited_approvals() == {approval_id}
        outcome = self._in_database(partial(permissions.outcome_from_row, self.claim, request, approval_id))
        if outcome is UNAVAILABLE:
            self.backlog.decisions.add(approval_id)
        elif outcome is not None:
            now = time.monotonic()
            self._goes_on = is_last
            if outcome.interrupts:
                self._execute(self.machine.interrupt(now))
            self._execute(self.machine.apply_outcome(request.request_id, outcome, now))
            self._record(decision_line(request, outcome))

    def _open_call(self, approval_id: UUID) -> OpenCall | None:
        calls = [call for call in self.machine.calls.values() if call.approval_id == approval_id]
        return calls[-1] if calls else None

    def _awaited_approvals(self) -> set[UUID]:
        return {call.approval_id for call in self.machine.calls.values() if call.approval_id}

    def _cancel_request(self, approval_id: UUID, reason: str) -> None:
        self.subscription.unwatch(approval_id)
        status = self._in_database(partial(permissions.withdraw_request, approval_id, reason))
        if status is not UNAVAILABLE:  # otherwise the end of the turn cancels it
            self._record(line(Event.Kind.APPROVAL, approval=str(approval_id), status=status, message=reason))

    def _report_violation(self, violation: Violation) -> None:
        """Report a tool that ran without a decision; its process was killed just before."""
        # the tool's name only: its input may hold a secret
        logger.critical(
            "session %s ran %s without a decision (%s); its agent was killed",
            self.claim.session_id, violation.tool_name, violation.reason,
        )  # fmt: skip
        self._record(violation_line(violation))
        self.backlog.violations.append(violation)
        self._store_violations()

    def _store_violations(self) -> bool:
        """Store violations that are not stored yet; return False while the database does not
        answer.
        """
        while self.backlog.violations:
            store = partial(permissions.record_violation, self.claim, self.backlog.violations[0])
            if self._in_database(store) is UNAVAILABLE:
                return False
            del self.backlog.violations[0]
        return True

    def _record_notes(self, approval_ids: Sequence[UUID]) -> None:
        self.backlog.notes.update(approval_ids)
        self._record(*(notes.note_delivered_line(approval_id) for approval_id in approval_ids))

    def _mark_sent_later(self, approval_id: UUID) -> None:
        self.subscription.unwatch(approval_id)
        self.backlog.sent.add(approval_id)
        self.transcript.flush_soon()

    def _record(self, *lines: Line) -> None:
        """Add lines to the transcript; a session that has stored as much as it may ends."""
        if not self.transcript.add(*lines):
            self._execute(self.machine.abandon(session_full_outcome(), time.monotonic()))

    # --- the database

    def _flush(self) -> None:
        """Write which outcomes and notes were sent, and the transcript; what cannot be written is
        tried again.
        """
        mark = partial(permissions.mark_answered, self.claim, frozenset(self.backlog.sent), goes_on=self._goes_on)
        if self.backlog.sent and self._in_database(mark) is not UNAVAILABLE:
            self.backlog.sent.clear()
        delivered = frozenset(self.backlog.notes)
        if delivered and self._in_database(partial(mark_note_delivered, delivered)) is not UNAVAILABLE:
            self.backlog.notes.clear()
        self.transcript.write(self._in_database)
        self.process.pause_reading(self.transcript.is_backed_up)

    def _in_database(self, work: Callable[[], T]) -> T | Unavailable:
        """Do one unit of work. A supervisor that waits for a decision goes first, also with its
        other work, since it cannot handle a notification at the same time.
        """
        return self.database.run(work, is_urgent=bool(self._awaited_approvals()))

    # --- the end

    def _close(self, exit_code: int) -> Outcome:
        for message in self.reader.last_messages():
            commands = self.machine.handle_message(message, time.monotonic())
            self._execute([command for command in commands if self._counts_after_exit(command)])
        commands = self.machine.handle_exit(exit_code, self.process.stderr())
        outcome = self.machine.outcome or failed("agent_died", "The agent's process ended.")
        if outcome.code == NOT_LOGGED_IN:
            outcome = replace(outcome, detail=login_instructions())
        try:
            if self.has_lease:
                self._execute(commands)
                self._retry_until_done(self._flush_all)
        except StaleFence:  # given up for lost, or cancelled while an outcome was sent
            logger.warning("session %s: nothing more of this run is written", self.claim.session_id)
        self._retry_until_done(self._store_violations)
        finish = partial(
            leases.finish_run,
            self.claim,
            outcome,
            exit_code=exit_code,
            stderr=self.process.stderr(),
            deferred=self._still_deferred(outcome),
        )
        # closes the run; all else that it writes is under the fence
        self._retry_until_done(lambda: self._in_database(finish) is not UNAVAILABLE)
        return outcome

    def _counts_after_exit(self, command: Command) -> bool:
        """Whether a command makes sense when the process has ended; a violation counts under any
        lease.
        """
        return isinstance(command, ReportViolation) or (self.has_lease and isinstance(command, Record))

    def _still_deferred(self, outcome: Outcome) -> str:
        """Return the tool use id of the call that the CLI keeps for its next start; empty if there
        is none.
        """
        if outcome.status == PARKED:
            return self.machine.deferred_tool_use_id
        if self.machine.replay_missed:
            logger.error("session %s: the CLI has lost the parked call; its turn is taken up", self.claim.session_id)
            return ""
        return "" if self.claim.deferred in self.machine.answered else self.claim.deferred

    def _flush_all(self) -> bool:
        self._flush()
        return self.transcript.is_empty

    def _retry_until_done(self, work: Callable[[], bool]) -> None:
        """Try until ``work`` returns True; after 30 s the run counts as lost anyway, and a sweep
        does the rest.
        """
        give_up_at = time.monotonic() + leases.LOST_AFTER.total_seconds()
        while not work() and time.monotonic() < give_up_at:
            time.sleep(database_access.RETRY_S)
