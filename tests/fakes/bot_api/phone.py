"""The chats as a person sees them: as text for a terminal, and as a page with buttons to press in a browser."""

import html
import re
import time
from typing import Any
from urllib.parse import parse_qsl

from tests.fakes.bot_api.rules import Json

TAGS = {
    "bold": "b", "italic": "i", "underline": "u", "strikethrough": "s", "code": "code", "pre": "pre",
    "blockquote": "blockquote", "expandable_blockquote": "blockquote", "text_mention": "a", "text_link": "a",
    "spoiler": "span",
}  # fmt: skip
STYLE = """
body { margin: 0; background: #8fb0a0; font: 16px/1.35 -apple-system, Roboto, "Noto Sans", sans-serif; }
main { max-width: 412px; margin: 0 auto; padding: 4px 8px 60px; }
h1 { font-size: 17px; background: #fff; margin: 0 -8px 8px; padding: 12px 16px; }
.bubble { background: #fff; border-radius: 12px; padding: 7px 10px; margin: 8px 40px 2px 0; white-space: pre-wrap;
  overflow-wrap: anywhere; }
.bubble.person { background: #e1fed3; margin: 8px 0 2px 40px; }
.who { color: #3a87c9; font-weight: 600; } .meta { color: #8a9; font-size: 12px; text-align: right; }
.reply { border-left: 3px solid #3a87c9; padding-left: 6px; font-size: 14px; color: #567; }
pre, code { font: 14px/1.35 "Noto Sans Mono", Menlo, monospace; background: #f1f3f4; } code { color: #b1356a; }
pre { margin: 4px 0; padding: 6px; border-left: 3px solid #3a87c9; white-space: pre-wrap; }
blockquote { margin: 4px 0; padding: 4px 8px; border-left: 3px solid #3a87c9; background: #eef5fb; }
.row { display: flex; gap: 3px; margin: 3px 40px 0 0; } .row form { flex: 1; display: flex; min-width: 0; }
.row button, .row a { flex: 1; border: 0; border-radius: 8px; background: #5d8272; color: #fff; padding: 9px 4px;
  font: inherit; font-size: 15px; text-align: center; overflow: hidden; text-overflow: ellipsis; white-space: nowrap;
  text-decoration: none; }
.say { position: sticky; bottom: 0; display: flex; gap: 4px; background: #fff; padding: 6px; margin: 8px -8px 0; }
.say input[name=text] { flex: 1; font: inherit; min-width: 0; } .say input { font: inherit; }
.toast { background: #333c; color: #fff; border-radius: 8px; padding: 8px 12px; margin: 6px 20px; text-align: center; }
"""


def as_text(messages: list[Json], names: dict[int, str]) -> str:
    """Everything in the chats, oldest first, one block a message; buttons in brackets."""
    return "\n".join(_block(message, names) for message in messages)


def _block(message: Json, names: dict[int, str]) -> str:
    edited = f", edited {len(message['history'])}x" if message["edit_date"] else ""
    reply = f", in reply to {message['reply_to']}" if message["reply_to"] else ""
    sender = names.get(message["from"], "bot")
    topic = f", topic {message['topic']}" if message["topic"] else ""
    lines = [f"── {message['chat_id']}/{message['message_id']} {sender}{topic}{reply}{edited}"]
    if message["document"]:
        lines.append(f"│ 📎 {message['document']['file_name']} ({message['document']['file_size']:,} bytes)")
    lines += [f"│ {line}" for line in message["text"].split("\n")]
    lines += ["│ " + " ".join(f"[ {button['text']} ]" for button in row) for row in message["buttons"]]
    if (message["markup"] or {}).get("force_reply"):
        lines.append("│ (asks for a reply)")
    return "\n".join(lines) + "\n"


