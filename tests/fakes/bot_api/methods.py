"""The Telegram side of the stand-in: chats, messages and what each Bot API method does to them.

BotMethods is the part of FakeBotApi that has no networking in it; every _do_<method> gets checked parameters.
"""

import json
import math
import re
import time
import urllib.parse
from collections import deque
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tests.fakes.bot_api import topics
from tests.fakes.bot_api.rules import SCALARS, SPEC, ApiError, Json, bad, filled, format_text, read_markup, spec_errors

LEGACY = {"reply_to_message_id", "allow_sending_without_reply", "disable_web_page_preview"}  # old, still accepted
UPDATE_TYPES = [name for name in SPEC["types"]["Update"] if name != "update_id"]
DEFAULT_UPDATES = set(UPDATE_TYPES) - {"chat_member", "message_reaction", "message_reaction_count"}
CHAT_ACTIONS = {
    "typing", "upload_photo", "record_video", "upload_video", "record_voice", "upload_voice",
    "upload_document", "choose_sticker", "find_location", "record_video_note", "upload_video_note",
}  # fmt: skip
MISSING = {
    "chat_id": "chat_id is empty",
    "text": "message text is empty",
    "user_id": "invalid user_id specified",
    "document": "there is no document in the request",
    "file_id": "file_id not specified",
    "action": "wrong parameter action in request",
    "message_id": "message identifier is not specified",
}
NOT_MODIFIED = (
    "message is not modified: specified new message content and reply markup are exactly the same as a "
    "current content and reply markup of the message"
)
STALE_QUERY = "query is too old and response timeout expired or query ID is invalid"
MAX_UPLOAD = 50 * 1024 * 1024


@dataclass
class Chat:
    id: int
    type: str
    title: str = ""
    username: str = ""
    bot_status: str = "member"  # of the bot here: member, administrator, left, kicked
    members: dict[int, str] = field(default_factory=dict)
    migrated_to: int = 0
    next_id: int = 1
    can_send: bool = True  # what the group allows its members
    is_forum: bool = False
    topics: dict[int, str] = field(default_factory=dict)  # open or closed, by number

    def json(self) -> Json:
        name = {"first_name": self.title} if self.type == "private" else {"title": self.title}
        more = {"username": self.username, "is_forum": self.is_forum}
        return {"id": self.id, "type": self.type, **name, **{key: value for key, value in more.items() if value}}


@dataclass
class User:
    id: int
    username: str
    first_name: str
    started: bool = True  # has opened a private chat with the bot
    blocked: bool = False
    deactivated: bool = False

    def json(self) -> Json:
        name = {"username": self.username} if self.username else {}
        return {"id": self.id, "is_bot": False, "first_name": self.first_name, **name, "language_code": "en"}


@dataclass(eq=False)
class Message:
    chat: Chat
    id: int
    sender: Json
    date: int
    text: str = ""
    entities: list[Json] = field(default_factory=list)
    markup: Json | None = None
    reply_to: "Message | None" = None
    document: Json | None = None
    edit_date: int = 0
    deleted: bool = False
    extra: Json = field(default_factory=dict)
    history: list[Json] = field(default_factory=list)  # earlier versions, oldest first

    def json(self, with_reply: bool = True) -> Json:
        data: Json = {"message_id": self.id, "from": self.sender, "chat": self.chat.json(), "date": self.date}
        body, marks = ("caption", "caption_entities") if self.document else ("text", "entities")
        optional = {"edit_date": self.edit_date, "document": self.document, body: self.text, marks: self.entities}
        data |= {key: value for key, value in optional.items() if value}
        if with_reply and self.reply_to and not self.reply_to.deleted:
            data["reply_to_message"] = self.reply_to.json(False)
        if self.markup and "inline_keyboard" in self.markup:
            data["reply_markup"] = self.markup
        return data | self.extra

    def buttons(self) -> list[list[Json]]:
        return (self.markup or {}).get("inline_keyboard", [])

    def view(self) -> Json:
        """What a person would see, for assertions."""
        return {
            "chat_id": self.chat.id,
            "message_id": self.id,
            "text": self.text,
            "entities": self.entities,
            "buttons": self.buttons(),
            "markup": self.markup,
            "from": self.sender["id"],
            "date": self.date,
            "edit_date": self.edit_date,
            "deleted": self.deleted,
            "history": self.history,
            "document": self.document,
            "reply_to": self.reply_to.id if self.reply_to else None,
            "topic": topics.topic_of(self),
        }


