"""Forum topics of the stand-in, and the right to write: where a message may go, and what people do to topics.

What is played: a topic's number is that of the service message that made it; the General topic has none and refuses
number 1; every message in a topic that replies to nothing "replies" to that service message; ``sendChatAction``
succeeds in topics that are closed or gone (tdlib/telegram-bot-api, issue 732), so it proves nothing.
"""

from typing import Any

from tests.fakes.bot_api.rules import Json, bad

GENERAL = 0
NO_RIGHTS = "not enough rights to send text messages to the chat"
NO_THREAD = "message thread not found"


class Topics:
    """A part of FakeBotApi."""

    # ------------------------------------------------------------ what people do
    def add_topic(self, chat_id: int, name: str = "Topic", by: int | None = None) -> int:
        """A group gets a topic (and is a forum from now on); its number. ``by``: a person, else the bot itself."""
        with self._changed:
            chat = self._chats[chat_id]
            chat.is_forum = True
            created = {"forum_topic_created": {"name": name, "icon_color": 7322096}}
            topic = chat.next_id = max(chat.next_id, 2)  # 1 is General's
            chat.topics[topic] = "open"
            self._topic_note(chat, topic, created, by)
            return topic

    def close_topic(self, chat_id: int, topic: int, by: int | None = None) -> None:
        """Nobody but those who manage topics may write there; `GENERAL` is one, too."""
        self._turn_topic(chat_id, topic, "closed", {"forum_topic_closed": {}}, by)

    def reopen_topic(self, chat_id: int, topic: int, by: int | None = None) -> None:
        self._turn_topic(chat_id, topic, "open", {"forum_topic_reopened": {}}, by)

    def delete_topic(self, chat_id: int, topic: int) -> None:
        """It goes with its messages, and the bot is told nothing."""
        with self._changed:
            del self._chats[chat_id].topics[topic]
            for message in self._messages.values():
                if message.chat.id == chat_id and message.extra.get("message_thread_id") == topic:
                    message.deleted = True

    def set_rights(self, chat_id: int, can_send: bool) -> None:
        """The group's permissions for members, of whom the bot is one; the bot is told nothing."""
        self._chats[chat_id].can_send = can_send

    def _turn_topic(self, chat_id: int, topic: int, state: str, note: Json, by: int | None) -> None:
        with self._changed:
            chat = self._chats[chat_id]
            chat.topics[topic] = state
            self._topic_note(chat, topic, note, by)

    def _topic_note(self, chat: Any, topic: int, note: Json, by: int | None) -> None:
        sender = self._users[by].json() if by else self.bot
        self._service_message(chat, sender, note | in_topic(topic))

    # ------------------------------------------------------------ what a send is checked for
    def _may_write(self, chat: Any, topic: int) -> None:
        """Whether the bot may send there, or Telegram's error."""
        if chat.bot_status == "restricted" or (not chat.can_send and chat.bot_status == "member"):
            raise bad(NO_RIGHTS)
        if topic and topic not in chat.topics:  # General has no number, though it looks like 1
            raise bad(NO_THREAD)
        if chat.topics.get(topic) == "closed":
            raise bad("TOPIC_CLOSED")

    def _topic_of(self, p: Json, method: str, target: Any) -> int:
        """The topic a message goes to: the one named, or that of what it replies to, which is better named."""
        topic = int(p.get("message_thread_id") or GENERAL)
        if target is not None and not topic and (other := topic_of(target)):
            self._problem("reply_without_topic", method, f"a reply in topic {other} without message_thread_id")
            return other
        return topic


def in_topic(topic: int) -> Json:
    """The fields of a message there."""
    return {"message_thread_id": topic, "is_topic_message": True} if topic else {}


def topic_of(message: Any) -> int:
    return int(message.extra.get("message_thread_id", GENERAL))
