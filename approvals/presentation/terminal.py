"""Approvals in a terminal: output, prompts, and finding rows by the start of an id."""

import getpass
import io
import json
import os
import re
import select
import sys
from collections.abc import Callable
from typing import Any, TextIO, TypeVar

from django.contrib.auth import get_user_model
from django.core.management.base import CommandError, CommandParser
from django.db.models import Model, QuerySet

from approvals import commands
from approvals.models import Approval, DecisionSource
from approvals.presentation import render
from approvals.presentation.reading import Extent, extent_of
from approvals.presentation.redacted import record_reveal, shown_of
from approvals.queries import find_approval
from approvals.stop import commands as stops
from approvals.stop import presentation as stop_words
from approvals.templatetags.shown import left
from orchestra.auth.permissions import SHELL, Right, may
from orchestra.errors import Forbidden, OrchestraError
from orchestra.management.accounts import find_account

Row = TypeVar("Row", bound=Model)
SHORT = 8  # characters of an id that people type
SHORTEST_PREFIX = 4
LEFT_OUT = "a part is hidden because it is too large to be searched for secrets; --reveal shows it, and is recorded"
COLOURS = {"bold": "1", "dim": "2", "red": "31", "green": "32", "yellow": "33", "blue": "34", "cyan": "36"}
STATUS_COLOURS = {
    "pending": "yellow",
    "waiting": "yellow",
    "approved": "green",
    "completed": "green",
    "rejected": "red",
    "failed": "red",
    "running": "blue",
}
RISK_COLOURS = {"low": "dim", "medium": "bold", "high": "red"}


class Screen:
    """Where a command prints.

    Callers make texts safe; the screen adds colour on a terminal alone.
    """

    def __init__(self, out: Any, source: TextIO | None = None) -> None:
        self._out = out
        self._source = source or sys.stdin
        self.is_terminal = bool(out.isatty()) and self._source.isatty()
        self._coloured = bool(out.isatty()) and "NO_COLOR" not in os.environ
        stream = getattr(out, "_out", out)
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")  # a terminal without UTF-8 still shows everything

    def line(self, text: str = "", *colours: str) -> None:
        self._out.write(self.tinted(text, *colours))
        self._out.flush()

    def tinted(self, text: str, *colours: str) -> str:
        codes = ";".join(COLOURS[colour] for colour in colours if colour in COLOURS)
        return f"\x1b[{codes}m{text}\x1b[0m" if codes and self._coloured and text else text

    def indented(self, text: str, *colours: str) -> None:
        for row in text.split("\n"):
            self.line(f"    {row}", *colours)

    def prompt(self, text: str, *, while_true: Callable[[], bool]) -> str | None:
        """Return a line typed after the prompt, or None when ``while_true`` gets false or the input
        ends.

        What was typed before the prompt is discarded, because it was not meant as a reply to it.
        """
        _discard_typed_input(self._source)
        self._out.write(text, ending="")
        self._out.flush()
        while while_true():
            if select.select([self._source], [], [], 1.0)[0]:
                typed = self._source.readline()
                return typed.strip() if typed else None
        self.line()
        return None


def _discard_typed_input(source: TextIO) -> None:
    if source.isatty():
        import termios  # imported here, because not every platform has it

        termios.tcflush(source, termios.TCIFLUSH)


def show_approval(screen: Screen, approval: Approval, *, reveal_to: str = "") -> bool:
    """Print what would run, the risk and the time left; return False if a part was too large to be
    shown.

    Secrets are hidden. With ``reveal_to``, the name of the person who reveals them, they are shown
    and the audit records it.
    """
    shown = shown_of(approval, revealed=bool(reveal_to))
    if reveal_to and shown.secrets:
        record_reveal(approval, by=reveal_to, via=DecisionSource.CLI, address=address())
    approval = shown.approval
    demo = " (demo: scripted, not an AI)" if approval.is_demo else ""
    screen.line(
        f"{approval.status} {short_id(approval)}{demo}  {render.one_line(approval.title, 200)}",
        "bold",
        STATUS_COLOURS.get(approval.status, ""),
    )
    if approval.facts.get("warning"):
        screen.line(f"  {render.visible(str(approval.facts['warning']))}", "red")
    blocks = render.without_title(approval, shown.blocks(longest=render.WHOLE))
    show_extent(screen, extent_of(approval, blocks))
    for block in blocks:
        show_block(screen, block)
    if shown.left_out:
        screen.line(f"  ({LEFT_OUT})", "yellow")
    elif shown.secrets and not shown.revealed:
        count = "1 secret is" if shown.secrets == 1 else f"{shown.secrets} secrets are"
        screen.line(
            f"  ({count} hidden; --reveal shows {'it' if shown.secrets == 1 else 'them'}, and is recorded)", "dim"
        )
    why = f", it {render.visible(approval.risk_reason)}" if approval.risk_reason else ""
    screen.line(
        f"  {approval.risk} risk{why}; in {render.visible(approval.working_directory) or 'no directory'}",
        RISK_COLOURS[approval.risk],
    )
    if approval.is_open:
        screen.line(f"  {left(approval)}; digest {approval.input_digest}", "dim")
    return not shown.left_out


