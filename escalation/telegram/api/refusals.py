"""What an operator should do about a refusal by Telegram. Pure.

Telegram does not guarantee the wording of descriptions, so an unknown one gets the general advice.
"""

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


def cure_for(description: str) -> str:
    """Return what to do about a refusal, in one or two sentences."""
    lowered = description.lower()
    return next((cure for signs, cure in CURES if any(sign in lowered for sign in signs)), GENERAL_CURE)
