"""Which buttons stand below a card. Pure."""

from urllib.parse import urlsplit

from approvals.presentation.render import one_line
from escalation.channels.base import Notice
from escalation.models import Button
from escalation.telegram.inbound.answer_draft import Draft, answers_at_once
from escalation.telegram.messages.message import Key, Row

A = Button.Action
LONGEST_LABEL = 56  # a phone shows about half of it; the number before it tells equal beginnings apart
MOST_OPTIONS = 40  # Bot API: 100 buttons and about 10 KB a keyboard

REJECT = Key(label="Reject", action=A.REJECT)


def decision_keys(notice: Notice, draft: Draft) -> tuple[Row, ...]:
    """For somebody who has seen all of it."""
    if notice.questions:
        return (*_question_keys(notice, draft), *_details(notice))
    session = ((Key(label=notice.session_label, action=A.APPROVE_SESSION),),) if notice.for_session else ()
    note = (Key(label="Approve with a note…", action=A.NOTE),)
    return ((Key(label="Approve", action=A.APPROVE), REJECT), note, *session, *_details(notice))


def cut_keys(notice: Notice) -> tuple[Row, ...]:
    """For somebody who has seen a part: nothing that lets anything run."""
    return ((Key(label="Show all", action=A.SHOW_ALL), REJECT), *_details(notice))


def rejecting_keys(notice: Notice) -> tuple[Row, ...]:
    """While a reason for a rejection is awaited."""
    now, undo = Key(label="Reject now", action=A.REJECT_NOW), Key(label="Keep open", action=A.KEEP_OPEN)
    return ((now, undo), *_details(notice))


def reopening_keys() -> tuple[Row, ...]:
    """Below a request that was rejected, expired or withdrawn."""
    return ((Key(label="Ask again", action=A.REOPEN),),)


def _question_keys(notice: Notice, draft: Draft) -> tuple[Row, ...]:
    questions, at = notice.questions, draft.at
    chosen = [notice.hide(label) for label in draft.chosen.get(at, ())]
    rows: list[Row] = []
    for number, option in enumerate(questions[at]["options"][:MOST_OPTIONS]):
        mark = "✓ " if option["label"] in chosen else ""
        value = {"question": at, "option": number}
        rows.append((Key(label=f"{mark}{number + 1} · {_label(option['label'])}", action=A.OPTION, value=value),))
    own = draft.own_words(questions, at, notice.hide) if questions[at]["multiSelect"] else []
    rows += [(_own_words_key(at, text, notice.hide(text)),) for text in own]
    rows.append((Key(label="Type an answer", action=A.ANSWER, value={"question": at}),))
    if not answers_at_once(questions):
        rows += _steps(notice, draft)
    return (*rows, (REJECT,))


def _own_words_key(at: int, text: str, shown: str) -> Key:
    """It takes ``text`` back, which somebody had typed."""
    return Key(label=f"✓ “{_label(shown)}”", action=A.OPTION, value={"question": at, "own": text})


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
    """A link button needs a host with a dot (Bot API): with another the whole card would be refused."""
    fits = "." in (urlsplit(notice.details_url).hostname or "")
    return ((Key(label="Details", url=notice.details_url),),) if fits else ()


def _label(text: str) -> str:
    return one_line(text, LONGEST_LABEL) or "(empty)"