def show_extent(screen: Screen, extent: Extent) -> None:
    """Print the size and the last lines of a long request."""
    if not extent.is_long:
        return
    screen.line(f"  Long: {extent.words}. Read it to its end before you approve.", "yellow")
    for ending in extent.endings:
        screen.line(f"  {ending.label} ends with:", "dim")
        screen.indented(ending.text, "yellow")


def confirms_reading(screen: Screen, extent: Extent, *, while_true: Callable[[], bool]) -> bool:
    """Prompt for the confirmation that a long request was read to its end; a short one needs none."""
    if not extent.is_long:
        return True
    typed = screen.prompt(
        f"This has {extent.words}. Type read once you have read it to its end: ", while_true=while_true
    )
    return (typed or "").lower() == "read"


def show_block(screen: Screen, block: render.Block) -> None:
    screen.line(f"  {block.label}:", "dim")
    if block.kind == "diff":
        for line in block.lines:
            colour = {"add": "green", "del": "red", "hunk": "dim"}.get(line.kind, "")
            screen.line(f"    {line.text}" if line.kind == "hunk" else f"    {line.sign} {line.text}", colour)
        if not block.lines:
            screen.line("    No difference.")
    else:
        screen.indented(
            ("$ " if block.kind == "command" else "") + block.text, "cyan" if block.kind == "command" else ""
        )
    for remark, colour in ((block.note, "dim"), (block.cut, "yellow")):
        if remark:
            screen.line(f"  ({remark})", colour)


def prompt_for_decision(screen: Screen, approval: Approval, *, by: str, all_shown: bool = True) -> None:
    """Prompt for a decision on the request just shown; a decision on another surface ends the
    prompt.
    """

    def still_open() -> bool:
        return find_approval(approval.pk).is_open

    typed = screen.prompt("[a]pprove / approve with a [n]ote / [r]eject / [s]kip? ", while_true=still_open)
    choice = (typed or "s").lower()[:1]
    if choice not in ("a", "n", "r"):
        now = find_approval(approval.pk)
        screen.line(
            outcome_line(now)
            if not now.is_open
            else f"Skipped; answer later with ./manage.py approvals approve {short_id(approval)}",
            "dim",
        )
        return
    answers, reason, note = "", "", ""
    if choice in ("a", "n") and not all_shown:
        screen.line(f"Not approved: {LEFT_OUT}.", "yellow")
        return
    if choice in ("a", "n") and not confirms_reading(screen, extent_of(approval), while_true=still_open):
        screen.line("Not approved: it has not been read to its end.", "yellow")
        return
    if choice in ("a", "n") and render.questions_of(approval):
        answers = _typed_answers(screen, approval, still_open)
    if choice == "r":
        reason = screen.prompt("What should the agent do instead? (optional) ", while_true=still_open) or ""
    if choice == "n":
        note = screen.prompt("Note to the agent: ", while_true=still_open) or ""
    decision = Approval.Status.REJECTED if choice == "r" else Approval.Status.APPROVED
    try:
        decided = record_decision(approval, decision=decision, by=by, reason=reason, note=note, answers=answers)
    except OrchestraError as error:
        screen.line(f"Not recorded. {render.visible(error.detail)}", "yellow")
    else:
        screen.line(outcome_line(decided), STATUS_COLOURS[decided.status])


