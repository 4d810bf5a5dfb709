"""Drives one turn: reads the process, asks the machine, does what it says.

Runs on one thread per turn. Rows are the truth: whatever happens to this thread, a sweep finds its run by heartbeat.
"""

import logging
import os
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from enum import Enum
from functools import partial
from typing import Final, TypeVar
from uuid import UUID, uuid4

from django.conf import settings
from django.db import DatabaseError, InterfaceError, OperationalError, connection

from approvals.commands import expire_approval, mark_note_delivered
from approvals.models import Approval
from approvals.queries import status_of
from approvals.stop import commands as stops
from orchestra.diagnostics import tracing
from orchestra.realtime import hub
from sessions_app import notes, reopened
from sessions_app.agents.login import login_instructions
from sessions_app.conf import MEGABYTE
from sessions_app.errors import SessionFull, StaleFence
from sessions_app.models import Event
from sessions_app.supervisor import conversation_files, leases, orphan_reaper, permissions
from sessions_app.supervisor.api_failures import NOT_LOGGED_IN
from sessions_app.supervisor.dispatcher import Extension, orders_for, switchboard
from sessions_app.supervisor.launch import inherited_environment
from sessions_app.supervisor.leases import Claim
from sessions_app.supervisor.outcomes import PARKED, Outcome, failed
from sessions_app.supervisor.permissions import Decision
from sessions_app.supervisor.priority_semaphore import ORDINARY, URGENT, Turnstile
from sessions_app.supervisor.process import CliProcess
from sessions_app.supervisor.protocol import LineFramer, Message, Spoken, ToolRequest, joined, parse
from sessions_app.supervisor.reconciliation import Violation
from sessions_app.supervisor.start import attached_texts, start_process
from sessions_app.supervisor.turn_machine import (
    RAN_UNAPPROVED,
    Answered,
    Ask,
    CloseInput,
    Command,
    Limits,
    Noted,
    Record,
    Report,
    Ruling,
    Signal,
    Stream,
    TurnMachine,
    Withdraw,
    Write,
)
from sessions_app.transcript import writer
from sessions_app.transcript.writer import Line, line

logger = logging.getLogger(__name__)

FLUSH_ROWS = 200
FLUSH_S = 0.2
DELTA_S = 0.1
HELD_BACK_ROWS = 2000  # more unwritten lines than this, and the pipe is not read any more
RETRY_S = 1.0
SHORT_HOLD_S = 5.0  # the hold budget when memory or slots are scarce
ROUND_S = 5.0  # the loop comes round at least this often
CANCELLED = Outcome(status="cancelled", code="cancelled", detail="The session was cancelled.")
DRAIN_S = 1.0  # how long a dead child's stdout is still read while a grandchild holds it open
PLACES = 4  # supervisors at the database at once; see docs/performance.md
HELD = "held"
PIPE_BYTES = 64 * 1024  # no more than this can the child itself have left behind

T = TypeVar("T")


class Away(Enum):
    """The answer of a database that gave none."""

    AWAY = 0


AWAY: Final = Away.AWAY

worker_stopping = threading.Event()
"""Set when this worker was told to go."""

to_the_database = Turnstile(PLACES)
"""Shared by all supervisors of this worker."""


def supervise(claim: Claim) -> Outcome:
    """Run the claimed turn to its end and close its run. Never raises for what an agent may do."""
    attached = attached_texts(claim)
    if isinstance(attached, Outcome):
        return _not_started(claim, attached)
    started = start_process(claim)
    if isinstance(started, Outcome):
        return _not_started(claim, started)
    connection.close()  # whoever held one while waiting at the turnstile would keep it from those inside
    outcome = None
    try:
        with tracing.span("agent process", session=claim.session_id, run=claim.run_id, pid=started.pid):
            outcome = Supervisor(claim, started, attached).run()
        return outcome
    finally:
        _tidy_up(claim, parked=outcome is not None and outcome.status == PARKED)


