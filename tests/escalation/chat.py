"""A chat of the fake Bot API with Orchestra's sender and its handling of updates, which a test runs step by step."""

from dataclasses import dataclass, field
from typing import Any

from approvals.models import Approval
from escalation.models import Approver, Delivery
from escalation.telegram.api.client import BotApi
from escalation.telegram.inbound import updates
from escalation.telegram.messages.channel import Telegram
from escalation.telegram.sender import Sender
from tests.escalation.conftest import GROUP
from tests.factories import make_user
from tests.fakes.bot_api import FakeBotApi

Json = dict[str, Any]


def link(username: str, telegram_user: int, *, group: str = "Approver") -> Approver:
    """An account with a Telegram user."""
    return Approver.objects.create(user=make_user(username, group=group), telegram_user=telegram_user)


@dataclass
class Chat:
    """The group chat. ``pump`` applies the updates that people caused, then runs the sender once."""

    telegram: FakeBotApi
    api: BotApi
    offset: int = 0
    handed_in: list[Json] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.sender = Sender(self.api, Telegram(self.api), may_continue=lambda: True)

    def work(self) -> None:
        """Run the sender once, sweep included."""
        self.sender._swept_at = -1e9
        self.sender.work()

    def card(self, approval: Approval) -> Json:
        """Send what is due, and return the first message about this approval as a person sees it."""
        self.work()
        row = Delivery.objects.get(approval=approval).messages.order_by("message").first()
        return self.telegram.message(row.chat, row.message)

    def now(self, message: Json) -> Json:
        """Return the message as it is now."""
        return self.telegram.message(message["chat_id"], message["message_id"])

    def tap(self, user: int, message: Json, button: str) -> str:
        """Press the button with this label; return the id of the callback query, which is not applied yet."""
        return self.telegram.press(user, message["chat_id"], message["message_id"], button)

    def press(self, user: int, message: Json, button: str) -> str:
        """Press the button with this label and apply it; return the text that answers the callback query."""
        query = self.tap(user, message, button)
        self.pump()
        return str(self.telegram.answer(query)["text"])

    def say(self, user: int, text: str, *, to: Json | None = None, chat: int = GROUP) -> None:
        """Somebody writes, perhaps in reply."""
        reply = to["message_id"] if to else None
        self.telegram.send_text(user, text, chat_id=to["chat_id"] if to else chat, reply_to=reply)
        self.pump()

    def pump(self) -> None:
        self.take_in()
        self.work()

    def take_in(self) -> None:
        for update in self.api.call_once("getUpdates", offset=self.offset or None):
            self.handed_in.append(update)
            updates.handle(update, self.api)
            self.offset = max(self.offset, update["update_id"] + 1)

    def forge(self, user: int, message: Json, data: str, /, **query: Any) -> Json:
        """A press that Telegram never saw, as somebody with a client of their own could send it."""
        chat = {"id": message["chat_id"], "type": "supergroup"}
        pressed = {
            "id": f"{7_000_000 + len(self.handed_in)}", "chat_instance": "1", "data": data,
            "from": {"id": user, "is_bot": False, "first_name": "X"},
            "message": {"message_id": message["message_id"], "chat": chat, "date": 1},
        }  # fmt: skip
        update = {"update_id": 900_000_000 + len(self.handed_in), "callback_query": pressed | query}
        self.handed_in.append(update)
        return update

    def last(self) -> Json:
        """The bot's latest message."""
        return self.telegram.last_message() or {}
