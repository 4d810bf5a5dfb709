"""What people do in the chat: presses, replies, commands."""

from collections.abc import Callable

from django.conf import settings
from django.db import transaction

from escalation.channels.telegram import orders, press, replies
from escalation.channels.telegram.aftermath import Aftermath, Task, perform
from escalation.channels.telegram.client import BotApi
from escalation.channels.telegram.deeds import DEEDS
from escalation.channels.telegram.people import Json, Person
from escalation.commands import record_update

Later = Callable[[Task, BotApi], object]


def handle(update: Json, api: BotApi, *, later: Later = perform) -> None:
    """Apply one update, once: effect and ``record_update`` in one transaction, what is said about it after the commit.

    ``later`` gets what is to be said, in order, and must not raise. A decision does not edit the card: the sender hears
    the commit and settles every message of the approval.

    Raises:
        DatabaseError: nothing was done; the same update will be handed in again.
    """
    after = Aftermath()
    with transaction.atomic():
        if record_update(update):
            _apply(update, api, after)
    for task in after.tasks:
        later(task, api)


def _apply(update: Json, api: BotApi, after: Aftermath) -> None:
    number = int(update["update_id"])
    if "callback_query" in update:
        press.handle(update["callback_query"], number, after, DEEDS)
    elif "message" in update:
        _message(update["message"], number, api, after)


def _message(message: Json, update_id: int, api: BotApi, after: Aftermath) -> None:
    chat = message.get("chat") or {}
    if new := message.get("migrate_to_chat_id"):
        if chat.get("id") == api.chat:
            api.remember_move(int(chat["id"]), int(new))
        return
    person = Person.behind(message.get("from") or {}, chat, update_id, in_disguise="sender_chat" in message)
    text, to = str(message.get("text") or ""), message.get("reply_to_message")
    if text.startswith("/"):
        ours = person.chat in (api.chat, settings.TELEGRAM.chat_id)
        orders.handle(text, person, int(message["message_id"]), after, ours=ours)
    elif to and (to.get("from") or {}).get("is_bot"):
        replies.handle(message, person, after)