def with_tags(text: str, entities: list[Json]) -> str:
    """Text and entities as HTML; offsets are UTF-16 units."""
    units = text.encode("utf-16-le", "surrogatepass")
    opened: dict[int, list[Json]] = {}
    closed: dict[int, list[Json]] = {}
    for entity in entities:
        opened.setdefault(entity["offset"], []).append(entity)
        closed.setdefault(entity["offset"] + entity["length"], []).insert(0, entity)
    marks = sorted({0, len(units) // 2, *opened, *closed})
    out = []
    for at, end in zip(marks, [*marks[1:], marks[-1]], strict=True):
        out += [f"</{TAGS[entity['type']]}>" for entity in closed.get(at, ()) if entity["type"] in TAGS]
        out += [_opening(entity) for entity in opened.get(at, ()) if entity["type"] in TAGS]
        out.append(html.escape(units[2 * at : 2 * end].decode("utf-16-le", "replace")))
    return re.sub(r"(</pre>|</blockquote>)\n", r"\1", "".join(out))  # a block ends its line by itself


def _opening(entity: Json) -> str:
    link = f' href="{html.escape(entity["url"])}"' if "url" in entity else ""
    return f"<{TAGS[entity['type']]}{link}>"


def page(messages: list[Json], names: dict[int, str], titles: dict[int, str], user: int, answers: list[Json]) -> str:
    """The chats as on a phone, seen by one person, who can press and write."""
    seen = [message for message in messages if message["chat_id"] in (user, *[c for c in titles if c < 0])]
    chats = {chat: [m for m in seen if m["chat_id"] == chat] for chat in titles if chat < 0 or chat == user}
    body = "".join(f"<h1>{html.escape(titles[chat])}</h1>" + _chat(chat, chats[chat], names, user) for chat in chats)
    toast = f'<div class="toast">{html.escape(answers[-1]["text"])}</div>' if answers and answers[-1]["text"] else ""
    viewers = " · ".join(f'<a href="/phone?user={one}">{html.escape(name)}</a>' for one, name in names.items())
    head = f'<meta name="viewport" content="width=device-width"><style>{STYLE}</style>'
    return f"<!doctype html><meta charset=utf-8><title>Phone</title>{head}<main>{body}{toast}<p>{viewers}</p></main>"


def _chat(chat: int, messages: list[Json], names: dict[int, str], user: int) -> str:
    hidden = f'<input type="hidden" name="user" value="{user}"><input type="hidden" name="chat" value="{chat}">'
    say = (
        f'<form class="say" method="post" action="/phone/say">{hidden}<input name="reply" size="3" placeholder="№">'
        '<input name="text" placeholder="Message"><button>➤</button></form>'
    )
    return "".join(_bubble(message, names, hidden) for message in messages) + say


def _bubble(message: Json, names: dict[int, str], hidden: str) -> str:
    person = message["from"] in names
    reply = f'<div class="reply">in reply to {message["reply_to"]}</div>' if message["reply_to"] else ""
    document = f"📎 <u>{html.escape(message['document']['file_name'])}</u>\n" if message["document"] else ""
    when = time.strftime("%H:%M", time.localtime(message["edit_date"] or message["date"]))
    meta = f"{message['message_id']} · {'edited ' if message['edit_date'] else ''}{when}"
    who = html.escape(names.get(message["from"], "Orchestra bot"))
    text = with_tags(message["text"], message["entities"])
    rows = "".join(f'<div class="row">{"".join(_button(b, message, hidden) for b in row)}</div>' for row in message["buttons"])  # fmt: skip  # noqa: E501
    return (
        f'<div class="bubble {"person" if person else "bot"}"><div class="who">{who}</div>{reply}{document}{text}'
        f'<div class="meta">{meta}</div></div>{rows}'
    )


def _button(button: Json, message: Json, hidden: str) -> str:
    text = html.escape(button["text"])
    if "url" in button:
        return f'<a href="{html.escape(button["url"])}">{text} ↗</a>'
    which = f'<input type="hidden" name="message" value="{message["message_id"]}">'
    data = f'<input type="hidden" name="data" value="{html.escape(button["callback_data"])}">'
    return f'<form method="post" action="/phone/press">{hidden}{which}{data}<button>{text}</button></form>'


def form(body: bytes) -> dict[str, Any]:
    """A page's form: numbers as numbers, what was left empty left out."""
    fields = dict(parse_qsl(body.decode()))
    return {key: int(value) if key in ("user", "chat", "message", "reply") else value for key, value in fields.items()}
