"""One turn as a state machine: it takes what happened and returns commands. It uses no clock,
process or database.

All times are seconds of one monotonic clock, which the caller passes in.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from uuid import UUID, uuid4

from sessions_app.models import Event, Turn
from sessions_app.supervisor.background import Background
from sessions_app.supervisor.cli import protocol
from sessions_app.supervisor.cli.api_failures import RESETS_AT, explain_status
from sessions_app.supervisor.cli.protocol import (
    ApiRetry,
    Delta,
    Message,
    OtherRequest,
    OutputMessage,
    OversizedReport,
    Reply,
    Result,
    ToolEnded,
    ToolRequest,
    UnreadableLine,
    Withdrawn,
)
from sessions_app.supervisor.notes import Notes
from sessions_app.supervisor.outcomes import (
    GOES_ON,
    INTERRUPTED,
    PARKED,
    STOPPED,
    UNSENT,
    Outcome,
    Spent,
    failed,
    from_exit,
    from_result,
)
from sessions_app.supervisor.permission_outcome import PermissionOutcome
from sessions_app.supervisor.reconciliation import RAN_UNAPPROVED, Reconciliation, Violation
from sessions_app.supervisor.transcript_lines import resets_at, transcript_lines
from sessions_app.transcript.writer import Line, line

START_TIMEOUT_S = 60.0
AFTER_RESULT_S = 10.0  # a process may live this long after its result
AFTER_TERM_S = 5.0
TAKES_UP_S = 10.0  # a CLI that continues an interrupted turn writes earlier
REPLAYS_S = 60.0  # a CLI that has a parked call repeats it much earlier; 0.5 s is usual
LARGEST_DEFERRED = 512 * 1024  # characters; the CLI (2.1.330) repeats a call of 1,000,000 and forgets one of 2,000,000
NOT_NOW = "Another call of this turn waits for a person; do not retry this one now."
"""The denial message for a sub-agent whose turn is parked, and for a second request about one call.
"""


# --- commands


@dataclass(frozen=True, slots=True)
class Write:
    """Send these bytes to the CLI."""

    data: bytes


@dataclass(frozen=True, slots=True)
class Record:
    """Add these lines to the transcript."""

    lines: list[Line]


@dataclass(frozen=True, slots=True)
class Stream:
    """Show this piece of text to viewers; it is not stored."""

    text: str


@dataclass(frozen=True, slots=True)
class RequestPermission:
    """Put this call to the policy and, if needed, to people; the caller passes the result to
    ``apply_outcome``.

    ``put_off``: a call before it in the same message was parked, so it cannot run in this process.
    People are asked to approve it all the same, and the outcome is a denial that tells the agent to
    make the call again.
    """

    request: ToolRequest
    plan: str = ""
    last_text: str = ""
    """What the main agent wrote before the call."""
    put_off: bool = False


@dataclass(frozen=True, slots=True)
class OutcomeSent:
    """The outcome of this request was sent to the CLI."""

    request_id: str
    approval_id: UUID | None


@dataclass(frozen=True, slots=True)
class NotesDelivered:
    """The notes that people gave with these approvals were sent to the CLI."""

    approval_ids: tuple[UUID, ...]


@dataclass(frozen=True, slots=True)
class Withdraw:
    """Cancel this approval request: nothing waits for it any more."""

    approval_id: UUID
    reason: str


@dataclass(frozen=True, slots=True)
class CloseInput:
    """Close the CLI's stdin: it ends when idle."""


@dataclass(frozen=True, slots=True)
class Signal:
    """Send TERM, or KILL if ``hard``, to the process and its group."""

    hard: bool


@dataclass(frozen=True, slots=True)
class ReportViolation:
    """Report that a tool ran without a decision."""

    violation: Violation


Command = (
    Write
    | Record
    | Stream
    | RequestPermission
    | OutcomeSent
    | NotesDelivered
    | Withdraw
    | CloseInput
    | Signal
    | ReportViolation
)


# --- state