@dataclass(eq=False)
class Update:
    id: int
    type: str
    payload: Json
    expires: float
    queue: Any  # webhook deliveries that share a queue keep their order
    forced: bool = False  # an artificial duplicate: handed out once, whatever the offset
    retry_at: float = 0.0
    fails: int = 0

    def json(self) -> Json:
        return {"update_id": self.id, self.type: self.payload}


@dataclass(eq=False)
class Call:
    """One API call; times are time.monotonic()."""

    number: int
    method: str
    params: Json
    started: float
    finished: float = 0.0
    status: int = 0  # 0: no proper answer was given
    description: str = ""
    fault: str = ""


@dataclass(eq=False)
class Fault:
    kind: str
    method: str | None
    count: float
    seconds: float
    status: int
    description: str
    after: bool  # let the call take effect, then spoil its answer


def _public(info: Json) -> Json:
    return {key: value for key, value in info.items() if key != "file_path"}


class BotMethods:
    """Expects the attributes that FakeBotApi.__init__ sets."""

    # ------------------------------------------------------------ checks that apply to every call
    def _problem(self, kind: str, method: str, detail: str) -> None:
        with self._changed:
            self._problems.append({"kind": kind, "method": method, "detail": detail, "at": time.monotonic()})

    def _checked(self, method: str, raw: Json, files: Json) -> Json:
        """Parameters converted to their declared types, or the error the real server gives for them."""
        declared, params = SPEC["methods"][method]["params"], {}
        for name, value in raw.items():
            if name not in declared:
                self._problem("deprecated_parameter" if name in LEGACY else "unknown_parameter", method, name)
                if name in LEGACY:
                    params[name] = value
                continue
            kind = declared[name].rstrip("!")
            if set(kind.split("|")) <= SCALARS:
                value, errors = self._scalar(name, value, kind)
            elif value == "":
                continue
            else:
                try:
                    value = json.loads(value) if isinstance(value, str) else value
                except ValueError:
                    self._problem("mistyped_parameter", method, f"{name} is not JSON: {value[:80]}")
                    if name in ("allowed_updates", "entities", "caption_entities"):
                        continue  # ignored by the real server too
                    labels = {"reply_markup": "reply keyboard markup", "scope": "BotCommandScope"}
                    raise bad(f"can't parse {labels.get(name, name.replace('_', ' '))} JSON object") from None
                given = value
                if name == "reply_markup":
                    value = read_markup(given)
                    if value and "inline_keyboard" not in value and method.startswith("edit"):
                        raise bad("inline keyboard expected")
                    for row in (value or {}).get("inline_keyboard", []):
                        if len(row) > 8:
                            self._problem("wide_keyboard_row", method, f"{len(row)} buttons in a row; 8 are shown")
                errors = spec_errors(given, kind, name)
            for problem, detail in errors:
                self._problem(problem, method, detail)
            refused = next((detail for problem, detail in errors if problem != "unknown_parameter"), None)
            if refused and self.strict:
                raise bad(f"[strict] {refused}")
            params[name] = value
        for name, kind in declared.items():
            if kind.endswith("!") and name not in params and name not in files:
                self._problem("missing_parameter", method, name)
                raise bad(MISSING.get(name, f'parameter "{name}" is required'))
        return params

    @staticmethod
    def _scalar(name: str, value: Any, kind: str) -> tuple[Any, list[tuple[str, str]]]:
        text = "null" if value is None else value if isinstance(value, str) else json.dumps(value)
        wrong = [("mistyped_parameter", f"{name} must be {kind.replace('|', ' or ')}, got {text[:80]!r}")]
        if kind == "Boolean":
            known = text.strip().lower() in ("true", "yes", "1", "false", "no", "0", "")
            return text.strip().lower() in ("true", "yes", "1"), [] if known else wrong
        if kind == "Integer":
            whole = re.fullmatch(r"\s*-?\d+\s*", text)
            return int(text) if whole else 0, [] if whole or text == "" else wrong
        if kind == "Float":
            return text, []
        return text, [] if isinstance(value, str) or ("Integer" in kind and type(value) is int) else wrong

    def _flood_key(self, params: Json) -> int | None:
        raw = str(params.get("chat_id", ""))
        return int(raw) if re.fullmatch(r"-?\d+", raw) and int(raw) in self._chats else None

    def _flood_check(self, method: str, params: Json) -> None:
        if not method.startswith(("send", "edit", "copy", "forward")) or method == "sendChatAction":
            return
        key, now = self._flood_key(params), time.monotonic()
        chat = self._chats.get(key)
        if now < self._not_before.get(key, 0.0) - 0.05:
            self._problem("ignored_retry_after", method, f"{self._not_before[key] - now:.1f} s too early, chat {key}")
        if not self.flood_on:
            return
        limits = [("overall", None), ("chat", key)] + ([("group", key)] if chat and chat.type != "private" else [])
        waits = []
        for limit, scope in limits:
            count, window = self.FLOOD[limit]
            times = self._sent.setdefault((limit, scope), deque())
            while times and times[0] <= now - window:
                times.popleft()
            if len(times) >= count:
                waits.append(times[0] + window - now)
        if waits:
            raise self._too_many(math.ceil(max(waits)), key)
        for limit, scope in limits:
            self._sent[limit, scope].append(now)

    def _too_many(self, seconds: int, key: Any) -> ApiError:
        self._not_before[key] = time.monotonic() + seconds
        return ApiError(429, f"retry after {seconds}", retry_after=seconds)

    def _chat(self, params: Json, write: bool = True) -> Chat:
        """The chat a call is about, once the bot may reach it."""
        raw = str(params.get("chat_id", ""))
        if not raw:
            raise bad("chat_id is empty")
        if raw.startswith("@"):
            chat = next((c for c in self._chats.values() if c.username and c.username == raw[1:]), None)
        else:
            chat = self._chats.get(int(raw)) if re.fullmatch(r"-?\d+", raw) else None
        if chat is None:
            raise bad("chat not found")
        if chat.type == "private":
            user = self._users[chat.id]
            if write and user.deactivated:
                raise ApiError(403, "user is deactivated")
            if write and user.blocked:
                raise ApiError(403, "bot was blocked by the user")
            if not user.started:
                raise ApiError(403, "bot can't initiate conversation with a user") if write else bad("chat not found")
        elif chat.migrated_to and write:
            raise bad("group chat was upgraded to a supergroup chat", migrate_to_chat_id=chat.migrated_to)
        elif chat.bot_status in ("kicked", "left"):
            verb = "was kicked from" if chat.bot_status == "kicked" else "is not a member of"
            raise ApiError(403, f"bot {verb} the {chat.type} chat")
        return chat

    def now(self) -> int:
        return int(time.time() + self._skew)

    # ------------------------------------------------------------ the Bot API methods
    def _do_getMe(self, p: Json) -> Json:
        flags = {
            "can_join_groups": True,
            "can_read_all_group_messages": not self.privacy_mode,
            "supports_inline_queries": False,
            "can_connect_to_business": False,
            "has_main_web_app": False,
        }
        return self.bot | flags

    def _put(self, p: Json, chat: Chat, text: str, entities: list[Json], document: Json | None = None) -> Json:
        reply = p.get("reply_parameters") or {}
        wanted = int(reply.get("message_id") or p.get("reply_to_message_id") or 0)
        target = self._messages.get((chat.id, wanted))
        topic = self._topic_of(p, "sendMessage", target)
        self._may_write(chat, topic)
        if wanted and (target is None or target.deleted or topics.topic_of(target) != topic):
            target = None
            if not (reply.get("allow_sending_without_reply") or p.get("allow_sending_without_reply")):
                raise bad("message to be replied not found")
        message = Message(
            chat,
            chat.next_id,
            self.bot,
            self.now(),
            text,
            entities,
            p.get("reply_markup"),
            target,
            document,
            extra=topics.in_topic(topic),
        )
        chat.next_id += 1
        self._messages[chat.id, message.id] = message
        return message.json()

    def _do_sendMessage(self, p: Json) -> Json:
        if not p["text"]:
            raise bad("message text is empty")
        text, entities = format_text(p["text"], p.get("parse_mode", ""), p.get("entities"), 4096, "message")
        return self._put(p, self._chat(p), text, entities)

    def _do_sendDocument(self, p: Json, files: Json) -> Json:
        given = str(p.get("document", ""))
        upload = files.get(given.removeprefix("attach://") if given.startswith("attach://") else "document")
        text, entities = format_text(
            p.get("caption", ""),
            p.get("parse_mode", ""),
            p.get("caption_entities"),
            1024,
            "message caption",
            may_be_empty=True,
        )
        chat = self._chat(p)
        if upload is None:
            if given not in self._files:
                raise bad("wrong file identifier/HTTP URL specified" if given else MISSING["document"])
            return self._put(p, chat, text, entities, _public(self._files[given][0]))
        name, mime, content = upload
        if not content:
            raise bad("file must be non-empty")
        if len(content) > MAX_UPLOAD:
            raise ApiError(413)
        number = len(self._files) + 1
        info = {
            "file_id": f"FAKE-file-{number}",
            "file_unique_id": f"FAKE-{number}",
            "file_name": name,
            "mime_type": mime or "application/octet-stream",
            "file_size": len(content),
            "file_path": f"documents/file_{number}{Path(name).suffix}",
        }
        self._files[info["file_id"]] = (info, content)
        return self._put(p, chat, text, entities, _public(info))

    def _do_getFile(self, p: Json) -> Json:
        if p["file_id"] not in self._files:
            raise bad("invalid file_id")
        info, content = self._files[p["file_id"]]
        if len(content) > 20 * 1024 * 1024:
            raise bad("file is too big")
        return {key: info[key] for key in ("file_id", "file_unique_id", "file_size", "file_path")}

    def _to_edit(self, p: Json) -> Message:
        if not p.get("chat_id") and not p.get("message_id"):
            raise bad("MESSAGE_ID_INVALID" if p.get("inline_message_id") else "message identifier is not specified")
        chat = self._chat(p)
        message = self._messages.get((chat.id, p.get("message_id", 0)))
        if message is None or message.deleted:
            raise bad("message to edit not found")
        if message.sender is not self.bot or (message.markup and "inline_keyboard" not in message.markup):
            raise bad("message can't be edited")
        return message

    def _edit(self, message: Message, text: str, entities: list[Json], markup: Json | None) -> Json:
        if (text, entities, markup) == (message.text, message.entities, message.markup):
            raise bad(NOT_MODIFIED)
        message.history.append(
            {"text": message.text, "buttons": message.buttons(), "date": message.edit_date or message.date}
        )
        message.text, message.entities, message.markup, message.edit_date = text, entities, markup, self.now()
        return message.json()

    def _do_editMessageText(self, p: Json) -> Json:
        if not p.get("text"):
            raise bad("message text is empty")
        text, entities = format_text(p["text"], p.get("parse_mode", ""), p.get("entities"), 4096, "message")
        message = self._to_edit(p)
        if message.document:
            raise bad("there is no text in the message to edit")
        return self._edit(message, text, entities, p.get("reply_markup"))  # no reply_markup: the buttons go away

    def _do_editMessageCaption(self, p: Json) -> Json:
        text, entities = format_text(
            p.get("caption", ""),
            p.get("parse_mode", ""),
            p.get("caption_entities"),
            1024,
            "message caption",
            may_be_empty=True,
        )
        message = self._to_edit(p)
        if not message.document:
            raise bad("there is no caption in the message to edit")
        return self._edit(message, text, entities, p.get("reply_markup"))

    def _do_editMessageReplyMarkup(self, p: Json) -> Json:
        message = self._to_edit(p)
        return self._edit(message, message.text, message.entities, p.get("reply_markup"))

    def _do_deleteMessage(self, p: Json) -> bool:
        chat = self._chat(p)
        message = self._messages.get((chat.id, p["message_id"]))
        if message is None or message.deleted:
            raise bad("message to delete not found")
        if message.sender is not self.bot and chat.type != "private" and chat.bot_status != "administrator":
            raise bad("message can't be deleted")
        if self.now() - message.date > 48 * 3600:
            raise bad("message can't be deleted for everyone")
        message.deleted = True
        return True

    def _do_answerCallbackQuery(self, p: Json) -> bool:
        query = self._callbacks.get(p["callback_query_id"])
        if query is None or query["answered_at"] or self.now() - query["date"] > self.CALLBACK_TTL:
            raise bad(STALE_QUERY)
        if len(p.get("text", "")) > 200:
            raise bad("MESSAGE_TOO_LONG")
        if p.get("url") and not re.match(r"(https://t\.me/|tg:)", p["url"]):
            raise bad("URL_INVALID")
        query.update(answered_at=time.monotonic(), text=p.get("text", ""), show_alert=p.get("show_alert", False))
        return True

    def _do_sendChatAction(self, p: Json) -> bool:
        if p["action"] not in CHAT_ACTIONS:
            raise bad(MISSING["action"])
        return bool(self._chat(p))

    def _scope_key(self, p: Json) -> str:
        return json.dumps([p.get("scope") or {"type": "default"}, p.get("language_code", "")], sort_keys=True)

    def _do_setMyCommands(self, p: Json) -> bool:
        for command in p["commands"]:
            if not re.fullmatch(r"[a-z0-9_]{1,32}", command["command"]):
                raise bad("BOT_COMMAND_INVALID")
            if not 1 <= len(command["description"]) <= 256:
                raise bad("BOT_COMMAND_DESCRIPTION_INVALID")
        if len(p["commands"]) > 100:
            raise bad("BOT_COMMANDS_TOO_MUCH")
        self._commands[self._scope_key(p)] = p["commands"]
        return True

    def _do_getMyCommands(self, p: Json) -> list[Json]:
        return self._commands.get(self._scope_key(p), [])

    def _do_deleteMyCommands(self, p: Json) -> bool:
        self._commands.pop(self._scope_key(p), None)
        return True

    def _do_getChat(self, p: Json) -> Json:
        chat = self._chat(p, write=False)
        allowed = {} if chat.type == "private" else {"permissions": {"can_send_messages": chat.can_send}}
        return filled("ChatFullInfo", **chat.json(), **allowed)

    def _member(self, chat: Chat, user: Json, status: str) -> Json:
        kind = {
            "creator": "Owner",
            "administrator": "Administrator",
            "member": "Member",
            "left": "Left",
            "kicked": "Banned",
            "restricted": "Restricted",
        }[status]
        known = {"is_anonymous": False} if kind in ("Owner", "Administrator") else {}
        known |= {"can_send_messages": False} if kind == "Restricted" else {}
        return filled("ChatMember" + kind, status=status, user=user, **known)

    def _do_getChatMember(self, p: Json) -> Json:
        chat, user_id = self._chat(p, write=False), p["user_id"]
        if user_id == self.bot["id"]:
            return self._member(chat, self.bot, "member" if chat.type == "private" else chat.bot_status)
        if user_id <= 0:
            raise bad(MISSING["user_id"])
        if user_id not in self._users:
            raise bad("PARTICIPANT_ID_INVALID")
        return self._member(chat, self._users[user_id].json(), chat.members.get(user_id, "left"))

    def _do_getChatAdministrators(self, p: Json) -> list[Json]:
        chat = self._chat(p, write=False)
        if chat.type == "private":
            raise bad("there are no administrators in the private chat")
        found = [
            self._member(chat, self._users[user_id].json(), status)
            for user_id, status in chat.members.items()
            if status in ("creator", "administrator")
        ]
        return found + ([self._member(chat, self.bot, "administrator")] if chat.bot_status == "administrator" else [])

    def _do_getChatMemberCount(self, p: Json) -> int:
        chat = self._chat(p, write=False)
        return 1 + sum(status not in ("left", "kicked") for status in chat.members.values())

    def _allow(self, p: Json) -> None:
        if isinstance(p.get("allowed_updates"), list):
            unknown = set(p["allowed_updates"]) - set(UPDATE_TYPES)
            if unknown:
                self._problem("unknown_update_type", "getUpdates", ", ".join(map(str, unknown)))
            self._allowed = set(p["allowed_updates"]) & set(UPDATE_TYPES) or set(DEFAULT_UPDATES)

    def _do_setWebhook(self, p: Json, files: Json) -> bool:
        url, secret = p["url"], p.get("secret_token", "")
        if not url:
            return self._do_deleteWebhook(p)
        if time.monotonic() < self._next_set_webhook and self.poll_throttle:
            raise self._too_many(1, "setWebhook")
        parts = urllib.parse.urlsplit(url if "://" in url else "https://" + url)
        if parts.scheme not in ("http", "https") or not parts.hostname:
            raise bad("invalid webhook URL specified")
        if len(secret) > 256:
            raise bad("secret token is too long")
        if not re.fullmatch(r"[A-Za-z0-9_-]*", secret):
            raise bad("secret token contains unallowed characters")
        if self.public_webhooks_only or parts.hostname not in ("127.0.0.1", "localhost", "::1"):
            if parts.scheme != "https":
                raise bad("bad webhook: An HTTPS URL must be provided for webhook")
            if (parts.port or 443) not in (443, 80, 88, 8443):
                raise bad("bad webhook: Webhook can be set up only on ports 80, 88, 443 or 8443")
        self._next_set_webhook = time.monotonic() + 1
        if p.get("drop_pending_updates"):
            self._updates.clear()
        self._allow(p)
        self._webhook = {
            "url": parts.geturl(),
            "secret_token": secret,
            "has_custom_certificate": "certificate" in files,
            "max_connections": min(max(p.get("max_connections") or 40, 1), 100),
        }
        self._loop.call_soon_threadsafe(self._wake, ApiError(409, "terminated by setWebhook request"))
        return True

    def _do_deleteWebhook(self, p: Json) -> bool:
        if p.get("drop_pending_updates"):
            self._updates.clear()
        self._webhook = {"url": ""}
        return True

    def _do_getWebhookInfo(self, p: Json) -> Json:
        hook = {key: value for key, value in self._webhook.items() if key != "secret_token"}
        info = {"has_custom_certificate": False} | hook | {"pending_update_count": len(self._updates)}
        return info | ({"allowed_updates": sorted(self._allowed)} if self._allowed != DEFAULT_UPDATES else {})
