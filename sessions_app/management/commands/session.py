"""``manage.py session start | list | show | send | interrupt | cancel``: sessions from a terminal."""

import os
import sys
import time
from pathlib import Path
from typing import Any
from uuid import UUID

from django.core.management.base import BaseCommand, CommandError, CommandParser

from approvals.management.commands.approvals import ChangeListener, as_json, offer_request
from approvals.models import DecisionSource
from approvals.presentation import terminal
from approvals.presentation.render import one_line, visible
from approvals.presentation.terminal import STATUS_COLOURS, Screen, print_stop_notice, short_id
from approvals.queries import open_approvals, readable_approvals
from approvals.templatetags.shown import ago
from orchestra.auth.permissions import Right
from orchestra.db import notify
from orchestra.errors import OrchestraError
from sessions_app import commands
from sessions_app.models import OPEN_TURN, AgentSession, Turn
from sessions_app.queries import events_after, needing_a_person_first, readable_sessions
from sessions_app.transcript.render import EventText, describe_event, spending_text

MOST_LISTED = 200
EVENTS_AT_ONCE = 500
LAST_EVENTS = 40
NO_WORKER_AFTER_ROUNDS = 8  # a round takes at most a second
BATCH_S = 0.4  # longer than a supervisor buffers transcript events
TONES = {
    "person": ("bold", "cyan"),
    "agent": (),
    "tool": ("blue",),
    "good": ("green",),
    "bad": ("red",),
    "wait": ("yellow",),
    "quiet": ("dim",),
}