def _typed_answers(screen: Screen, approval: Approval, still_open: Callable[[], bool]) -> str:
    typed = [
        screen.prompt(f"{render.one_line(question['question'], 200)} ", while_true=still_open) or ""
        for question in render.questions_of(shown_of(approval).approval)
    ]
    return answers_in_order(approval, typed)


def answers_in_order(approval: Approval, typed: list[str]) -> str:
    """Pair the n-th text with the n-th question and leave out empty texts.

    Returns JSON text, or an empty text if there is no answer.
    """
    questions = render.questions_of(approval)
    given = {question["question"]: text for question, text in zip(questions, typed, strict=False) if text}
    return json.dumps(given) if given else ""


def record_decision(
    approval: Approval,
    *,
    decision: str,
    by: str,
    reason: str = "",
    note: str = "",
    updated_input: str = "",
    answers: str = "",
) -> Approval:
    """Record a decision on what was shown: the digest is that of the row that the person saw."""
    return commands.decide_approval(
        approval_id=approval.pk, decision=decision, by=by, via=DecisionSource.CLI, reason=reason,
        updated_input=updated_input, answers=answers, seen_digest=approval.input_digest, address=address(), note=note,
    )  # fmt: skip


def print_stop_notice(screen: Screen) -> None:
    """Print that all agents are stopped, if they are."""
    if stop := stops.current_stop():
        screen.line(stop_words.headline(stop), "bold", "red")
        screen.line(f"  {stop_words.effect(stop)} Deadlines stand still. Lift it with: ./manage.py resume", "dim")


def outcome_line(approval: Approval) -> str:
    """Return how a request ended, in one line."""
    who = f" by {render.visible(approval.decided_by)}" if approval.decided_by else ""
    via = f" via {approval.decided_via}" if approval.decided_via else ""
    hide = shown_of(approval).hide
    reason = f": {render.one_line(hide(approval.reason), 300)}" if approval.reason else ""
    note = f" (note: {render.one_line(hide(approval.note), 300)})" if approval.note else ""
    return f"{short_id(approval)} {approval.status}{who}{via}{reason}{note}"


def add_reveal_option(parser: CommandParser) -> None:
    parser.add_argument("--reveal", action="store_true", help="show secrets in clear; the audit notes it")


def add_user_option(parser: CommandParser) -> None:
    parser.add_argument("--user", metavar="NAME", help="act as this account (default: shell:<your login name>)")


def acting_as(name: str | None, *rights: Right) -> str:
    """Return the name under which a command acts; the account ``name`` needs one of ``rights``.

    Without a name it is the login name on this machine, unchecked: a person with a shell here can
    write to the database anyway.

    Raises:
        CommandError: the account does not exist.
        Forbidden: the account is not active, or lacks the rights now.
    """
    if not name:
        return f"{SHELL}{getpass.getuser()}"
    user = find_account(name)
    if not any(may(user, right) for right in rights):
        raise Forbidden(f"{name} has no right to do this.")
    return str(getattr(user, get_user_model().USERNAME_FIELD))


def address() -> str:
    """Return the address of the person at this terminal, for the audit."""
    connection = os.environ.get("SSH_CONNECTION", "").split()
    return connection[0] if connection else "terminal"


def short_id(row: Model) -> str:
    """Return the first characters of an id, which people read and type."""
    return str(row.pk)[:SHORT]


def find_by_prefix(rows: QuerySet[Row], text: str, what: str) -> Row:
    """Return the only row whose id starts with ``text``, with or without dashes.

    Raises:
        CommandError: no row matches, or several do.
    """
    digits = text.lower().replace("-", "")
    if not re.fullmatch(rf"[0-9a-f]{{{SHORTEST_PREFIX},32}}", digits):
        raise CommandError(f"{render.visible(text)!r} is no id: give at least {SHORTEST_PREFIX} of its characters.")
    parts = [digits[start:end] for start, end in ((0, 8), (8, 12), (12, 16), (16, 20), (20, 32)) if digits[start:end]]
    found = list(rows.filter(pk__startswith="-".join(parts))[:3])
    if not found:
        raise CommandError(f"There is no {what} {text}.")
    if len(found) > 1:
        raise CommandError(f"Several {what}s start with {text}: {', '.join(str(row.pk) for row in found)} …")
    return found[0]