def _not_started(claim: Claim, why: Outcome) -> Outcome:
    leases.finish_run(claim, why, exit_code=None, deferred=claim.deferred)
    return why


def _tidy_up(claim: Claim, *, parked: bool) -> None:
    if parked:
        conversation_files.keep(claim.conversation, inherited_environment(os.environ))
    elif claim.replay:
        conversation_files.forget(claim.conversation)
    try:
        orphan_reaper.kill_run(claim.run_id)
        leases.resume_answered(claim.session_id)  # answered in the instant it was parked
        reopened.start_waiting_grants(claim.session_id)
    except DatabaseError as error:
        logger.warning("session %s: the sweep will resume it (%s)", claim.session_id, type(error).__name__)
    finally:
        connection.close()


def full() -> Outcome:
    """The end of a turn whose session has stored as much as it may."""
    megabytes = settings.AGENTS.session_cap_bytes / MEGABYTE
    detail = (
        f"The transcript has grown beyond {megabytes:g} MB (AGENT_MAX_SESSION_MEGABYTES); what follows is not kept."
    )
    return failed(SessionFull.code, detail)


class Supervisor:
    """One process and everything that is known about its turn."""

    def __init__(self, claim: Claim, process: CliProcess, attached: Sequence[str] = ()) -> None:
        self.claim = claim
        self.process = process
        self.surroundings = permissions.surroundings()
        agents = settings.AGENTS
        self.hold_s = settings.APPROVALS.hold.total_seconds()
        limits = Limits(
            hold=self.hold_s,
            idle=agents.idle_timeout.total_seconds(),
            turn=agents.turn_timeout.total_seconds(),
            background=agents.background_timeout.total_seconds(),
        )
        self.machine = TurnMachine(
            prompt=claim.prompt,
            limits=limits,
            replay=claim.replay,
            interrupted=claim.interrupted,
            attached=attached,
            directory=claim.directory,
        )
        self.extension = Extension(claim.session_id, claim.run_id, process.bell)
        self.framer = LineFramer(agents.line_cap_bytes)
        self.lines: list[Line] = []
        self.stored_bytes = claim.transcript_bytes
        self.told: set[UUID] = set()
        self.flush_at = float("inf")
        self.delta = ""
        self.delta_at = float("inf")
        self.ours = True
        self._goes_on = False  # the last answer left nothing open, and nothing was asked since, held or parked
        self._unasked: dict[str, Ask] = {}
        self._held: dict[str, Ask] = {}  # would be allowed, were not all agents stopped
        self._unanswered: set[UUID] = set()
        self._noted: set[UUID] = set()
        self._unreported: list[Violation] = []
        self._retry_at = float("inf")
        self._exited_at: float | None = None
        self._drained = 0

    def run(self) -> Outcome:
        """Until the process has ended and all it said is written."""
        switchboard.plug_in(self.extension)
        try:
            self._expect_parked_call()
            self._take_over_notes()
            self._do(self.machine.start(time.monotonic()))
            self._obey()  # whoever cancelled between the claim and here rang nobody
            while self._round():
                pass
        except StaleFence:  # lost, or cancelled between a question and its answer
            self.ours = self._database(partial(orders_for, self.claim)) == "cancel"
            self.machine.abandon(CANCELLED, time.monotonic())
            logger.warning("session %s: this run may not go on; ending its process", self.claim.session_id)
        finally:
            exit_code = self.process.end()
            switchboard.unplug(self.extension)
            self.process.bell.close()
        return self._close(exit_code)

    def _expect_parked_call(self) -> None:
        parked = self._database(partial(permissions.parked_call, self.claim)) if self.claim.replay else None
        if parked is not None and parked is not AWAY:
            self.machine.expect(self.claim.deferred, parked.tool_name, parked.tool_input)

    def _take_over_notes(self) -> None:
        """What an earlier process of this turn did not get to tell the model."""
        left = self._database(partial(notes.undelivered_notes, self.claim)) if self.claim.repeats else []
        self.machine.notes.left = [] if left is AWAY else list(left)

    def _round(self) -> bool:
        now = time.monotonic()
        self.extension.came_round_at = now
        self.machine.limits.hold = min(SHORT_HOLD_S, self.hold_s) if switchboard.pressed else self.hold_s
        wake_at = min(
            self.machine.deadline(),
            self.machine.next_expiry(),
            self.flush_at,
            self.delta_at,
            self._retry_at,
            now + ROUND_S,
        )
        if self._exited_at is not None:
            wake_at = min(wake_at, self._exited_at + DRAIN_S)
        heard = self.process.wait(wake_at - now)
        if heard.out:
            for message in joined(map(parse, self.framer.feed(heard.out))):
                self._hear(message)
        if heard.rang:
            self._news()
        self._on_time(time.monotonic())
        if not heard.exited:
            return True
        now = time.monotonic()
        self._exited_at = self._exited_at or now
        self._drained += len(heard.out)
        held_back = len(self.lines) > HELD_BACK_ROWS  # the pipe is not being read
        more = bool(heard.out) or held_back or now < self._exited_at + DRAIN_S
        return not heard.closed and self._drained <= PIPE_BYTES and more

    def _hear(self, message: Message) -> None:
        if isinstance(message, Spoken) and message.subtype == "init" and not self.claim.resume:
            self._database(partial(leases.mark_resumable, self.claim))
        self._do(self.machine.hear(message, time.monotonic()))

    def _news(self) -> None:
        while self.extension.news:
            topic, key = self.extension.news.popleft()
            if topic == "approval":
                self._answer(key)
            else:
                self._obey()
                self._go_on_if_lifted(topic)
        if worker_stopping.is_set():
            self._do(self.machine.stop(time.monotonic()))

    def _go_on_if_lifted(self, topic: str) -> None:
        """Put to the policy again what a stop held, and spend what people approved meanwhile."""
        if topic != stops.TOPIC:
            return
        for ask in list(self._held.values()):
            self._ask(ask)
        for approval_id in self.machine.waiting_approvals():
            self._look(approval_id)

    def _hold(self, ask: Ask) -> None:
        """The policy would let this call go, but all agents are stopped: it waits for the lift."""
        request = ask.request
        if request.request_id not in self._held:
            self._record(held_line(request))
        self._held[request.request_id] = ask
        self.extension.holds_calls = True

    def _no_longer_held(self, request_id: str) -> None:
        self._held.pop(request_id, None)
        self.extension.holds_calls = bool(self._held)

    def _obey(self) -> None:
        now = time.monotonic()
        match self._database(partial(orders_for, self.claim)):
            case "leave":
                raise StaleFence("another supervisor has this session")
            case "cancel":
                self._do(self.machine.abandon(CANCELLED, now))
            case "interrupt":
                self._do(self.machine.interrupt(now))

    def _on_time(self, now: float) -> None:
        self._do(self.machine.tick(now))
        for approval_id in self.machine.overdue(now):
            self._database(partial(expire_approval, approval_id))
            left = self._database(partial(permissions.seconds_left, approval_id))
            # the database's clock may be a little behind, and an extension or a stop moves the deadline
            self.machine.postpone(approval_id, now + max(RETRY_S, 0.0 if left is AWAY else left))
            self._answer(approval_id)
        if now >= self._retry_at:
            self._retry_at = float("inf")
            self._report_all()
            for ask in list(self._unasked.values()):
                self._ask(ask)
            for approval_id in list(self._unanswered):
                self._answer(approval_id)
        if now >= self.flush_at or len(self.lines) >= FLUSH_ROWS:
            self._flush()
        if now >= self.delta_at:
            hub.publish(f"session:{self.claim.session_id}", {"type": "delta", "text": self.delta})
            self.delta, self.delta_at = "", float("inf")

    # --- doing what the machine says

    def _do(self, commands: list[Command]) -> None:
        for command in commands:
            match command:
                case Write(data):
                    self.process.write(data)
                case Record(lines):
                    self._record(*lines)
                case Stream(text):
                    self.delta += text
                    self.delta_at = min(self.delta_at, time.monotonic() + DELTA_S)
                case Ask():
                    self._ask(command)
                case Answered(_, approval_id):
                    if approval_id:
                        self._told(approval_id)
                case Noted(approval_ids):
                    self._note_delivered(approval_ids)
                case Withdraw(approval_id, reason):
                    self._withdraw(approval_id, reason)
                case CloseInput():
                    self.process.close_input()
                case Signal(hard):
                    self.process.signal(hard=hard)
                case Report(violation):
                    self._report(violation)

    def _ask(self, ask: Ask) -> None:
        request = ask.request
        if request.request_id not in self.machine.calls:
            self._unasked.pop(request.request_id, None)
            self._no_longer_held(request.request_id)
            return
        if ask.put_off:
            self._put_off(ask)
            return
        fresh = uuid4()
        self.extension.listen_before_asking(fresh)
        put = partial(
            permissions.ask_permission, plan=ask.plan, said=ask.said, surroundings=self.surroundings, approval_id=fresh
        )
        self._goes_on = False  # perhaps it is asked even if we do not hear so
        decision = self._database(partial(put, self.claim, request))
        if decision is AWAY or decision.effect != "wait" or decision.approval_id != fresh:
            self.extension.stop_waiting(fresh)
        if decision is AWAY:  # the agent waits, nothing runs
            self._unasked[request.request_id] = ask
            return
        self._unasked.pop(request.request_id, None)
        if decision.effect == "hold":
            self._hold(ask)
        else:
            self._no_longer_held(request.request_id)
        if decision.effect == "wait" and decision.approval_id:
            self.extension.wait_for(decision.approval_id)
            self._record(_asked_line(request, decision))
        else:
            self._goes_on = not self.machine.waiting_approvals()
            if decision.approval_id:
                self._record(_answered_line(request, decision))
            elif decision.by:
                self._record(_policy_line(request, decision))
        self._rule(request.request_id, decision)
        if decision.effect == "wait" and decision.approval_id and decision.approval_id != fresh:
            self._look(decision.approval_id)  # an earlier question may have been answered before anybody listened

    def _put_off(self, ask: Ask) -> None:
        """Have people asked about a call that stands behind a parked one; nobody waits for the answer here."""
        request = ask.request
        put = partial(permissions.put_off, plan=ask.plan, surroundings=self.surroundings)
        decision = self._database(partial(put, self.claim, request))
        if decision is AWAY:
            self._unasked[request.request_id] = ask
            return
        self._unasked.pop(request.request_id, None)
        if decision.approval_id:
            self._record(_asked_line(request, decision))
        elif decision.by:
            self._record(_policy_line(request, decision))
        self._rule(request.request_id, replace(decision, approval_id=None))

    def _look(self, approval_id: UUID) -> None:
        if self._database(partial(status_of, approval_id)) != Approval.Status.PENDING:
            self._answer(approval_id)

    def _answer(self, approval_id: UUID) -> None:
        """Give the CLI the answer people gave, if there is one by now."""
        request_id = self.machine.waiting_approvals().get(approval_id)
        self._unanswered.discard(approval_id)
        if request_id is None:
            return
        request = self.machine.calls[request_id].request
        decision = self._database(partial(permissions.answer_from_row, self.claim, request, approval_id))
        if decision is AWAY:
            self._unanswered.add(approval_id)
        elif decision is not None:
            self._goes_on = len(self.machine.waiting_approvals()) == 1
            if decision.status == Approval.Status.CANCELLED:  # cancelling a question stops the turn
                self._do(self.machine.interrupt(time.monotonic()))
            self._rule(request_id, decision)
            self._record(_answered_line(request, decision))

    def _rule(self, request_id: str, decision: Decision) -> None:
        now = time.monotonic()
        ruling = Ruling(
            effect=decision.effect,
            tool_input=decision.tool_input,
            message=decision.message,
            note=decision.note,
            approval_id=decision.approval_id,
            wait_until=now + decision.waits_s,
        )
        self._do(self.machine.rule(request_id, ruling, now))

    def _withdraw(self, approval_id: UUID, reason: str) -> None:
        self.extension.stop_waiting(approval_id)
        status = self._database(partial(permissions.withdraw, approval_id, reason))
        if status is not AWAY:  # otherwise the end of the turn withdraws it
            self._record(line(Event.Kind.APPROVAL, approval=str(approval_id), status=status, message=reason))

    def _report(self, violation: Violation) -> None:
        """Raise the alarm about a tool that ran without a decision; its process was killed just before."""
        # the tool alone: what ran may hold a secret
        logger.critical(
            "session %s ran %s without a decision (%s); its agent was killed",
            self.claim.session_id, violation.tool_name, violation.reason,
        )  # fmt: skip
        self._record(violation_line(violation))
        self._unreported.append(violation)
        self._report_all()

    def _report_all(self) -> bool:
        """Store what was not stored yet; False while the database does not answer."""
        while self._unreported:
            store = partial(permissions.record_violation, self.claim, self._unreported[0])
            if self._database(store) is AWAY:
                return False
            del self._unreported[0]
        return True

    def _note_delivered(self, approval_ids: Sequence[UUID]) -> None:
        self._noted.update(approval_ids)
        self._record(*(notes.note_delivered_line(approval_id) for approval_id in approval_ids))

    def _told(self, approval_id: UUID) -> None:
        self.extension.stop_waiting(approval_id)
        self.told.add(approval_id)
        self.flush_at = min(self.flush_at, time.monotonic() + FLUSH_S)

    # --- the transcript

    def _record(self, *lines: Line) -> None:
        """Keep what was said. A full session ends; from then on only what became of its questions is kept."""
        if self.stored_bytes > settings.AGENTS.session_cap_bytes:
            lines = tuple(line for line in lines if line[0] == Event.Kind.APPROVAL)
        if lines and not self.lines:
            self.flush_at = time.monotonic() + FLUSH_S
        self.lines.extend(lines)
        self.stored_bytes += writer.size_of(lines)
        if self.stored_bytes > settings.AGENTS.session_cap_bytes:
            self._do(self.machine.abandon(full(), time.monotonic()))

    def _flush(self) -> None:
        """Write what was said, at most ``FLUSH_ROWS`` a transaction; what cannot be written is kept and tried again."""
        mark = partial(permissions.mark_answered, self.claim, frozenset(self.told), goes_on=self._goes_on)
        if self.told and self._database(mark) is not AWAY:
            self.told.clear()
        if self._noted and self._database(partial(mark_note_delivered, frozenset(self._noted))) is not AWAY:
            self._noted.clear()
        while self.lines:
            batch = self.lines[:FLUSH_ROWS]
            write = partial(writer.append, self.claim.session_id, batch, fence=self.claim.fence)
            if self._database(write) is AWAY:
                self.flush_at = time.monotonic() + RETRY_S
                break
            del self.lines[: len(batch)]
        else:
            self.flush_at = float("inf")
        self.process.pause_reading(len(self.lines) > HELD_BACK_ROWS)

    def _close(self, exit_code: int) -> Outcome:
        for piece in self.framer.rest():
            heard = self.machine.hear(parse(piece), time.monotonic())
            self._do([command for command in heard if self._still_counts(command)])
        commands = self.machine.ended(exit_code, self.process.stderr())
        outcome = self.machine.outcome or failed("agent_died", "The agent's process ended.")
        if outcome.code == NOT_LOGGED_IN:
            outcome = replace(outcome, detail=login_instructions())
        try:
            if self.ours:
                self._do(commands)
                self._patiently(self._flushed)
        except StaleFence:  # given up for lost, or cancelled in the middle of an answer
            logger.warning("session %s: nothing more of this run is written", self.claim.session_id)
        self._patiently(self._report_all)
        deferred = self._still_deferred(outcome)
        stderr = self.process.stderr()
        finish = partial(leases.finish_run, self.claim, outcome, exit_code=exit_code, stderr=stderr, deferred=deferred)
        self._patiently(lambda: self._database(finish) is not AWAY)  # closes the run; all else under the fence
        return outcome

    def _still_counts(self, command: Command) -> bool:
        """Whether a command still makes sense when the process is gone: what it ran does, whoever has the session."""
        return isinstance(command, Report) or (self.ours and isinstance(command, Record))

    def _still_deferred(self, outcome: Outcome) -> str:
        """The call that the CLI keeps for its next start, if there is one."""
        if outcome.status == PARKED:
            return self.machine.deferred_tool_use_id
        if self.machine.replay_missed:
            logger.error("session %s: the CLI has lost the parked call; its turn is taken up", self.claim.session_id)
            return ""
        return "" if self.claim.deferred in self.machine.answered else self.claim.deferred

    def _flushed(self) -> bool:
        self._flush()
        return not self.lines

    def _patiently(self, done: Callable[[], bool]) -> None:
        """Try until it is done; later than this the run counts as lost anyway, and a sweep does the rest."""
        patience = time.monotonic() + leases.LOST_AFTER.total_seconds()
        while not done() and time.monotonic() < patience:
            time.sleep(RETRY_S)

    def _database(self, work: Callable[[], T]) -> T | Away:
        """Do one short unit of work and give the connection back; AWAY if the database did not answer.

        Whatever was meant to happen is tried again later; until then nothing runs. Whoever waits for an answer goes
        first, also with its other work: it could not hear the answer meanwhile.
        """
        urgency = URGENT if self.machine.waiting_approvals() else ORDINARY
        with to_the_database.place(urgency):
            return self._tried(work)

    def _tried(self, work: Callable[[], T]) -> T | Away:
        try:
            return work()
        except (OperationalError, InterfaceError) as error:
            logger.warning("session %s: the database did not answer (%s)", self.claim.session_id, type(error).__name__)
            self._retry_at = min(self._retry_at, time.monotonic() + RETRY_S)
            return AWAY
        finally:
            connection.close()


