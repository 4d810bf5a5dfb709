"""Commands on sessions: start, send a message, interrupt, cancel. Every surface calls these."""

import logging
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any
from uuid import UUID, uuid4

from django.conf import settings
from django.db import IntegrityError, transaction
from django.db.models.functions import Now

from approvals.audit import changes
from approvals.commands import cancel_open_approvals
from approvals.deadlines import timeout_problem
from approvals.models import DecisionSource, Rule
from approvals.policy import EDITING_TOOLS, fnmatch_escape, rule_from_request
from orchestra.auth.permissions import Right, may_by_name
from orchestra.db import notify
from orchestra.diagnostics import tracing
from orchestra.logs.config import bind
from sessions_app.agents.readiness import refuse_unready
from sessions_app.dispatch import dispatch_on_commit
from sessions_app.errors import (
    AttachmentRefused,
    CommandRefused,
    InvalidSession,
    NotYours,
    SessionBusy,
    SessionCancelled,
    SessionFull,
    SettingsNotAllowed,
)
from sessions_app.models import IDLE_SESSION, SESSION_FLOW, TURN_FLOW, AgentSession, PermissionRequest, Turn
from sessions_app.prompts import dialog_commands
from sessions_app.prompts.attachments import (
    Reader,
    inspect_attachments,
    paths_problem,
    public_fields,
    record_attachments,
)
from sessions_app.prompts.slash_commands import SlashCommand, command_in, is_supported
from sessions_app.queries import find_session
from sessions_app.reopened import awaited_by_turn
from sessions_app.transcript import writer
from sessions_app.workspace import working_directory_for

logger = logging.getLogger(__name__)


AGENTS = ("claude", "demo")
PERMISSION_MODES = ("default", "acceptEdits", "plan")
SETTING_SOURCES = frozenset({"user", "project", "local"})
LONGEST_PROMPT = 1024 * 1024  # characters
LONGEST_TITLE = 200
LONGEST_ARGUMENT = 120 * 1024  # bytes; Linux refuses an argument of 128 KiB or more (MAX_ARG_STRLEN)


@dataclass(frozen=True, slots=True, kw_only=True)
class SessionRequest:
    """The parameters of a new session, the same for every surface; see ``POST /api/sessions``.

    Empty text, None and empty lists mean "not given".
    """

    prompt: str
    working_directory: str = ""
    title: str = ""
    agent: str = "claude"
    model: str = ""
    permission_mode: str = "default"
    allowed_tools: list[str] = field(default_factory=list)
    disallowed_tools: list[str] = field(default_factory=list)
    append_system_prompt: str = ""
    max_turns: int | None = None
    max_budget_usd: float | None = None
    approval_timeout_minutes: float | None = None
    metadata: dict[str, Any] = field(default_factory=dict)
    setting_sources: list[str] = field(default_factory=list)
    attachments: list[str] = field(default_factory=list)


def start_session(
    wanted: SessionRequest, *, by: str, may_allow: bool, via: str = DecisionSource.SYSTEM
) -> AgentSession:
    """Create a session with its first turn; a worker takes it after the commit.

    ``may_allow`` is whether ``by`` may decide their own requests: allowing tools in advance amounts
    to that.

    Raises: InvalidSession: ``fields`` maps each invalid field to its problems. NotYours: tools are
        allowed in advance, and ``may_allow`` is false. SettingsNotAllowed: the session reads
        settings of the CLI's own, and ``by`` is no administrator. AttachmentRefused: a file cannot
        be attached to the prompt. AgentUnready: no host can run this agent now.
    """
    refuse_unfit(wanted, by=by, may_allow=may_allow)
    refuse_unready(wanted.agent)
    session_id = uuid4()
    directory = working_directory_for(session_id, wanted.working_directory)
    with tracing.span("session", session=session_id, agent=wanted.agent), transaction.atomic():
        session = AgentSession.objects.create(
            id=session_id,
            title=wanted.title or title_from(wanted.prompt),
            agent=wanted.agent,
            model=wanted.model,
            working_directory=directory,
            options=_options(wanted),
            metadata=wanted.metadata,
            requested_by=by,
            trace_parent=tracing.traceparent(),
        )
        _allow_in_advance(_advance_rules(wanted, session_id, directory, by), by=by)
        _add_turn(session, wanted.prompt, number=1, by=by, paths=wanted.attachments, via=via)
    with bind(session=session_id):
        logger.info("session %s queued by %s", session_id, by)
    session.refresh_from_db()
    return session


