"""From a notice to what stands in the chat. Pure."""

import html
from collections.abc import Sequence

from escalation.channels.base import Notice, Outcome
from escalation.channels.telegram.card import Card, Key
from escalation.models import Button

A = Button.Action


def card(notice: Notice) -> Card:
    """The question, whole if it fits, with the buttons that fit it."""
    keys = (
        (Key(label="Approve", action=A.APPROVE), Key(label="Reject", action=A.REJECT)),
        *(((Key(label="Approve for session", action=A.APPROVE_SESSION),),) if notice.for_session else ()),
    )
    return Card(text=f"<b>{_quoted(notice.title)}</b>", plain=notice.title, keys=keys)


def settled(notice: Notice, outcome: Outcome, *, shown: str) -> Card:
    """The message whose HTML was ``shown``, as it stands once the approval is closed: no buttons."""
    told = f"{outcome.status} by {outcome.decided_by or 'nobody'} via {outcome.decided_via or 'the clock'}"
    return Card(text=f"{_quoted(told)}\n{shown}", plain=f"{told}\n{notice.title}")


def outcome_only(notice: Notice, outcome: Outcome) -> Card:
    """A new message that tells the outcome, where the old one cannot be edited any more."""
    return settled(notice, outcome, shown=f"<b>{_quoted(notice.title)}</b>")


def reminder(notice: Notice) -> Card:
    """Sent in reply to the card shortly before the deadline."""
    text = f"Still open, {notice.seconds_left / 60:.0f} min left: {notice.title}"
    return Card(text=_quoted(text), plain=text)


def several(items: Sequence[tuple[Notice, Outcome | None]]) -> Card:
    """Up to `MOST_IN_A_LIST` questions in one message, a line and a "show" key each; closed ones tell their outcome.

    Sent when more wait than Telegram takes as single cards; ``SHOW`` carries ``{"approval": id}``.
    """
    lines, keys = [], []
    for number, (notice, outcome) in enumerate(items, 1):
        state = outcome.status if outcome else "open"
        lines.append(f"{number}. [{state}] {notice.title[:100]}")
        if outcome is None:
            keys.append(Key(label=str(number), action=A.SHOW, value={"approval": str(notice.approval_id)}))
    rows = tuple(tuple(keys[at : at + 5]) for at in range(0, len(keys), 5))
    text = "\n".join(lines)
    return Card(text=_quoted(text), plain=text, keys=rows)


MOST_IN_A_LIST = 15


def _quoted(text: str) -> str:
    return html.escape(text, quote=False)
