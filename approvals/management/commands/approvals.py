"""``manage.py approvals list | show | approve | reject | reopen | watch``: approvals in a terminal."""

import logging
import sys
import threading
from pathlib import Path
from typing import Any
from uuid import UUID

from django.core.management.base import BaseCommand, CommandError, CommandParser

from approvals import reopening
from approvals.errors import ApprovalExpired
from approvals.models import Approval, DecisionSource
from approvals.presentation import render, terminal
from approvals.presentation.reading import extent_of
from approvals.presentation.redacted import hidden_text, shown_of
from approvals.presentation.terminal import RISK_COLOURS, STATUS_COLOURS, Screen
from approvals.queries import open_approvals, readable_approvals
from approvals.templatetags.shown import ago, left
from orchestra.auth.permissions import Right
from orchestra.db.notify import listener
from orchestra.errors import OrchestraError

POLL_S = 1.0
MOST_LISTED = 200


class Command(BaseCommand):
    help = "Read and decide approval requests. Needs the database alone."
    requires_system_checks: list[str] = []  # the checks load every route, which takes longer than the command

    def add_arguments(self, parser: CommandParser) -> None:
        verbs = parser.add_subparsers(dest="verb", required=True, metavar="VERB")
        listing = verbs.add_parser("list", help="open requests, the most urgent first")
        listing.add_argument("--all", action="store_true", help="closed ones, too")
        listing.add_argument("--json", action="store_true")
        show = verbs.add_parser("show", help="what would run, and what happened so far")
        show.add_argument("id")
        show.add_argument("--json", action="store_true", help="as the REST interface gives it, secrets in clear")
        terminal.add_reveal_option(show)
        terminal.add_user_option(show)
        approve = verbs.add_parser("approve", help="let it run")
        approve.add_argument("--edit", metavar="FILE", help="run the JSON in FILE instead (- reads it from stdin)")
        approve.add_argument(
            "--answer",
            action="append",
            default=[],
            metavar="TEXT",
            help="answer to the agent's question; once for each, in order",
        )
        approve.add_argument("--read", action="store_true", help="you have read it to its end; needed where it is long")
        approve.add_argument("--note", default="", help="guidance that the agent reads with the result")
        reject = verbs.add_parser("reject", help="do not let it run")
        for verb in (approve, reject):
            verb.add_argument("id", help="the id or its first characters")
            verb.add_argument("--reason", default="", help="the agent reads it after a rejection")
            terminal.add_user_option(verb)
            terminal.add_reveal_option(verb)
        reopen = verbs.add_parser("reopen", help="ask again what was rejected, expired or withdrawn")
        reopen.add_argument("id", help="the id or its first characters")
        terminal.add_user_option(reopen)
        watch = verbs.add_parser("watch", help="print requests as they come, and decide them on a terminal")
        terminal.add_user_option(watch)
        terminal.add_reveal_option(watch)

    def handle(self, *args: Any, **options: Any) -> None:
        screen = Screen(self.stdout)
        try:
            getattr(self, f"_{options['verb']}")(screen, options)
        except ApprovalExpired:
            raise CommandError("Too late: its time is up. It did not run, and nothing was recorded.") from None
        except OrchestraError as error:
            raise CommandError(render.visible(error.detail)) from None

    def _list(self, screen: Screen, options: dict[str, Any]) -> None:
        rows = readable_approvals()
        rows = (
            rows.order_by("-created_at")
            if options["all"]
            else rows.filter(status=Approval.Status.PENDING).order_by("expires_at")
        )
        found = list(rows[:MOST_LISTED])
        if options["json"]:
            from approvals.rest.serializers import ApprovalSerializer

            screen.line(as_json(ApprovalSerializer(found, many=True).data))
            return
        terminal.print_stop_notice(screen)
        for approval in found:
            when = left(approval) if approval.is_open else ago(approval.decided_at)
            status = screen.tinted(f"{approval.status:<9}", STATUS_COLOURS.get(approval.status, ""))
            risk = screen.tinted(f"{approval.risk:<6}", RISK_COLOURS[approval.risk])
            demo = "[demo] " if approval.is_demo else ""
            title = demo + render.one_line(hidden_text(approval.title), 100)
            screen.line(f"{terminal.short_id(approval)}  {status}  {risk}  {when:<15}  {title}")
        if not found:
            screen.line("Nothing waits for a person.")

    def _show(self, screen: Screen, options: dict[str, Any]) -> None:
        approval = terminal.find_by_prefix(readable_approvals(), options["id"], "approval")
        if options["json"]:
            from approvals.rest.serializers import ApprovalSerializer

            screen.line(as_json(ApprovalSerializer(approval).data))
            return
        terminal.show_approval(screen, approval, reveal_to=_revealing_user(options))
        hide = shown_of(approval, revealed=options["reveal"]).hide
        for entry in approval.audit.order_by("id"):
            by = f" by {render.visible(entry.by)}" if entry.by else ""
            reason = f": {render.one_line(hide(entry.reason), 200)}" if entry.reason else ""
            lost = "" if entry.won else " (changed nothing)"
            screen.line(f"  {entry.at:%H:%M:%Approval.Status} {entry.action}{by} via {entry.via}{lost}{reason}", "dim")

    def _approve(self, screen: Screen, options: dict[str, Any]) -> None:
        self._decide(screen, options, Approval.Status.APPROVED)

    def _reject(self, screen: Screen, options: dict[str, Any]) -> None:
        self._decide(screen, options, Approval.Status.REJECTED)

    def _decide(self, screen: Screen, options: dict[str, Any], decision: str) -> None:
        by = terminal.acting_as(options["user"], Right.DECIDE)
        approval = terminal.find_by_prefix(Approval.objects.all(), options["id"], "approval")
        answers = terminal.answers_in_order(approval, options.get("answer", []))
        if decision == Approval.Status.APPROVED and render.questions_of(approval) and not answers:
            raise CommandError("The agent asks a question: give --answer TEXT, once for each question, or reject.")
        edited = _edited(options["edit"]) if options.get("edit") else ""
        if approval.is_open:
            all_shown = terminal.show_approval(screen, approval, reveal_to=by if options["reveal"] else "")
            if decision == Approval.Status.APPROVED and not all_shown:
                raise CommandError(f"Not approved: {terminal.LEFT_OUT}.")
            if decision == Approval.Status.APPROVED and not options["read"]:
                _require_reading(screen, approval)
        decided = terminal.record_decision(
            approval, decision=decision, by=by, reason=options["reason"], updated_input=edited, answers=answers,
            note=options.get("note", ""),
        )  # fmt: skip
        screen.line(terminal.outcome_line(decided), STATUS_COLOURS[decided.status])
        terminal.print_stop_notice(screen)

    def _reopen(self, screen: Screen, options: dict[str, Any]) -> None:
        by = terminal.acting_as(options["user"], Right.DECIDE)
        old = terminal.find_by_prefix(Approval.objects.all(), options["id"], "approval")
        fresh = reopening.reopen_approval(approval_id=old.pk, by=by, via=DecisionSource.CLI, address=terminal.address())
        terminal.show_approval(screen, fresh)
        screen.line(f"{terminal.short_id(old)} is asked again as {fresh.pk}")

    def _watch(self, screen: Screen, options: dict[str, Any]) -> None:
        by = terminal.acting_as(options["user"], Right.DECIDE)
        changes = ChangeListener()
        screen.line("Waiting for approval requests; Ctrl-C ends this, nothing else.", "dim")
        terminal.print_stop_notice(screen)
        seen: set[UUID] = set()
        try:
            while True:
                for approval in open_approvals():
                    if approval.pk not in seen:
                        seen.add(approval.pk)
                        offer_request(screen, approval, by=by, reveal=options["reveal"])
                changes.wait()
        except KeyboardInterrupt:
            screen.line()