def send_message(
    *, session_id: UUID, prompt: str, by: str, attachments: Sequence[str] = (), via: str = DecisionSource.SYSTEM
) -> Turn:
    """Queue the next turn of a session; the CLI resumes its conversation.

    ``/clear`` and ``/model NAME`` are carried out at once, as turns without a process.

    Raises: SessionNotFound: no session has this id. InvalidSession: the prompt is empty, too long
        or not valid text. SessionBusy: a turn of the session is still open. SessionCancelled: the
        session was cancelled. SessionFull: the transcript has reached its size limit.
        SettingsNotAllowed: the session reads settings of the CLI's own, and ``by`` is no
        administrator. AttachmentRefused: a file cannot be attached to the prompt. AgentUnready: the
        session's host cannot run its agent now. CommandRefused: the prompt is a terminal command of
        the CLI that Orchestra does not support.
    """
    problem = text_problem(prompt, LONGEST_PROMPT, required=True)
    if problem:
        raise InvalidSession(problem, {"prompt": [problem]})
    if problem := paths_problem(attachments):
        raise AttachmentRefused(problem)
    if command := command_in(prompt):
        session = find_session(session_id)
        if _is_handled_here(command, session, attachments, by=by):
            return _run_command(session, command, by=by)
    try:
        with transaction.atomic():
            session = find_session(session_id)
            refuse_settings(session.options.get("setting_sources"), by=by)
            refuse_unready(session.agent, session.host)
            if session.transcript_bytes > settings.AGENTS.session_cap_bytes:
                raise SessionFull("The transcript of this session is as long as it may be; start a new one.")
            if not SESSION_FLOW.move(
                AgentSession.objects.filter(pk=session_id, status__in=IDLE_SESSION),
                to=AgentSession.Status.QUEUED,
                failure_code="",
                failure_detail="",
                finished_at=None,
            ):
                raise _refusal(find_session(session_id))
            number = session.turns.count() + 1
            turn = _add_turn(session, prompt, number=number, by=by, paths=attachments, via=via)
    except IntegrityError:  # of two concurrent messages the constraint on open turns refuses one
        raise SessionBusy("A turn of this session is still open.") from None
    with bind(session=session_id):
        logger.info("session %s: turn %s queued by %s", session_id, turn.number, by)
    return turn


def _is_handled_here(command: SlashCommand, session: AgentSession, attachments: Sequence[str], *, by: str) -> bool:
    """Whether Orchestra carries out ``command`` itself; False if the CLI of a session with settings
    does.

    Raises:
        CommandRefused: neither Orchestra nor the CLI carries out this command.
        SettingsNotAllowed: ``by`` may not write into this session.
    """
    if session.options.get("setting_sources") and not is_supported(command):
        return False
    if command.problem or attachments:
        raise CommandRefused(command.problem or f"/{command.name} takes no attachments.")
    refuse_settings(session.options.get("setting_sources"), by=by)
    return True


def _run_command(session: AgentSession, command: SlashCommand, *, by: str) -> Turn:
    try:
        turn = dialog_commands.run(session, command, by=by)
    except IntegrityError:  # a concurrent message took the turn's number
        turn = None
    if turn is None:
        raise _refusal(find_session(session.pk))
    with bind(session=session.pk):
        logger.info("session %s: /%s by %s", session.pk, command.name, by)
    return turn


