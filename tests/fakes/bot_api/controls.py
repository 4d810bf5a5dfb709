"""What a test does to the stand-in: plays the people, breaks the network, looks at what happened."""

import json
import math
import random
import re
import time
from collections.abc import Callable
from typing import Any

from tests.fakes.bot_api.methods import Call, Chat, Fault, Message, Update, User
from tests.fakes.bot_api.rules import Json, utf16
from tests.fakes.bot_api.topics import in_topic, topic_of

# served as POST /_control/<name>
CONTROL = {
    "add_user", "add_chat", "set_member", "press", "send_text", "message", "messages", "last_message",
    "wait_for_message", "answer", "wait_for_answer", "problems", "clear_problems", "calls", "counters",
    "inject", "clear_faults", "outage", "set_flood", "set_latency", "block_bot", "deactivate_user",
    "kick_bot", "migrate_chat", "advance", "pending_updates", "resend_update", "reorder_updates",
    "push_update", "add_topic", "close_topic", "reopen_topic", "delete_topic", "set_rights",
}  # fmt: skip


class Controls:
    """The test's side of FakeBotApi; every method may be called from any thread."""

    # ------------------------------------------------------------ faults
    def inject(
        self,
        kind: str,
        count: float = 1,
        method: str | None = None,
        seconds: float = 1.0,
        status: int = 502,
        description: str = "",
        after: bool = False,
    ) -> None:
        """Spoils the next `count` calls (of one method, or of any).

        kind: error (status, description), flood (429 with retry_after=seconds), html (a proxy's error page), slow
        (seconds late, else normal), hang (seconds of silence, then a reset), reset, garbage, truncate.
        after=True lets the call take effect first: the answer is lost, the message was sent.
        """
        if kind not in ("error", "flood", "html", "slow", "hang", "reset", "garbage", "truncate"):
            raise ValueError(f"unknown fault {kind}")
        with self._changed:
            self._faults.append(Fault(kind, method, count, seconds, status, description, after))

    def clear_faults(self) -> None:
        with self._changed:
            self._faults.clear()
            self._outage = None

    def outage(self, kind: str | None = "reset", seconds: float = 30.0, status: int = 502) -> None:
        """Every call fails this way until outage(None)."""
        with self._changed:
            self._outage = Fault(kind, None, math.inf, seconds, status, "", False) if kind else None

    def set_flood(self, on: bool) -> None:
        self.flood_on = on

    def set_latency(self, low: float, high: float | None = None) -> None:
        """Every call takes between low and high seconds longer."""
        self._latency = (low, low if high is None else high)

    def advance(self, seconds: float) -> None:
        """Moves the stand-in's clock, for the 48 h, 24 h and press-expiry rules."""
        self._skew += seconds

    # ------------------------------------------------------------ people and chats
    def add_user(self, user_id: int, username: str = "", first_name: str = "", started: bool = True) -> None:
        """A person, a member of every group so far; started=False: has never opened the bot."""
        with self._changed:
            self._users[user_id] = User(user_id, username, first_name or username or f"User {user_id}", started)
            title = self._users[user_id].first_name
            self._chats[user_id] = Chat(user_id, "private", title, username, members={user_id: "member"})
            for chat in self._chats.values():
                if chat.type != "private":
                    chat.members.setdefault(user_id, "member")

    def add_chat(
        self,
        chat_id: int,
        title: str = "",
        type: str = "",
        username: str = "",
        bot_status: str = "member",
        members: dict[int, str] | None = None,
    ) -> None:
        """A group (by its number a supergroup when it starts with -100), with every known user as a member."""
        type = type or ("supergroup" if str(chat_id).startswith("-100") else "group")
        with self._changed:
            joined = dict.fromkeys(self._users, "member") if members is None else members
            self._chats[chat_id] = Chat(
                chat_id,
                type,
                title or f"Chat {chat_id}",
                username,
                bot_status,
                {int(user_id): status for user_id, status in joined.items()},
            )

    def set_member(self, chat_id: int, user_id: int, status: str) -> None:
        """status: creator, administrator, member, restricted, left or kicked."""
        self._chats[chat_id].members[user_id] = status

    def send_text(
        self, user_id: int, text: str, chat_id: int | None = None, reply_to: int | None = None, topic: int = 0
    ) -> Json:
        """A person writes; 'update_id' is None when privacy mode or allowed_updates hides it from the bot."""
        with self._changed:
            chat, user = self._chats[chat_id or user_id], self._users[user_id]
            if chat.members.get(user_id, "left") in ("left", "kicked"):
                raise ValueError(f"user {user_id} is not in chat {chat.id}")
            user.started = user.started or chat.type == "private"
            replied = self._messages[chat.id, reply_to] if reply_to else None
            topic = topic or (topic_of(replied) if replied else 0)
            target = replied or self._messages.get((chat.id, topic))  # in a topic, its service message
            entities = [
                {"type": "bot_command", "offset": utf16(text[: m.start(1)]), "length": len(m[1])}
                for m in re.finditer(r"(?:^|(?<=\s))(/[A-Za-z0-9_]{1,64}(?:@\w+)?)", text)
            ]
            message = Message(chat, chat.next_id, user.json(), self.now(), text, entities, reply_to=target)
            message.extra = in_topic(topic)
            chat.next_id += 1
            self._messages[chat.id, message.id] = message
            to_other_bot = re.match(rf"/\w+@(?!{self.bot['username']}\b)", text, re.I)
            seen = (
                chat.type == "private"
                or chat.bot_status == "administrator"
                or not self.privacy_mode
                or (text.startswith("/") and not to_other_bot)
                or bool(replied and replied.sender is self.bot)
            )
            update_id = self.push_update("message", message.json(), chat.id) if seen and not user.blocked else None
            return {"message_id": message.id, "update_id": update_id}

    def press(self, user_id: int, chat_id: int, message_id: int, button: str | list[int]) -> str:
        """A person taps a button, named by its text, its callback_data or [row, column]; returns the query's id."""
        with self._changed:
            message, user = self._messages[chat_id, message_id], self._users[user_id]
            if message.deleted:
                raise ValueError("the message has been deleted")
            if message.chat.members.get(user_id, "left") in ("left", "kicked"):
                raise ValueError(f"user {user_id} is not in chat {chat_id}")
            rows = message.buttons()
            if isinstance(button, str):
                found = next((b for row in rows for b in row if button in (b["text"], b.get("callback_data"))), None)
            else:
                row, column = button
                found = rows[row][column] if row < len(rows) and column < len(rows[row]) else None
            if found is None or not found.get("callback_data"):
                raise ValueError(f"no callback button {button!r} on the message now: {rows}")
            query_id = str(4_000_000_000_000_000 + random.getrandbits(40) * 1000 + len(self._callbacks))
            payload = {
                "id": query_id,
                "from": user.json(),
                "message": message.json(),
                "data": found["callback_data"],
                "chat_instance": str(abs(chat_id) * 7919),
            }
            self._callbacks[query_id] = {
                "id": query_id,
                "user_id": user_id,
                "chat_id": chat_id,
                "message_id": message_id,
                "text": None,
                "data": found["callback_data"],
                "date": self.now(),
                "pressed_at": time.monotonic(),
                "answered_at": None,
                "show_alert": None,
            }
            self._callbacks[query_id]["update_id"] = self.push_update("callback_query", payload, ("press", user_id))
            return query_id

    def _bot_moved(self, chat: Chat, old: str, new: str, by: User) -> None:
        payload = {
            "chat": chat.json(),
            "from": by.json(),
            "date": self.now(),
            "old_chat_member": self._member(chat, self.bot, old),
            "new_chat_member": self._member(chat, self.bot, new),
        }
        self.push_update("my_chat_member", payload, chat.id)

    def block_bot(self, user_id: int, blocked: bool = True) -> None:
        with self._changed:
            user = self._users[user_id]
            user.blocked = blocked
            old, new = ("member", "kicked") if blocked else ("kicked", "member")
            self._bot_moved(self._chats[user_id], old, new, user)

    def deactivate_user(self, user_id: int) -> None:
        self._users[user_id].deactivated = True

    def kick_bot(self, chat_id: int, status: str = "kicked") -> None:
        with self._changed:
            chat = self._chats[chat_id]
            old, chat.bot_status = chat.bot_status, status
            by = next((self._users[user_id] for user_id in chat.members), User(1, "", "Someone"))
            self._bot_moved(chat, old, status, by)

    def migrate_chat(self, chat_id: int, new_id: int | None = None) -> int:
        """The group becomes a supergroup with another id, as Telegram does on its own accord."""
        with self._changed:
            old = self._chats[chat_id]
            new_id = new_id or -1_000_000_000_000 - abs(chat_id)
            self._chats[new_id] = new = Chat(new_id, "supergroup", old.title, "", old.bot_status, dict(old.members))
            old.migrated_to = new_id
            by = next((self._users[user_id].json() for user_id in old.members), self.bot)
            for chat, extra in ((old, {"migrate_to_chat_id": new_id}), (new, {"migrate_from_chat_id": chat_id})):
                self._service_message(chat, by, extra)
            return new_id

    def _service_message(self, chat: Chat, sender: Json, extra: Json) -> None:
        """Bots are told of all of them, privacy mode or not."""
        root = self._messages.get((chat.id, extra.get("message_thread_id", 0)))
        note = Message(chat, chat.next_id, sender, self.now(), reply_to=root, extra=extra)
        chat.next_id += 1
        self._messages[chat.id, note.id] = note
        if sender is not self.bot:
            self.push_update("message", note.json(), chat.id)

    def pending_updates(self) -> list[Json]:
        with self._changed:
            self._expire()
            return [u.json() for u in self._updates]

    def resend_update(self, update_id: int, new_id: bool = False) -> int:
        """Delivers an update again: with its own id (a webhook retry, an unconfirmed poll) or, with new_id, as the
        second update that one tap can cause when the person's app loses its connection."""
        with self._changed:
            old = next(u for u in [*self._updates, *self._past] if u.id == update_id)
            copy = Update(
                self._next_update if new_id else old.id,
                old.type,
                json.loads(json.dumps(old.payload)),
                self.now() + 86400.0,
                old.queue,
                forced=not new_id,
            )
            self._next_update += new_id
            if new_id and old.type == "callback_query":
                query = dict(self._callbacks[old.payload["id"]], answered_at=None, date=self.now())
                copy.payload["id"] = query["id"] = str(int(query["id"]) + 500 + len(self._callbacks))
                self._callbacks[query["id"]] = query | {"pressed_at": time.monotonic(), "update_id": copy.id}
            self._updates.append(copy)
        self._nudge()
        return copy.id

    def reorder_updates(self) -> None:
        """Turns the queue around: parallel webhook deliveries may arrive in any order."""
        with self._changed:
            self._updates.reverse()

    # ------------------------------------------------------------ looking on
    def message(self, chat_id: int, message_id: int) -> Json:
        with self._changed:
            return self._messages[chat_id, message_id].view()

    def messages(self, chat_id: int | None = None, by_bot: bool = False, with_deleted: bool = False) -> list[Json]:
        with self._changed:
            return [
                m.view()
                for m in self._messages.values()
                if chat_id in (None, m.chat.id)
                and (with_deleted or not m.deleted)
                and (not by_bot or m.sender is self.bot)
            ]

    def last_message(self, chat_id: int | None = None) -> Json | None:
        """The bot's latest message."""
        return (self.messages(chat_id, by_bot=True) or [None])[-1]

    def wait_for(self, probe: Callable[[], Any], timeout: float = 60.0, what: str = "condition") -> Any:
        """The probe's first true result; probes run with the state locked."""
        with self._changed:
            if not self._changed.wait_for(lambda: bool(probe()), timeout):
                raise TimeoutError(f"no {what} within {timeout} s")
            return probe()

    def wait_for_message(self, contains: str = "", chat_id: int | None = None, timeout: float = 60.0) -> Json:
        """The bot's newest message (as edited by now) whose text contains this."""

        def probe() -> Json | None:
            return next((m for m in reversed(self.messages(chat_id, by_bot=True)) if contains in m["text"]), None)

        return self.wait_for(probe, timeout, f"message containing {contains!r}")

    def answer(self, query_id: str) -> Json:
        """What became of a button press: answered_at is None until the bot answers."""
        with self._changed:
            return dict(self._callbacks[query_id])

    def wait_for_answer(self, query_id: str, timeout: float = 60.0) -> Json:
        return dict(
            self.wait_for(
                lambda: self._callbacks[query_id]["answered_at"] and self._callbacks[query_id],
                timeout,
                "answer to the button press",
            )
        )

    def calls(self, method: str | None = None) -> list[Call]:
        with self._changed:
            return [call for call in self._calls if method in (None, call.method)]

    def counters(self) -> Json:
        """Calls by method and status, updates, deliveries."""
        with self._changed:
            by: Json = {}
            for call in self._calls:
                counts = by.setdefault(call.method, {"total": 0})
                counts["total"] += 1
                counts[str(call.status)] = counts.get(str(call.status), 0) + 1
            return {
                "calls": by,
                "messages": len(self._messages),
                "problems": len(self.problems()),
                "pending_updates": len(self._updates),
                "deliveries": len(self.deliveries),
            }

    def problems(self) -> list[Json]:
        """What the client did wrong although the real server might have let it pass; a test fails on any."""
        with self._changed:
            return self._problems + [
                {"kind": "unanswered_button_press", "method": "answerCallbackQuery", "detail": str(query)}
                for query in self._callbacks.values()
                if not query["answered_at"] and query["update_id"] and self.now() - query["date"] > self.CALLBACK_TTL
            ]

    def clear_problems(self) -> None:
        with self._changed:
            self._problems.clear()

    def assert_clean(self) -> None:
        found = self.problems()
        assert not found, "the client misused the Bot API: " + json.dumps(found, indent=1, default=str)
