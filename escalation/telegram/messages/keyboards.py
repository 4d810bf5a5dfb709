"""The inline keyboards of cards. Pure."""

from urllib.parse import urlsplit

from approvals.presentation.render import one_line
from escalation.channels.base import Notice
from escalation.models import Button
from escalation.telegram.messages.answer_draft import Draft, is_single_choice
from escalation.telegram.messages.message import InlineButton, Row

Action = Button.Action
LONGEST_LABEL = 56  # a phone shows about half of it, after the number of the option
MOST_OPTIONS = 40  # Bot API: 100 buttons and about 10 KB a keyboard

REJECT = InlineButton(label="Reject", action=Action.REJECT)


def decision_keyboard(notice: Notice, draft: Draft) -> tuple[Row, ...]:
    """Return the buttons for a card that shows the full request."""
    if notice.questions:
        return (*_question_keyboard(notice, draft), *_details_row(notice))
    session = (
        ((InlineButton(label=notice.session_label, action=Action.APPROVE_SESSION),),) if notice.for_session else ()
    )
    note = (InlineButton(label="Approve with a note…", action=Action.NOTE),)
    return ((InlineButton(label="Approve", action=Action.APPROVE), REJECT), note, *session, *_details_row(notice))


def cut_keyboard(notice: Notice) -> tuple[Row, ...]:
    """Return the buttons for a cut card. None of them approves."""
    return ((InlineButton(label="Show all", action=Action.SHOW_ALL), REJECT), *_details_row(notice))


def rejecting_keyboard(notice: Notice) -> tuple[Row, ...]:
    """Return the buttons for the time in which a reason is awaited."""
    now, undo = (
        InlineButton(label="Reject now", action=Action.REJECT_NOW),
        InlineButton(label="Keep open", action=Action.KEEP_OPEN),
    )
    return ((now, undo), *_details_row(notice))


def reopening_keyboard() -> tuple[Row, ...]:
    """Return the button of a request that was rejected, expired or withdrawn."""
    return ((InlineButton(label="Ask again", action=Action.REOPEN),),)


def _question_keyboard(notice: Notice, draft: Draft) -> tuple[Row, ...]:
    questions, at = notice.questions, draft.at
    chosen = [notice.hide(label) for label in draft.chosen.get(at, ())]
    rows: list[Row] = []
    for number, option in enumerate(questions[at]["options"][:MOST_OPTIONS]):
        mark = "✓ " if option["label"] in chosen else ""
        value = {"question": at, "option": number}
        rows.append(
            (InlineButton(label=f"{mark}{number + 1} · {_label(option['label'])}", action=Action.OPTION, value=value),)
        )
    own = draft.typed_answers(questions, at, notice.hide) if questions[at]["multiSelect"] else []
    rows += [(_typed_answer_button(at, text, notice.hide(text)),) for text in own]
    rows.append((InlineButton(label="Type an answer", action=Action.ANSWER, value={"question": at}),))
    if not is_single_choice(questions):
        rows += _navigation_rows(notice, draft)
    return (*rows, (REJECT,))


def _typed_answer_button(at: int, text: str, shown: str) -> InlineButton:
    """Return the button that removes a typed ``text`` from the answers."""
    return InlineButton(label=f"✓ “{_label(shown)}”", action=Action.OPTION, value={"question": at, "own": text})


def _navigation_rows(notice: Notice, draft: Draft) -> list[Row]:
    """Return the buttons between questions, and the one that sends the answers.

    The value of that button holds the answers exactly as the card shows them.
    """
    last = len(notice.questions) - 1
    back = [InlineButton(label="« Back", action=Action.OPTION, value={"question": draft.at - 1})] if draft.at else []
    on = (
        [InlineButton(label="Next »", action=Action.OPTION, value={"question": draft.at + 1})]
        if draft.at < last
        else []
    )
    rows: list[Row] = [(*back, *on)] if back or on else []
    if draft.is_complete(notice.questions):
        rows.append((InlineButton(label="Send answers", action=Action.SUBMIT, value=draft.to_json()),))
    return rows


def _details_row(notice: Notice) -> tuple[Row, ...]:
    """Return the link button. Telegram refuses the whole card if the host of a link has no dot."""
    fits = "." in (urlsplit(notice.details_url).hostname or "")
    return ((InlineButton(label="Details", url=notice.details_url),),) if fits else ()


def _label(text: str) -> str:
    return one_line(text, LONGEST_LABEL) or "(empty)"