class ChangeListener:
    """Waits for the next notification of any topic, or ``POLL_S`` seconds."""

    def __init__(self) -> None:
        # Without Redis the poll does the work; a warning each second would flood the terminal.
        logging.getLogger("orchestra.db.notify").setLevel(logging.ERROR)
        self._notified = threading.Event()
        listener.add(lambda topic, key: self._notified.set())

    def wait(self) -> None:
        self._notified.wait(POLL_S)
        self._notified.clear()


def _revealing_user(options: dict[str, Any]) -> str:
    """Return the name under which secrets are revealed; empty if they stay hidden."""
    return terminal.acting_as(options["user"], Right.READ) if options["reveal"] else ""


def offer_request(screen: Screen, approval: Approval, *, by: str, reveal: bool = False) -> None:
    """Show a new request, and prompt for a decision on a terminal; otherwise print the commands
    that decide it.
    """
    screen.line()
    all_shown = terminal.show_approval(screen, approval, reveal_to=by if reveal else "")
    if screen.is_terminal:
        terminal.prompt_for_decision(screen, approval, by=by, all_shown=all_shown)
        return
    answer = " --answer TEXT" if render.questions_of(approval) else ""
    screen.line(f"  ./manage.py approvals approve {terminal.short_id(approval)}{answer}")
    screen.line(f"  ./manage.py approvals reject {terminal.short_id(approval)} --reason TEXT")


def _require_reading(screen: Screen, approval: Approval) -> None:
    """
    Raises:
        CommandError: the request is long, and the person has not confirmed to have read it.
    """
    extent = extent_of(approval)
    if not extent.is_long:
        return
    if not screen.is_terminal:
        raise CommandError(
            f"Not approved: it is long ({extent.words}). Read it to its end, as printed above, then add --read."
        )
    if not terminal.confirms_reading(screen, extent, while_true=lambda: True):
        raise CommandError("Not approved: it has not been read to its end.")


def as_json(data: Any) -> str:
    """Return the JSON of the REST surface in ASCII, so that no character in it can control the
    terminal.
    """
    from orchestra.rest import exact_json

    return render.exact_json(exact_json.dumps(data))


def _edited(name: str) -> str:
    try:
        text = sys.stdin.read() if name == "-" else Path(name).read_text("utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise CommandError(f"{name} cannot be read: {error}") from None
    return render.exact_json(text) or "{}"