class Command(BaseCommand):
    help = "Start agents, talk to them, watch them and stop them. Needs the database alone."

    def add_arguments(self, parser: CommandParser) -> None:
        verbs = parser.add_subparsers(dest="verb", required=True, metavar="VERB")
        start = verbs.add_parser("start", help="start a session")
        start.add_argument("prompt")
        start.add_argument(
            "--directory", default="", metavar="D", help="where the agent works (default: a fresh folder)"
        )
        start.add_argument("--agent", default="claude", choices=commands.AGENTS)
        start.add_argument("--model", default="", metavar="M")
        start.add_argument("--title", default="", metavar="T")
        listing = verbs.add_parser("list", help="sessions, those that need a person first")
        listing.add_argument("--json", action="store_true")
        show = verbs.add_parser("show", help="one session and the end of its transcript")
        show.add_argument("id")
        show.add_argument("--json", action="store_true")
        send = verbs.add_parser("send", help="send the next message of a dialog")
        send.add_argument("id")
        send.add_argument("prompt")
        interrupt = verbs.add_parser("interrupt", help="stop the current turn, keep the dialog")
        cancel = verbs.add_parser("cancel", help="end a dialog for good")
        for verb in (interrupt, cancel):
            verb.add_argument("id", help="the id or its first characters")
        for verb in (start, send):
            verb.add_argument(
                "--attach", action="append", default=[], metavar="PATH", help="a text file for the prompt (repeatable)"
            )
            verb.add_argument("--watch", action="store_true", help="follow the turn to its end")
        for verb in (start, send, interrupt, cancel):
            terminal.add_user_option(verb)

    def handle(self, *args: Any, **options: Any) -> None:
        screen = Screen(self.stdout)
        try:
            getattr(self, f"_{options['verb']}")(screen, options)
        except OrchestraError as error:
            raise CommandError(_error_text(error)) from None

    def _start(self, screen: Screen, options: dict[str, Any]) -> None:
        by = terminal.acting_as(options["user"], Right.OPERATE)
        directory = str(Path(options["directory"]).expanduser().absolute()) if options["directory"] else ""
        wanted = commands.SessionRequest(
            prompt=options["prompt"], working_directory=directory, agent=options["agent"],
            model=options["model"], title=options["title"],
            attachments=_absolute(options["attach"]),
        )  # fmt: skip
        session = commands.start_session(wanted, by=by, may_allow=False, via=DecisionSource.CLI)
        demo = " (demo: scripted, not an AI)" if session.agent == "demo" else ""
        screen.line(f"Session {short_id(session)}{demo} in {visible(session.working_directory)}", "bold")
        self._follow(screen, session.turns.get(number=1), options, by=by)

    def _send(self, screen: Screen, options: dict[str, Any]) -> None:
        by = terminal.acting_as(options["user"], Right.OPERATE)
        session = terminal.find_by_prefix(AgentSession.objects.all(), options["id"], "session")
        attached = _absolute(options["attach"])
        turn = commands.send_message(
            session_id=session.pk, prompt=options["prompt"], by=by, attachments=attached, via=DecisionSource.CLI
        )
        screen.line(f"Session {short_id(session)}, turn {turn.number}", "bold")
        self._follow(screen, turn, options, by=by)

    def _follow(self, screen: Screen, turn: Turn, options: dict[str, Any], *, by: str) -> None:
        if turn.status not in OPEN_TURN:  # /clear, /model: no worker is needed
            screen.line(visible(turn.result))
            return
        if not _broker_answers():
            screen.line(
                "The broker did not answer; the turn is queued, and a worker takes it once the broker is back.",
                "yellow",
            )
        key = str(turn.session_id)[: terminal.SHORT]
        if not options["watch"]:
            screen.line(f"Queued. See it with ./manage.py session show {key}")
            return
        # an account without the right to decide sees the requests, but gets no prompt for a
        # decision
        decider = _decider(options["user"])
        try:
            finished = Watch(screen, turn, decider=decider).to_the_end()
        except KeyboardInterrupt:
            screen.line(f"\nThe session goes on. See it with ./manage.py session show {key},")
            screen.line(f"stop its turn with ./manage.py session interrupt {key}")
            return
        except BrokenPipeError:  # the reader of the pipe has ended; the session continues
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            return
        if finished.status != Turn.Status.COMPLETED:
            sys.exit(1)

    def _list(self, screen: Screen, options: dict[str, Any]) -> None:
        found = list(needing_a_person_first(readable_sessions())[:MOST_LISTED])
        if options["json"]:
            from sessions_app.rest.serializers import SessionRowSerializer

            screen.line(as_json(SessionRowSerializer(found, many=True).data))
            return
        print_stop_notice(screen)
        for session in found:
            status = screen.tinted(f"{session.status:<9}", STATUS_COLOURS.get(session.status, ""))
            facts = f"{visible(session.agent):<6}  ${session.cost_usd:<7.2f}  {ago(session.created_at):<14}"
            screen.line(f"{short_id(session)}  {status}  {facts}  {one_line(session.title, 80)}")
        if not found:
            screen.line('No sessions yet. Try: ./manage.py session start "Show me around" --agent demo --watch')

    def _show(self, screen: Screen, options: dict[str, Any]) -> None:
        session: Any = terminal.find_by_prefix(readable_sessions(), options["id"], "session")
        if options["json"]:
            session.pending_approvals = (
                readable_approvals().filter(status="pending", session=session.pk).order_by("expires_at")
            )
            from sessions_app.rest.serializers import SessionSerializer

            screen.line(as_json(SessionSerializer(session).data))
            return
        demo = "  (demo: scripted, not an AI)" if session.agent == "demo" else ""
        screen.line(
            f"{session.pk}  {session.status}{', parked' if session.parked else ''}{demo}",
            "bold",
            STATUS_COLOURS.get(session.status, ""),
        )
        where = f"{visible(session.agent)} in {visible(session.working_directory)}"
        screen.line(f"{one_line(session.title, 200)}; {where}; {spending_text(session)}")
        if session.failure_detail:
            screen.line(f"{session.failure_code}: {visible(session.failure_detail)}", "red")
        for event in events_after(session.pk, max(0, session.last_seq - LAST_EVENTS), LAST_EVENTS):
            show_event(screen, describe_event(event))
        for approval in open_approvals(session.pk):
            screen.line()
            terminal.show_approval(screen, approval)

    def _interrupt(self, screen: Screen, options: dict[str, Any]) -> None:
        by = terminal.acting_as(options["user"], Right.OPERATE)
        session = terminal.find_by_prefix(AgentSession.objects.all(), options["id"], "session")
        commands.interrupt_session(session_id=session.pk, by=by)
        screen.line(f"{short_id(session)}: the turn is told to stop; the dialog stays.")

    def _cancel(self, screen: Screen, options: dict[str, Any]) -> None:
        by = terminal.acting_as(options["user"], Right.OPERATE)
        session = terminal.find_by_prefix(AgentSession.objects.all(), options["id"], "session")
        commands.cancel_session(session_id=session.pk, by=by)
        screen.line(f"{short_id(session)}: cancelled.")


