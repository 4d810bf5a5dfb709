"""Apply updates from Telegram: callback queries, replies, commands."""

from collections.abc import Callable

from django.conf import settings
from django.db import transaction

from escalation.commands import record_update
from escalation.telegram.api.client import BotApi
from escalation.telegram.inbound import bot_commands, callback_queries, replies
from escalation.telegram.inbound.after_commit import AfterCommitActions, Task, run_task
from escalation.telegram.inbound.button_actions import BUTTON_ACTIONS
from escalation.telegram.inbound.people import Json, Person

RunLater = Callable[[Task, BotApi], object]


def handle(update: Json, api: BotApi, *, run_later: RunLater = run_task) -> None:
    """Apply one update once: its effect and ``record_update`` share a transaction, Bot API calls
    follow the commit.

    ``run_later`` gets these calls in order and must not raise. A decision does not edit the card
    here: the sender is notified by the commit and settles every message of the approval.

    Raises:
        DatabaseError: nothing was changed; the same update will be passed in again.
    """
    after = AfterCommitActions()
    with transaction.atomic():
        if record_update(update):
            _apply(update, api, after)
    for task in after.tasks:
        run_later(task, api)


def _apply(update: Json, api: BotApi, after: AfterCommitActions) -> None:
    number = int(update["update_id"])
    if "callback_query" in update:
        callback_queries.handle(update["callback_query"], number, after, BUTTON_ACTIONS)
    elif "message" in update:
        _apply_message(update["message"], number, api, after)


def _apply_message(message: Json, update_id: int, api: BotApi, after: AfterCommitActions) -> None:
    chat = message.get("chat") or {}
    if "migrate_to_chat_id" in message or "migrate_from_chat_id" in message:
        _follow_chat_move(message, int(chat.get("id", 0)), api)
        return
    after.topic = _topic_of(message)
    person = Person.from_update(message.get("from") or {}, chat, update_id, is_anonymous="sender_chat" in message)
    text, to = str(message.get("text") or ""), _find_replied_message(message)
    if text.startswith("/"):
        ours = person.chat in (api.chat, settings.TELEGRAM.chat_id)
        bot_commands.handle(text, person, int(message["message_id"]), after, ours=ours)
    elif to and (to.get("from") or {}).get("is_bot"):
        replies.handle(message, person, after)


def _follow_chat_move(message: Json, chat: int, api: BotApi) -> None:
    """Record that a group became a supergroup.

    Telegram announces it in both chats, in any order.
    """
    old, new = int(message.get("migrate_from_chat_id", chat)), int(message.get("migrate_to_chat_id", chat))
    if api.chat in (old, new):
        api.record_chat_move(old, new)


def _topic_of(message: Json) -> int:
    """Return the forum topic of a message; 0 for General and for chats without topics."""
    return int(message.get("message_thread_id", 0)) if message.get("is_topic_message") else 0


def _find_replied_message(message: Json) -> Json | None:
    """Return the message that a person replied to, or None.

    In a topic every message refers to the first one of the topic, which may be ours and is no
    reply.
    """
    to = message.get("reply_to_message")
    first = to and _topic_of(message) and to.get("message_id") == message.get("message_thread_id")
    return None if first else to
