"""Map error responses of the Bot API to exceptions, and to advice for an operator. Pure.

Telegram does not guarantee the wording of descriptions. They are matched, regardless of case, only
where ``error_code`` and ``parameters`` are not enough.
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
"""Matches refusals of the chat or topic, not of one message: CHAT_WRITE_FORBIDDEN, TOPIC_CLOSED …"""
GONE = ("message to edit not found", "message can't be edited", "message_id_invalid")
TOO_LONG = ("message is too long", "message caption is too long", "text is too long")
BAD_KEYBOARD = ("button_data_invalid", "inline keyboard button", "reply markup is too long")
CURES: tuple[tuple[tuple[str, ...], str], ...] = (
    (
        ("topic_closed",),
        "Reopen the topic in the group, let the bot manage topics, or set another TELEGRAM_TOPIC_ID and restart.",
    ),
    (
        ("topic_deleted", "topic_id_invalid", "message thread", "topic identifier", "thread identifier"),
        "The topic is gone: set TELEGRAM_TOPIC_ID to one that exists, or leave it empty, and restart.",
    ),
    (
        ("not enough rights", "no rights", "no write access", "chat_write_forbidden", "chat_restricted", "chat_send_",
         "chat_admin_required", "user_banned", "need administrator"),
        "Let the bot send messages: see the group's permissions, or make the bot an administrator.",
    ),
    (("blocked by the user", "user is deactivated", "initiate conversation"), "Unblock the bot, write /start to it."),
    (("kicked", "not a member", "channel_private", "was deleted", "deactivated"), "Add the bot to the group again."),
    (
        ("chat not found", "peer_id_invalid", "chat_id_invalid"),
        "Set TELEGRAM_CHAT_ID to a chat that the bot has seen (./manage.py telegram check), or write /start to it.",
    ),
    (("unauthorized", "token"), "Put the bot's token of today into TELEGRAM_BOT_TOKEN and restart."),
    (
        ("button", "reply markup", "parse", "too long", "must be non-empty", "is empty", "entit", "message_"),
        "Telegram does not take the form of this message: please report it, and decide in the console.",
    ),
)  # fmt: skip
GENERAL_CURE = "./manage.py telegram check tries it; decide in the console meanwhile."
UNNAMED_PAUSE_S = 5.0
LONGEST_PAUSE_S = 3600.0


def error_for(code: int, description: str, parameters: dict[str, Any], retry_after: str | None) -> BotApiError:
    """Return the error for an unsuccessful response.

    An empty ``description`` stands for HTML, garbage or no body.
    """
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
    """Return True if edits in the chat fail too.

    In a chat that only rejects new messages they do not.
    """
    return contains_any(description, LOST) or "forbidden:" in description.lower()


def new_chat_id(parameters: dict[str, Any]) -> int | None:
    """Return the id of the supergroup that the group became, or None."""
    chat = parameters.get("migrate_to_chat_id")
    return chat if isinstance(chat, int) else None


def contains_any(description: str, phrases: tuple[str, ...]) -> bool:
    """Return True if Telegram's description contains one of the ``phrases``."""
    lowered = description.lower()
    return any(phrase in lowered for phrase in phrases)


def cure_for(description: str) -> str:
    """Return what to do about a refusal, in one or two sentences."""
    lowered = description.lower()
    return next((cure for signs, cure in CURES if any(sign in lowered for sign in signs)), GENERAL_CURE)


def _retry_after_s(*candidates: Any) -> float:
    """Return the first valid pause in seconds.

    Telegram sends it in the body, in a header, or not at all.
    """
    for seconds in candidates:
        text = str(seconds)
        if text.isascii() and text.isdigit():
            return min(float(text), LONGEST_PAUSE_S)
    return UNNAMED_PAUSE_S
