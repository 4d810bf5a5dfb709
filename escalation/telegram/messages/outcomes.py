"""The lines that show how a request closed. They stay on its card for good. Pure."""

import json
from collections.abc import Callable, Iterator

from approvals.presentation.readable import in_one_line
from approvals.presentation.render import one_line
from approvals.presentation.surfaces import names_of
from escalation.channels.base import Notice, Outcome
from escalation.telegram.messages.markup import (
    NOTHING,
    Piece,
    count_units,
    day_and_time,
    lines,
    quote,
    remark,
    strong,
    truncate,
    words,
)

LONGEST_NAME = 60
WHOLE = 1_000_000
SIZES = ((4000, 100), (1500, 100), (600, 40), (300, 20), (150, 8), (100, 4), (60, 2))
"""Characters of each answer and of the reason, and answers shown; the first that fits is used."""
OUTCOMES = {
    "approved": ("✅", "Approved"), "rejected": ("⛔", "Rejected"),
    "expired": ("⌛", "Nobody answered in time"), "cancelled": ("⚪", "Withdrawn"),
}  # fmt: skip


def describe_outcome(notice: Notice, outcome: Outcome, *, fits: Callable[[Piece], bool]) -> Piece:
    """Return who decided what, when, on which surface, with which answers and why.

    Cut parts are counted.
    """
    text = NOTHING
    for width, most in SIZES:
        text = _describe(notice, outcome, width, most)
        if fits(text):
            break
    return text


def mark_and_verb(outcome: Outcome) -> tuple[str, str]:
    mark, verb = OUTCOMES.get(outcome.status, ("•", outcome.status))
    return mark, "Answered" if outcome.answers and outcome.status == "approved" else verb


def _describe(notice: Notice, outcome: Outcome, width: int, most: int) -> Piece:
    answers = _answers(outcome.answers)
    shown = dict(list(answers.items())[:most])
    reason = outcome.reason if outcome.status != "expired" else ""
    kept = [quote(one_line(name, LONGEST_NAME)) + words(" → ") + _shorten(text, width) for name, text in shown.items()]
    why = words("Reason: ") + _shorten(reason, width) if reason else NOTHING
    note = words("Note to the agent: ") + _shorten(outcome.note, width) if outcome.note else NOTHING
    again = words("Asked again: see the new card.") if outcome.asked_again else NOTHING
    missing = sum(_count_missing(text, width) for text in (*shown.values(), reason, outcome.note))
    cut = _describe_cut(notice, missing, len(answers) - len(shown))
    return lines([_render_first_line(outcome), *_render_scope(outcome), *kept, why, note, again, cut])


def _render_first_line(outcome: Outcome) -> Piece:
    mark, verb = mark_and_verb(outcome)
    who = words(" by ") + quote(one_line(outcome.decided_by, LONGEST_NAME)) if outcome.decided_by else NOTHING
    surface = words(f" {names_of(outcome.decided_via).in_message}".rstrip())
    at = words(", ") + day_and_time(outcome.decided_at) if outcome.decided_at else NOTHING
    return words(f"{mark} ") + strong(verb) + who + surface + at


def _render_scope(outcome: Outcome) -> Iterator[Piece]:
    if outcome.scope == "session" and outcome.status == "approved":
        yield words(outcome.session_scope or "The same call passes for the rest of the session.")
    if outcome.edited:
        yield words("As edited: not what is shown here ran, but what the person made of it.")


def _describe_cut(notice: Notice, characters: int, answers: int) -> Piece:
    """Return how much is not shown, and where to read all of it."""
    parts = [f"{answers:,} more answer{'' if answers == 1 else 's'}"] if answers > 0 else []
    parts += [f"{characters:,} more characters"] if characters else []
    where = notice.details_url or "the console"
    return remark(f"✂️ Cut: {' and '.join(parts)}. The whole of it: {where}") if parts else NOTHING


def _shorten(text: str, width: int) -> Piece:
    shown = one_line(text, WHOLE)
    return quote(shown if count_units(shown) <= width else truncate(shown, width - 1) + "…")


def _count_missing(text: str, width: int) -> int:
    shown = one_line(text, WHOLE)
    return len(shown) - len(truncate(shown, width - 1)) if count_units(shown) > width else 0


def _answers(text: str) -> dict[str, str]:
    given = json.loads(text) if text else {}
    return {str(question): in_one_line(answer) for question, answer in given.items()}
