"""What a message shows while its request is open.

This is the card, a pending rejection, or the buttons to decide below the full text.
"""

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Self

from escalation.channels.base import Notice
from escalation.models import Message
from escalation.telegram.messages import render
from escalation.telegram.messages.answer_draft import Draft
from escalation.telegram.messages.message import Card

DRAFT, REJECTING = "draft", "rejecting"
WINDOW = timedelta(seconds=60)
"""How long a rejection waits for its reason."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Rejection:
    """A person pressed Reject and was asked for a reason.

    From ``until`` on it counts without one.
    """

    by: str
    telegram_user: int
    address: str
    until: datetime

    @classmethod
    def read_from(cls, message: Message) -> Self | None:
        """Return the pending rejection of this message, or None."""
        stored = message.value.get(REJECTING)
        return cls(**stored | {"until": datetime.fromisoformat(stored["until"])}) if stored else None

    def to_json(self) -> dict[str, Any]:
        """Return the dict that `Message.value` stores."""
        return {
            "by": self.by, "telegram_user": self.telegram_user, "address": self.address,
            "until": self.until.isoformat(),
        }  # fmt: skip


def render_open_message(message: Message, notice: Notice) -> Card:
    """Render the present state of an open request's card, copy, or decision below the full text."""
    rejection = Rejection.read_from(message)
    if rejection is not None:
        shown = message.text or render.render_card(notice).text
        return render.render_rejecting(notice, who=rejection.by, shown=shown, seconds=int(WINDOW.total_seconds()))
    draft = draft_on(message)
    return (
        render.render_decision(notice, draft)
        if message.kind == Message.Kind.DECISION
        else render.render_card(notice, draft)
    )


def draft_on(message: Message) -> Draft:
    return Draft.read(message.value.get(DRAFT, {}))