class Watch:
    """Follows one turn to its end: notifications make it fast, and a poll every second makes it
    reliable.
    """

    def __init__(self, screen: Screen, turn: Turn, *, decider: str) -> None:
        self._screen = screen
        self._turn = turn
        self._decider = decider
        self._offered: set[UUID] = set()
        self._seq = self._before_the_prompt()
        self._listener = ChangeListener()
        self._rounds = 0

    def to_the_end(self) -> Turn:
        while True:
            self._turn.refresh_from_db()  # before the events are read: a closed turn has all of its events
            self._print_news()
            if self._turn.status not in OPEN_TURN:
                self._sum_up()
                return self._turn
            self._offer_approvals()
            self._rounds += 1
            if self._rounds == NO_WORKER_AFTER_ROUNDS and self._turn.status == Turn.Status.QUEUED:
                self._screen.line("No worker has taken the turn yet. Is `make run` running?", "yellow")
            self._listener.wait()

    def _before_the_prompt(self) -> int:
        prompts = self._turn.session.events.filter(kind="prompt").order_by("-seq").values_list("seq", flat=True)
        return (prompts.first() or 1) - 1

    def _print_news(self) -> None:
        while events := events_after(self._turn.session_id, self._seq, EVENTS_AT_ONCE):
            for event in events:
                show_event(self._screen, describe_event(event))
            self._seq = events[-1].seq

    def _offer_approvals(self) -> None:
        new = [one for one in open_approvals(self._turn.session_id) if one.pk not in self._offered]
        if new:  # events before a request may still be buffered: print them first
            time.sleep(BATCH_S)
            self._print_news()
        for approval in new:
            self._offered.add(approval.pk)
            if self._decider:
                offer_request(self._screen, approval, by=self._decider)
            else:
                terminal.show_approval(self._screen, approval)

    def _sum_up(self) -> None:
        turn, good = self._turn, self._turn.status == Turn.Status.COMPLETED
        why = (
            f" ({turn.failure_code}: {one_line(turn.failure_detail, 300)})" if turn.failure_detail and not good else ""
        )
        self._screen.line(
            f"{turn.status}{why}: {spending_text(turn)}; session {str(turn.session_id)[: terminal.SHORT]}",
            "bold",
            "green" if good else "red",
        )


def show_event(screen: Screen, text: EventText) -> None:
    """Print the speaker and the heading on one line, and the body below."""
    rows = text.body.strip("\n").split("\n") if text.body else []
    screen.line(f"{text.speaker:>14}  {text.heading or (rows.pop(0) if rows else '')}", *TONES[text.tone])
    for row in rows:
        screen.line(f"{'':>14}  {row}", *TONES[text.tone][:1])


def _absolute(paths: list[str]) -> list[str]:
    """Absolute paths; relative ones start at the working directory of the command."""
    return [str(Path(path).expanduser().absolute()) for path in paths]


def _decider(name: str | None) -> str:
    try:
        return terminal.acting_as(name, Right.DECIDE)
    except OrchestraError:
        return ""


def _broker_answers() -> bool:
    import redis

    try:
        return bool(notify.redis_client().ping())
    except (redis.RedisError, OSError):
        return False


def _error_text(error: OrchestraError) -> str:
    fields = error.facts.get("fields")
    more = (
        [f"  {name}: {' '.join(complaints)}" for name, complaints in fields.items()] if isinstance(fields, dict) else []
    )
    more = [line for line in more if not line.endswith(error.detail)]  # not the same sentence twice
    return visible("\n".join([error.detail, *more]))