def interrupt_session(*, session_id: UUID, by: str) -> AgentSession:
    """Stop the current turn and keep the session; without an open turn this does nothing.

    A turn that no worker has taken ends here. The supervisor of a running one ends it, woken by the
    notification.
    """
    with transaction.atomic():
        session = find_session(session_id)
        # lock the session before its turn, as every writer of both does: a worker may take them
        # concurrently
        AgentSession.objects.select_for_update(no_key=True).filter(pk=session_id).first()
        why = "the turn was interrupted"
        cancel_open_approvals(session=session_id, by=by, via="system", reason=why, which=awaited_by_turn())
        queued = Turn.objects.filter(session=session_id, status=Turn.Status.QUEUED)
        if TURN_FLOW.move(queued, to=Turn.Status.INTERRUPTED, finished_at=Now()):
            SESSION_FLOW.move(
                AgentSession.objects.filter(pk=session_id), to=AgentSession.Status.COMPLETED, finished_at=Now()
            )
            writer.append(
                session_id,
                [writer.line("status", status=AgentSession.Status.COMPLETED, turn=Turn.Status.INTERRUPTED, by=by)],
            )
        else:
            running = Turn.objects.filter(session=session_id, status=Turn.Status.RUNNING, interrupt_requested_at=None)
            running.update(interrupt_requested_at=Now())
        notify.send("session", str(session_id))
    session.refresh_from_db()
    return session


def cancel_session(*, session_id: UUID, by: str) -> AgentSession:
    """End a session permanently; cancelling it again changes nothing.

    Its supervisor ends a live process.
    """
    with transaction.atomic():
        session = find_session(session_id)
        if SESSION_FLOW.move(
            AgentSession.objects.filter(pk=session_id), to=AgentSession.Status.CANCELLED, finished_at=Now()
        ):
            TURN_FLOW.move(Turn.objects.filter(session=session_id), to=Turn.Status.CANCELLED, finished_at=Now())
            PermissionRequest.objects.filter(session=session_id, answered_at=None).update(answered_at=Now())
            cancel_open_approvals(session=session_id, by=by, via="system", reason="the session was cancelled")
            writer.append(session_id, [writer.line("status", status=AgentSession.Status.CANCELLED, by=by)])
            notify.send("session", str(session_id))
            with bind(session=session_id):
                logger.info("session %s cancelled by %s", session_id, by)
    session.refresh_from_db()
    return session


def title_from(prompt: str) -> str:
    """The first non-empty line of a prompt, cut to 80 characters."""
    first = next((row.strip() for row in prompt.splitlines() if row.strip()), "session")
    return first if len(first) <= 80 else first[:79] + "…"


def text_problem(text: str, longest: int, *, required: bool = False) -> str:
    """Why ``text`` cannot be stored or given to an agent, in one sentence; empty if it can."""
    if required and not text.strip():
        return "This may not be empty."
    if len(text) > longest:
        return f"This may have at most {longest} characters."
    if "\0" in text:
        return "This may not contain the character NUL."
    try:
        text.encode()
    except UnicodeEncodeError:
        return "This is not valid Unicode text."
    return ""


def _add_turn(session: AgentSession, prompt: str, *, number: int, by: str, paths: Sequence[str], via: str) -> Turn:
    reader = Reader(session_id=session.pk, directory=session.working_directory, requester=by)
    attached = inspect_attachments(paths, reader, here=session.host in ("", settings.ORCHESTRA.hostname))
    turn = Turn.objects.create(
        session=session, number=number, prompt=prompt, requested_by=by, attachments=attached, dispatched_at=Now()
    )
    record_attachments(attached, reader, turn=number, via=via)
    more = {"attachments": public_fields(attached)} if attached else {}
    writer.append(session.pk, [writer.line("prompt", turn=number, text=prompt, **more)])
    notify.send("session", str(session.pk))
    dispatch_on_commit(turn.pk, session.host)
    return turn


def _refusal(session: AgentSession) -> SessionBusy | SessionCancelled:
    if session.status == AgentSession.Status.CANCELLED:
        return SessionCancelled("This session was cancelled; start a new one.")
    return SessionBusy("A turn of this session is still open.", status=session.status)


def refuse_settings(sources: Sequence[str] | None, *, by: str) -> None:
    """
    Raises:
        SettingsNotAllowed: ``sources`` are given, and ``by`` is no administrator now.
    """
    if sources and not may_by_name(by, Right.ADMINISTER):
        raise SettingsNotAllowed(
            "This session reads settings of the CLI's own (setting_sources); only an administrator may start it or "
            "write into it. Start a session without them."
        )


def refuse_unfit(wanted: SessionRequest, *, by: str, may_allow: bool) -> None:
    """
    Raises: InvalidSession, NotYours, SettingsNotAllowed: as ``start_session``; the directory is not
        checked.
    """
    _refuse_unfit_fields(wanted)
    refuse_settings(wanted.setting_sources, by=by)
    if (wanted.allowed_tools or wanted.permission_mode == "acceptEdits") and not may_allow:
        raise NotYours("Allowing tools in advance needs the right to decide one's own requests.")