def held_line(request: ToolRequest) -> Line:
    """What the transcript says of a call that waits for the lift of a stop."""
    return line(Event.Kind.STATUS, status=HELD, tool=request.tool_name, tool_use_id=request.tool_use_id)


def violation_line(violation: Violation) -> Line:
    """What the transcript says of a tool that ran without a decision."""
    return line(
        Event.Kind.STATUS, status=RAN_UNAPPROVED, tool=violation.tool_name, tool_use_id=violation.tool_use_id,
        input=violation.tool_input, reason=violation.reason,
    )  # fmt: skip


def _asked_line(request: ToolRequest, decision: Decision) -> Line:
    return line(
        Event.Kind.APPROVAL, approval=str(decision.approval_id), status=decision.status,
        tool=request.tool_name, tool_use_id=request.tool_use_id,
    )  # fmt: skip


def _policy_line(request: ToolRequest, decision: Decision) -> Line:
    return line(
        Event.Kind.APPROVAL, approval=None, status=decision.status, tool=request.tool_name,
        tool_use_id=request.tool_use_id, by="policy", reason=decision.by,
    )  # fmt: skip


def _answered_line(request: ToolRequest, decision: Decision) -> Line:
    return line(
        Event.Kind.APPROVAL, approval=str(decision.approval_id), status=decision.status, tool=request.tool_name,
        tool_use_id=request.tool_use_id, by=decision.by, message=decision.message, **notes.note_field(decision.said),
    )  # fmt: skip
