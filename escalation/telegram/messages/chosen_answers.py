"""The lines of a card that show the chosen answers and the current question. Pure."""

from collections.abc import Iterator

from approvals.presentation.render import one_line
from escalation.channels.base import Notice
from escalation.telegram.messages.answer_draft import Draft, Question
from escalation.telegram.messages.keyboards import MOST_OPTIONS
from escalation.telegram.messages.markup import NOTHING, Piece, lines, quote, words

WIDTHS = (4000, 1000, 400, 150, 60)
"""Characters of each answer; the first width with which all answers fit is used."""
LONGEST_NAME = 60


def describe_chosen_answers(notice: Notice, draft: Draft, *, room: int) -> Piece:
    """Return every answer as it will be sent, if ``room`` (UTF-16 units) allows.

    Otherwise return how many there are.
    """
    now = _describe_current_question(notice, draft)
    for width in WIDTHS:
        text = lines([*_render_chosen(notice, draft, width), now])
        if text.size <= room:
            return text
    number = sum(bool(draft.chosen.get(at)) for at in range(len(notice.questions)))
    counted = words(f"✓ {number} of {len(notice.questions)} answered; too long to be shown here.")
    return next((text for text in (lines([counted, now]), counted) if text.size <= room), NOTHING)


def _render_chosen(notice: Notice, draft: Draft, width: int) -> Iterator[Piece]:
    for number, question in enumerate(notice.questions):
        if labels := draft.chosen.get(number):
            name = quote(one_line(question["header"] or question["question"], LONGEST_NAME))
            answers = [quote(_render_answer(question, notice.hide(label), width)) for label in labels]
            yield words("✓ ") + name + words(": ") + lines(answers, between=", ")


def _render_answer(question: Question, label: str, width: int) -> str:
    """Return an option with the number of its button, or typed text unchanged."""
    offered = [option["label"] for option in question["options"]]
    shown = one_line(label, width)
    return f"{offered.index(label) + 1} · {shown}" if label in offered else shown


def _describe_current_question(notice: Notice, draft: Draft) -> Piece:
    """Return which of several questions the buttons answer, and which options have no button."""
    if not notice.questions:
        return NOTHING
    number, question = len(notice.questions), notice.questions[draft.at]
    name = one_line(question["header"] or question["question"], LONGEST_NAME)
    several = ", several may be chosen" if question["multiSelect"] else ""
    which = words(f"▸ Question {draft.at + 1} of {number}: ") + quote(name) + words(several) if number > 1 else NOTHING
    missing = len(question["options"]) > MOST_OPTIONS
    rest = words(f"Options after {MOST_OPTIONS} have no button: type your answer.") if missing else NOTHING
    return lines([which, rest])
