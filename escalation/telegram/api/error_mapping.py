"""What an error answer of the Bot API means for us. Pure.

Telegram promises nothing about the wording of descriptions; they are matched only where ``error_code`` and
``parameters`` do not say enough, and without regard to case.
"""

import re
from typing import Any

from escalation.errors import (
    BotApiError,
    ChatMoved,
    ChatUnusable,
    NotReached,
    PollerConflict,
    Refused,
    TokenRefused,
    TooManyRequests,
)

NOTHING_CHANGED = "message is not modified"
LOST = (
    "chat not found", "blocked by the user", "deactivated", "initiate conversation", "kicked", "not a member",
    "channel_private", "peer_id_invalid", "chat_id_invalid",
)  # fmt: skip
NOT_WRITABLE = re.compile(
    r"\b(?:topic|chat|channel|peer|forum)_[a-z_]+|\brights?\b|write access|message thread|(?:topic|thread) identifier"
    r"|user_banned|need administrator",
)
"""Of the chat or the topic and not of one message, however Telegram words it: CHAT_WRITE_FORBIDDEN, TOPIC_CLOSED …"""
GONE = ("message to edit not found", "message can't be edited", "message_id_invalid")
TOO_LONG = ("message is too long", "message caption is too long", "text is too long")
BAD_KEYBOARD = ("button_data_invalid", "inline keyboard button", "reply markup is too long")
UNNAMED_PAUSE_S = 5.0
LONGEST_PAUSE_S = 3600.0


def error_for(code: int, description: str, parameters: dict[str, Any], retry_after: str | None) -> BotApiError:
    """The error for an answer that was no success; an empty ``description`` stands for HTML, garbage or nothing."""
    detail = f"{code} {description}".strip() if description else f"HTTP {code} without a proper answer"
    if code == 429:
        return TooManyRequests(detail, retry_after_s=_retry_after_s(parameters.get("retry_after"), retry_after))
    if code == 413:
        return Refused(detail, error_code=code, description=description)
    if code >= 500 or not description:
        return NotReached(detail, may_have_succeeded=True, status=code if code >= 500 else None)
    if (chat := new_chat_id(parameters)) is not None:
        return ChatMoved(detail, chat=chat)
    if code == 401 or (code == 404 and "method" not in description.lower()):
        return TokenRefused(detail, error_code=code, description=description)
    if code == 403 or contains_any(description, LOST) or (code == 400 and NOT_WRITABLE.search(description.lower())):
        return ChatUnusable(detail, error_code=code, description=description)
    if code == 409:
        return PollerConflict(detail)
    return Refused(detail, error_code=code, description=description)


def is_lost(description: str) -> bool:
    """Whether the chat itself is out of reach, for edits, too; what is only closed to new messages is not."""
    return contains_any(description, LOST) or "forbidden:" in description.lower()


def new_chat_id(parameters: dict[str, Any]) -> int | None:
    """The supergroup that the group became."""
    chat = parameters.get("migrate_to_chat_id")
    return chat if isinstance(chat, int) else None


def contains_any(description: str, phrases: tuple[str, ...]) -> bool:
    """Whether Telegram's words hold one of these."""
    lowered = description.lower()
    return any(phrase in lowered for phrase in phrases)


def _retry_after_s(*detail: Any) -> float:
    """Seconds to leave Telegram alone, from whichever place named them."""
    for seconds in detail:
        text = str(seconds)
        if text.isascii() and text.isdigit():
            return min(float(text), LONGEST_PAUSE_S)
    return UNNAMED_PAUSE_S