@dataclass(slots=True)
class OpenCall:
    """A call whose outcome the CLI waits for."""

    request: ToolRequest
    requested_at: float
    approval_id: UUID | None = None
    expires_at: float = float("inf")
    is_held: bool = False


@dataclass(slots=True)
class AllowedCall:
    """A call that was allowed with an input, so that the permission prompt behind its callback gets
    the same outcome.

    The prompt is answered once, whatever input it shows: the CLI rewrites an edited input (2.1.330
    drops unknown keys, makes paths absolute, and takes the answers out of a question), but runs
    exactly what the prompt's answer gives.
    """

    tool_name: str
    tool_input: str
    is_prompt_answered: bool

    def covers(self, request: ToolRequest) -> bool:
        """Whether ``request`` is that prompt."""
        return not self.is_prompt_answered and not request.is_callback and request.tool_name == self.tool_name


@dataclass(slots=True, kw_only=True)
class Limits:
    """How long a turn may take and wait, in seconds."""

    hold: float
    idle: float
    turn: float
    background: float


@dataclass(slots=True)
class TurnMachine:
    """One turn of a dialog, from the start of its process to the end.

    ``prompt`` is empty when the CLI only continues a parked call. ``replay`` says that it repeats
    such a call before anything else; a prompt then follows after that call's own result.
    ``interrupted`` says that an earlier process was killed in this turn: the CLI continues by
    itself, and the prompt is sent if it does not.
    """

    prompt: str
    limits: Limits
    replay: bool = False
    interrupted: bool = False
    attached: Sequence[str] = ()
    directory: str = ""
    now: float = 0.0
    outcome: Outcome | None = None
    has_output: bool = False
    calls: dict[str, OpenCall] = field(default_factory=dict)
    stopping: bool = False
    deferred_tool_use_id: str = ""
    answered: set[str] = field(default_factory=set)
    notes: Notes = field(default_factory=Notes)
    replay_missed: bool = False
    _initialized_at: float | None = None
    _prompt_sent: bool = False
    _started_at: float = 0.0
    _last_message_at: float = 0.0
    _waited_s: float = 0.0
    _is_interrupted: bool = False
    _closing_at: float | None = None
    _signalled: int = 0
    _allowed_calls: dict[str, AllowedCall] = field(default_factory=dict)
    _unsent_outcomes: list[Command] = field(default_factory=list)
    _background: Background = field(default_factory=Background)
    _last_result: Outcome | None = None
    _result_at: float = 0.0
    _waited_at_result_s: float = 0.0
    _spent: Spent = field(default_factory=Spent)
    _reconciliation: Reconciliation = field(default_factory=Reconciliation)
    _plans: dict[str, str] = field(default_factory=dict)
    _resets_at: float | None = None
    _last_text: str = ""
    _seen_request_ids: set[str] = field(default_factory=set)

    # --- events

    def start(self, now: float) -> list[Command]:
        """The process was started."""
        self.now = self._started_at = self._last_message_at = now
        return [Write(protocol.initialize())]

    def expect_call(self, tool_use_id: str, tool_name: str, tool_input: str) -> None:
        """Expect that the CLI repeats this call, which it announced to an earlier process."""
        self._reconciliation.remember_call(tool_use_id, tool_name, tool_input)

    def handle_message(self, message: Message, now: float) -> list[Command]:
        """The CLI wrote a message."""
        self._pass_time(now)
        self._last_message_at = now
        match message:
            case ToolRequest():
                return self._handle_tool_request(message)
            case Result():
                return self._handle_result(message)
            case Delta(text):
                return [Stream(text)] if text else []
            case ToolEnded():
                violation = self._reconciliation.check_callback(message)
                return self._stop_for_violation(violation) or self._acknowledge(message)
            case OutputMessage():
                return self._handle_output(message)
            case Withdrawn(request_id):
                return self._handle_withdrawal(request_id)
            case Reply(request_id, error):
                return self._handle_reply(request_id, error)
            case ApiRetry():
                return self._handle_api_retry(message)
            case OtherRequest() | OversizedReport() | UnreadableLine():
                return self._handle_unusable(message)

    def _handle_unusable(self, message: OtherRequest | OversizedReport | UnreadableLine) -> list[Command]:
        """Record a message that Orchestra does not serve or cannot read; give up the run if it may hide a call."""
        match message:
            case OtherRequest(request_id, subtype):
                note = line(Event.Kind.RAW, note="refused a request of the CLI", subtype=subtype)
                return [Record([note]), Write(protocol.refuse(request_id, "Orchestra does not serve this request"))]
            case OversizedReport(size):
                note = line(Event.Kind.RAW, note="a report of what ran, too long to be read", size_bytes=size)
                detail = "The agent's report of what it ran is too long to be read, so the run could not be audited."
                return [Record([note]), *self.abandon(failed("unauditable", detail), self.now)]
            case UnreadableLine(text, size, is_request):
                note = line(Event.Kind.RAW, note="not a message", text=text, size_bytes=size)
                garbled = failed("agent_garbled", "The agent asked for something in a form that cannot be read.")
                return [Record([note]), *(self.abandon(garbled, self.now) if is_request else [])]

    def apply_outcome(self, request_id: str, outcome: PermissionOutcome, now: float) -> list[Command]:
        """Apply what the policy, a person or the deadline decided about an open call."""
        self._pass_time(now)
        call = self.calls.get(request_id)
        if call is None:
            return []
        if outcome.effect == "hold":
            call.is_held = True
            return self._go_if_stopping()
        call.is_held = False
        if outcome.effect == "wait":
            call.approval_id, call.expires_at = outcome.approval_id, now + outcome.waits_s
            return self._go_if_stopping()
        del self.calls[request_id]
        self.answered.add(call.request.tool_use_id)
        self._last_message_at = now
        sent: list[Command] = [Write(self._encode(call.request, outcome)), OutcomeSent(request_id, outcome.approval_id)]
        if outcome.effect == "allow" and self._initialized_at is None:
            self._unsent_outcomes += sent  # a call that runs before the callbacks are registered could not be audited
            return []
        return [*sent, *self._go_if_stopping()] if self.stopping else sent

    def _encode(self, request: ToolRequest, outcome: PermissionOutcome) -> bytes:
        """Return the response to the CLI; what it allows is recorded for the audit of what runs."""
        if outcome.effect != "allow":
            self._reconciliation.deny(request.tool_use_id)
            return protocol.deny(request, outcome.message)
        if outcome.model_note and outcome.approval_id:
            self.notes.add(request.tool_use_id, outcome.model_note, outcome.approval_id)
        self._allowed_calls[request.tool_use_id] = AllowedCall(
            request.tool_name, outcome.tool_input, is_prompt_answered=not request.is_callback
        )
        self._reconciliation.allow(request.tool_use_id, outcome.tool_input)
        return protocol.allow(request, outcome.tool_input)

    def _acknowledge(self, ended: ToolEnded) -> list[Command]:
        """A call ran as it was allowed; the model reads the notes of people together with its
        result.
        """
        text, approval_ids = self.notes.take(ended.tool_use_id)
        delivered: list[Command] = [NotesDelivered(approval_ids)] if approval_ids else []
        return [Write(protocol.acknowledge(ended, text)), *delivered]

    def interrupt(self, now: float) -> list[Command]:
        """Stop the turn at a person's request."""
        self._pass_time(now)
        if self._is_interrupted or self.outcome is not None:
            return []
        self._is_interrupted = self._reconciliation.is_stopping = True
        withdrawn = self._withdraw_all("the turn was interrupted")
        if self._last_result is not None and not self._background.in_turn:
            stopped = self._finish_in_background("the turn was interrupted")
            self.outcome = self._with_costs(INTERRUPTED)
            return [*withdrawn, *stopped, *self._escalate(1)]
        if not (self._prompt_sent or self.replay or self.interrupted):
            return [*withdrawn, *self._finish(INTERRUPTED)]
        self._closing_at = now  # an interrupt that is not obeyed ends in a signal
        return [*withdrawn, Write(protocol.interrupt(f"orch_stop_{uuid4().hex[:8]}"))]

    def abandon(self, outcome: Outcome, now: float) -> list[Command]:
        """End the process without waiting for its result."""
        self._pass_time(now)
        if self.outcome is not None:
            return []
        return [*self._withdraw_all(outcome.detail), *self._finish(outcome), *self._escalate(1)]

    def stop(self, now: float) -> list[Command]:
        """The worker stops: park what can be parked, and leave the rest to another process."""
        self._pass_time(now)
        if self.stopping or self.outcome is not None:
            return []
        self.stopping = True
        return self._go_if_stopping()

    def handle_exit(self, exit_code: int, stderr: str) -> list[Command]:
        """The process has ended, and all its messages were handled."""
        commands = self._withdraw_all("the agent's process ended")
        if self.outcome is None:
            self.outcome = self._last_result or self._adjusted(from_exit(exit_code, stderr, has_output=self.has_output))
        self.outcome = self._with_costs(self.outcome)
        return commands

    def tick(self, now: float) -> list[Command]:
        """Act on the time that has passed; call it at the latest at ``deadline``."""
        self._pass_time(now)
        if self._closing_at is not None and now >= self._closing_at + AFTER_RESULT_S:
            return self._escalate(1 if now < self._closing_at + AFTER_RESULT_S + AFTER_TERM_S else 2)
        if self.outcome is not None:
            return []
        if self._initialized_at is None and now >= self._started_at + START_TIMEOUT_S:
            return self.abandon(failed("agent_silent", "The agent did not answer at its start."), now)
        if self._last_result is not None and not self.calls:
            return self._wait_for_background()
        if self.calls:
            return self._park_if_overdue()
        if now >= self._prompt_after_all_at():
            return self._send_prompt()
        if now >= self._replay_missed_at():
            self.replay_missed = True
            return [*self._finish(Outcome(status=STOPPED)), *self._escalate(1)]
        if now >= self._last_message_at + self.limits.idle:
            minutes = self.limits.idle / 60
            return self.abandon(failed("agent_idle", f"The agent wrote nothing for {minutes:g} minutes."), now)
        if now >= self._started_at + self.limits.turn + self._waited_s:
            return self.abandon(failed("turn_timeout", "The turn took longer than it may."), now)
        return []

    def deadline(self) -> float:
        """Return when ``tick`` must be called at the latest."""
        if self._closing_at is not None:
            steps = (AFTER_RESULT_S, AFTER_RESULT_S + AFTER_TERM_S, float("inf"))
            return self._closing_at + steps[self._signalled]
        if self.outcome is not None:
            return self.now + AFTER_RESULT_S
        if self._initialized_at is None:
            return self._started_at + START_TIMEOUT_S
        if self.calls:
            return float("inf") if self._deferrable() is None else self._hold_end()
        turn_end = self._started_at + self.limits.turn + self._waited_s
        if self._last_result is not None:
            return min(self._background.settled_at(), self._background_end())
        return min(
            self._last_message_at + self.limits.idle, turn_end, self._prompt_after_all_at(), self._replay_missed_at()
        )

    def overdue_approvals(self, now: float) -> list[UUID]:
        """Return the approvals whose deadline has passed."""
        return [call.approval_id for call in self.calls.values() if call.approval_id and now >= call.expires_at]

    def postpone_expiry(self, approval_id: UUID, until: float) -> None:
        """Set another deadline for an approval."""
        for call in self.calls.values():
            if call.approval_id == approval_id:
                call.expires_at = until

    def next_expiry(self) -> float:
        """Return when the next approval is overdue."""
        return min((call.expires_at for call in self.calls.values()), default=float("inf"))

    # --- transitions

    def _pass_time(self, now: float) -> None:
        if self.calls:
            self._waited_s += max(0.0, now - self.now)
        self.now = now

    def _handle_tool_request(self, request: ToolRequest) -> list[Command]:
        if request.request_id in self._seen_request_ids:
            return []  # the CLI repeated a request, which gets one outcome
        self._seen_request_ids.add(request.request_id)
        allowed = self._allowed_calls.get(request.tool_use_id)
        if allowed is not None and allowed.covers(request) and not self._is_interrupted:
            allowed.is_prompt_answered = True
            # it is the permission prompt behind a callback that was allowed
            return [Write(protocol.allow(request, allowed.tool_input))]
        if self._is_interrupted or self.outcome is not None:
            return self._refuse(request, "The turn was stopped.")
        if self.deferred_tool_use_id and request.agent_id:
            return self._refuse(request, NOT_NOW)
        if any(call.request.tool_use_id == request.tool_use_id for call in self.calls.values()):
            return self._refuse(request, NOT_NOW)
        self.calls[request.request_id] = OpenCall(request, self.now)
        if request.agent_id:
            self._background.sub_agent_is_alive(self.now)
        plan = self._plans.get(request.tool_use_id, "")
        return [RequestPermission(request, plan, self._last_text, put_off=bool(self.deferred_tool_use_id))]

    def _refuse(self, request: ToolRequest, message: str) -> list[Command]:
        """Deny a call without a decision of the policy or a person."""
        self._reconciliation.deny(request.tool_use_id)
        return [Write(protocol.deny(request, message))]

    def _handle_output(self, message: OutputMessage) -> list[Command]:
        self.has_output = True
        self._remember_plans(message)
        self._resets_at = resets_at(message) or self._resets_at
        self._background.handle_output(message, self.now)
        commands: list[Command] = []
        for violation in self._reconciliation.check_results(message):
            commands += self._stop_for_violation(violation)
        lines = transcript_lines(message)
        return [*commands, Record(lines)] if lines else commands

    def _stop_for_violation(self, violation: Violation | None) -> list[Command]:
        """Kill the process at once if a tool ran without a decision."""
        if violation is None:
            return []
        detail = f"{violation.tool_name} ran without permission ({violation.reason}); the agent was stopped."
        withdrawn = self._withdraw_all(detail)
        self.outcome = failed(RAN_UNAPPROVED, detail)
        self._closing_at = self.now
        kill: list[Command] = [] if self._signalled == 2 else [Signal(hard=True)]
        self._signalled = 2
        return [*kill, ReportViolation(violation), *withdrawn]

    def _handle_result(self, result: Result) -> list[Command]:
        if self._resets_at is not None and result.is_error:
            result = Result({**result.body, RESETS_AT: self._resets_at})
        outcome = from_result(result)
        self._spent.add(outcome)
        self._background.turn_ended(self.now)
        outcome = self._with_costs(outcome)
        if outcome.status == PARKED and not self.deferred_tool_use_id:
            outcome = failed("agent_error", "The agent put a call off that was not to wait.")
        body = {k: v for k, v in result.body.items() if k not in ("type", "uuid", "session_id")}
        record = Record([line(Event.Kind.RESULT, **body)])
        if self.prompt and not self._prompt_sent and self.replay and not self._is_interrupted:
            withdrawn = self._withdraw_all("the turn ended")
            return [*withdrawn, record, *self._send_prompt()]  # that was the left-over call's own turn
        if outcome.status == Turn.Status.COMPLETED and not self._is_interrupted and self._goes_on_in_background():
            return [record, *self._wait_behind(outcome)]
        return [*self._withdraw_all("the turn ended"), record, *self._finish(self._adjusted(outcome))]

    def _goes_on_in_background(self) -> bool:
        asked = any(call.request.agent_id for call in self.calls.values())
        return asked or self._background.settled_at() > self.now

    def _wait_behind(self, outcome: Outcome) -> list[Command]:
        """Wait with the complete text until the background tasks have ended and the agent has
        reported them.
        """
        self._last_result, self._result_at = outcome, self.now
        self._waited_at_result_s = self._waited_s
        tasks = self._background.described()
        if self.stopping:
            return self._finish_in_background("the worker is stopping")
        if not tasks:
            return []
        note = line(Event.Kind.STATUS, status="background", tasks=tasks, limit_seconds=self.limits.background)
        return [Record([note])]

    def _wait_for_background(self) -> list[Command]:
        if self.now >= self._background_end():
            minutes = self.limits.background / 60
            return self._finish_in_background(f"they may go on for {minutes:g} minutes after the agent's answer")
        if self.now >= self._background.settled_at():
            return self._finish(self._last_result or INTERRUPTED)
        return []

    def _background_end(self) -> float:
        """Return when background tasks are stopped; time spent waiting for people does not count."""
        limit = self._result_at + self.limits.background - self._waited_at_result_s
        return min(limit, self._started_at + self.limits.turn) + self._waited_s

    def _finish_in_background(self, why: str) -> list[Command]:
        """End the turn although tasks may be alive; they end with the process, and the transcript
        records them.
        """
        tasks = self._background.described()
        note = line(Event.Kind.STATUS, status="background_stopped", tasks=tasks, detail=why)
        return [*([Record([note])] if tasks else []), *self._finish(self._last_result or INTERRUPTED)]

    def _with_costs(self, outcome: Outcome) -> Outcome:
        """Return the outcome with the total cost of all results of this process."""
        return replace(outcome, **self._spent.figures())

    def _adjusted(self, outcome: Outcome) -> Outcome:
        """Return the outcome as interrupted, and not as a failure, if a person interrupted the
        turn.
        """
        if not self._is_interrupted or outcome.status in GOES_ON:
            return outcome
        return replace(outcome, status=INTERRUPTED.status, code=INTERRUPTED.code, detail=INTERRUPTED.detail)

    def _finish(self, outcome: Outcome) -> list[Command]:
        self._reconciliation.is_stopping = True
        if self.outcome is None:
            self.outcome = outcome
        if self._closing_at is None or self._signalled == 0:
            self._closing_at = self.now
        return [CloseInput()]

    def _handle_withdrawal(self, request_id: str) -> list[Command]:
        call = self.calls.pop(request_id, None)
        if call is not None:
            self._reconciliation.deny(call.request.tool_use_id)
        if call is None or call.approval_id is None:
            return []
        return [Withdraw(call.approval_id, "the agent withdrew the request"), OutcomeSent(request_id, call.approval_id)]

    def _give_up_calls(self) -> None:
        """Deny every open call: none may run in this process any more."""
        for call in self.calls.values():
            self._reconciliation.deny(call.request.tool_use_id)
        self.calls.clear()

    def _withdraw_all(self, reason: str) -> list[Command]:
        open_ids = [call.approval_id for call in self.calls.values() if call.approval_id]
        self._give_up_calls()
        return [Withdraw(approval_id, reason) for approval_id in open_ids]

    def _handle_reply(self, request_id: str, error: str) -> list[Command]:
        if request_id != protocol.INITIALIZE_ID or self._initialized_at is not None:
            return []
        self._initialized_at = self.now
        if error:
            return self.abandon(failed("agent_unfit", f"The agent refused to be supervised: {error[:200]}"), self.now)
        commands, self._unsent_outcomes = self._unsent_outcomes, []
        if self.replay or self.interrupted or not self.prompt:
            return [*commands, *self._go_if_stopping()]
        return [*commands, *self._send_prompt()]

    def _prompt_after_all_at(self) -> float:
        """Return when it is certain that the CLI continues neither a killed turn nor a parked call."""
        needed = (self.interrupted or self.replay) and self.prompt and not self._prompt_sent
        return self._silent_for(TAKES_UP_S) if needed else float("inf")

    def _replay_missed_at(self) -> float:
        """Return when it is certain that the CLI has lost the parked call; the turn then continues
        as after a kill.
        """
        return self._silent_for(REPLAYS_S) if self.replay and not self.prompt else float("inf")

    def _silent_for(self, seconds: float) -> float:
        """Return when the CLI will have been silent this long since it was ready; infinity if it
        was not silent.
        """
        silent = not (self.has_output or self.calls or self.answered)
        return self._initialized_at + seconds if silent and self._initialized_at is not None else float("inf")

    def _send_prompt(self) -> list[Command]:
        self._prompt_sent = True
        return [Write(protocol.user(self.prompt, str(uuid4()), self.attached))]

    def _handle_api_retry(self, retry: ApiRetry) -> list[Command]:
        names = ("attempt", "max_retries", "retry_delay_ms", "error_status", "error")
        note = Record([line(Event.Kind.API_RETRY, **{name: retry.body.get(name) for name in names})])
        if retry.status not in (401, 403):
            return [note]
        # the CLI would go on trying for minutes, and nothing will change
        return [note, *self.abandon(failed(*explain_status(retry.status)), self.now)]

    def _remember_plans(self, message: OutputMessage) -> None:
        """Keep plans: a request to leave plan mode comes without the plan, which is in the call or
        the text before.
        """
        body = message.body.get("message") if message.type == "assistant" else None
        content = body.get("content") if isinstance(body, dict) else None
        for block in content if isinstance(content, list) else []:
            if isinstance(block, dict) and block.get("name") == "ExitPlanMode" and isinstance(block.get("input"), dict):
                self._plans[str(block.get("id"))] = str(block["input"].get("plan") or "")
            if isinstance(block, dict) and block.get("type") == "text" and not message.body.get("parent_tool_use_id"):
                self._last_text = str(block.get("text") or "")

    # --- parking

    def _deferrable(self) -> OpenCall | None:
        """Return the call that may be deferred: the only open one, by callback, of the main agent,
        the first to be so.

        A call that is so large that the CLI would not find it again is not deferred. Nothing is
        deferred while a prompt waits behind a replayed call, since it would be lost with the
        process, or while tasks work in the background, since they would end with the process.
        """
        if self._background.tasks or self._last_result is not None:
            return None
        if len(self.calls) != 1 or self.deferred_tool_use_id or (self.replay and self.prompt and not self._prompt_sent):
            return None
        call = next(iter(self.calls.values()))
        request = call.request
        elsewhere = request.folder not in ("", self.directory)  # it would be repeated in the session's own folder
        fit = (
            request.is_callback and not (request.agent_id or elsewhere) and len(request.tool_input) <= LARGEST_DEFERRED
        )
        return call if fit and call.approval_id is not None else None

    def _hold_end(self) -> float:
        return min(call.requested_at for call in self.calls.values()) + self.limits.hold

    def _park_if_overdue(self) -> list[Command]:
        call = self._deferrable()
        return self._park(call) if call and self.now >= self._hold_end() else []

    def _go_if_stopping(self) -> list[Command]:
        """If the worker stops, park the one open call, or end now and leave everything to another
        process.
        """
        if not self.stopping or self.outcome is not None or self.deferred_tool_use_id:
            return []
        call = self._deferrable()
        if call:
            return self._park(call)
        if any(call.approval_id is None and not call.is_held for call in self.calls.values()):
            return []  # the policy has not decided yet; its outcome comes back here
        if self._last_result is not None:
            withdrawn = self._withdraw_all("the worker is stopping")
            return [*withdrawn, *self._finish_in_background("the worker is stopping")]
        return self._leave()

    def _leave(self) -> list[Command]:
        """End the process and leave its requests open: another process requests them again."""
        self._give_up_calls()
        known = self._prompt_sent or self.replay or self.interrupted
        return [*self._finish(Outcome(status=STOPPED if known else UNSENT)), *self._escalate(1)]

    def _park(self, call: OpenCall) -> list[Command]:
        self.deferred_tool_use_id = call.request.tool_use_id
        self._last_message_at = self.now  # until here Orchestra was waiting, not the CLI
        del self.calls[call.request.request_id]
        return [Write(protocol.defer(call.request))]

    # --- ending

    def _escalate(self, step: int) -> list[Command]:
        if self._signalled >= step:
            return []
        self._signalled = step
        self._reconciliation.is_stopping = True
        if self.outcome is None:
            self.outcome = self._adjusted(failed("agent_stuck", "The agent did not end when it had to."))
        if self._closing_at is None:
            self._closing_at = self.now - AFTER_RESULT_S
        return [Signal(hard=step == 2)]
