"""What people do in the chat: presses, replies, commands."""

from typing import Any

from escalation.channels.telegram.client import BotApi
from escalation.commands import record_update

Json = dict[str, Any]


def handle(update: Json, api: BotApi) -> None:
    """Apply one update, once: effect and ``record_update`` in one transaction, what is said about it after the commit.

    A decision does not edit the card: the sender hears the commit and settles every message of the approval.

    Raises:
        DatabaseError: nothing was done; the same update will be handed in again.
    """
    record_update(update)