def _refuse_unfit_fields(wanted: SessionRequest) -> None:
    fields: dict[str, list[str]] = {}

    def check(name: str, problem: str) -> None:
        if problem:
            fields.setdefault(name, []).append(problem)

    check("prompt", text_problem(wanted.prompt, LONGEST_PROMPT, required=True) or _first_prompt_problem(wanted))
    check("title", text_problem(wanted.title, LONGEST_TITLE))
    check("model", text_problem(wanted.model, 100))
    check("append_system_prompt", text_problem(wanted.append_system_prompt, 100_000))
    for name, argument in (
        ("append_system_prompt", wanted.append_system_prompt),
        ("disallowed_tools", ",".join(wanted.disallowed_tools)),
    ):
        too_long = len(argument.encode("utf-8", "replace")) > LONGEST_ARGUMENT
        check(name, f"This may have at most {LONGEST_ARGUMENT:,} bytes in all." if too_long else "")
    check("agent", "" if wanted.agent in AGENTS else f"Unknown agent; known are {', '.join(AGENTS)}.")
    known = wanted.permission_mode in PERMISSION_MODES
    check("permission_mode", "" if known else f"One of {', '.join(PERMISSION_MODES)}.")
    for name in ("allowed_tools", "disallowed_tools"):
        for spec in getattr(wanted, name):
            check(name, _spec_problem(spec))
    check(
        "max_turns", "" if wanted.max_turns is None or 0 < wanted.max_turns <= 10_000 else "A number from 1 to 10000."
    )
    money = wanted.max_budget_usd
    check("max_budget_usd", "" if money is None or 0 < money < 1e6 else "A positive amount of US dollars.")
    check("approval_timeout_minutes", timeout_problem(wanted.approval_timeout_minutes))
    check("attachments", paths_problem(wanted.attachments))
    check("setting_sources", "" if set(wanted.setting_sources) <= SETTING_SOURCES else "Any of user, project, local.")
    if fields:
        raise InvalidSession("The session cannot be started like this.", fields)


def _first_prompt_problem(wanted: SessionRequest) -> str:
    """Why a session cannot start with this prompt.

    The result is empty unless it is a command that the CLI would not carry out.
    """
    command = command_in(wanted.prompt)
    if command is None or (wanted.setting_sources and not is_supported(command)):
        return ""
    advice = f"/{command.name} is for a dialog that has begun; a session starts with a prompt, and names its model."
    return command.problem or advice


def _spec_problem(spec: str) -> str:
    try:
        rule_from_request(spec)
    except ValueError as error:
        return str(error)
    return text_problem(spec, 500)


def _options(wanted: SessionRequest) -> dict[str, Any]:
    names = (
        "permission_mode", "allowed_tools", "disallowed_tools", "append_system_prompt", "max_turns", "max_budget_usd",
        "approval_timeout_minutes", "setting_sources",
    )  # fmt: skip
    given = {name: getattr(wanted, name) for name in names if getattr(wanted, name)}
    never = {"approval_timeout_minutes": 0} if wanted.approval_timeout_minutes == 0 else {}
    return given | never


def _allow_in_advance(rules: list[Rule], *, by: str) -> None:
    """Save the session's own rules, with one audit entry that names them all."""
    if rules:
        Rule.objects.bulk_create(rules)
        changes.record(action="rules_added", what=changes.described(rules), by=by)


def _advance_rules(wanted: SessionRequest, session_id: UUID, directory: str, by: str) -> list[Rule]:
    pairs = [rule_from_request(spec) for spec in wanted.allowed_tools]
    if wanted.permission_mode == "acceptEdits":
        pairs += [(tool, f"{fnmatch_escape(directory)}/*") for tool in EDITING_TOOLS]
    return [
        Rule(
            effect=Rule.Effect.ALLOW,
            tool=tool,
            pattern=pattern,
            created_by=by,
            made_for=by,
            note="allowed when the session was started",
            scope=Rule.ScopeKind.SESSION,
            scope_value=str(session_id),
        )
        for tool, pattern in pairs
    ]
