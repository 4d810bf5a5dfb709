"""Which buttons stand below a card. Pure."""

from approvals.render import one_line
from escalation.channels.base import Notice
from escalation.channels.telegram.card import Key, Row
from escalation.channels.telegram.draft import Draft, answers_at_once
from escalation.models import Button

A = Button.Action
LONGEST_LABEL = 60  # a phone shows about half of it
MOST_OPTIONS = 40  # Bot API: 100 buttons and about 10 KB a keyboard

REJECT = Key(label="Reject", action=A.REJECT)


def decision_keys(notice: Notice, draft: Draft) -> tuple[Row, ...]:
    """For somebody who has seen all of it."""
    if notice.questions:
        return (*_question_keys(notice, draft), *_details(notice))
    session = ((Key(label=notice.session_label, action=A.APPROVE_SESSION),),) if notice.for_session else ()
    return ((Key(label="Approve", action=A.APPROVE), REJECT), *session, *_details(notice))


def cut_keys(notice: Notice) -> tuple[Row, ...]:
    """For somebody who has seen a part: nothing that lets anything run."""
    return ((Key(label="Show all", action=A.SHOW_ALL), REJECT), *_details(notice))


def rejecting_keys(notice: Notice) -> tuple[Row, ...]:
    """While a reason for a rejection is awaited."""
    now, undo = Key(label="Reject now", action=A.REJECT_NOW), Key(label="Keep open", action=A.KEEP_OPEN)
    return ((now, undo), *_details(notice))


def _question_keys(notice: Notice, draft: Draft) -> tuple[Row, ...]:
    questions, at = notice.questions, draft.at
    chosen = [notice.hide(label) for label in draft.chosen.get(at, ())]
    rows: list[Row] = []
    for number, option in enumerate(questions[at]["options"][:MOST_OPTIONS]):
        mark = "✓ " if option["label"] in chosen else ""
        value = {"question": at, "option": number}
        rows.append((Key(label=mark + _label(option["label"]), action=A.OPTION, value=value),))
    rows.append((Key(label="Type an answer", action=A.ANSWER, value={"question": at}),))
    if not answers_at_once(questions):
        rows += _steps(notice, draft)
    return (*rows, (REJECT,))


def _steps(notice: Notice, draft: Draft) -> list[Row]:
    """From question to question, and to the end; the last press carries what the person saw as chosen."""
    last = len(notice.questions) - 1
    back = [Key(label="« Back", action=A.OPTION, value={"question": draft.at - 1})] if draft.at else []
    on = [Key(label="Next »", action=A.OPTION, value={"question": draft.at + 1})] if draft.at < last else []
    rows: list[Row] = [(*back, *on)] if back or on else []
    if draft.complete(notice.questions):
        rows.append((Key(label="Send answers", action=A.SUBMIT, value=draft.kept()),))
    return rows


def _details(notice: Notice) -> tuple[Row, ...]:
    # Bot API: a link button needs a host with a dot
    return ((Key(label="Details", url=notice.details_url),),) if notice.details_url else ()


def _label(text: str) -> str:
    return one_line(text, LONGEST_LABEL) or "(empty)"
