"""What Telegram accepts: message texts, links, keyboards and parameters, and the error texts when it does not.

Pure functions; spec.json holds the published parameter lists.
"""

import json
import re
from pathlib import Path
from typing import Any

Json = dict[str, Any]
SPEC: Json = json.loads(Path(__file__).with_name("spec.json").read_text("utf-8"))
SCALARS = {"Integer", "String", "Boolean", "Float", "InputFile"}
REASONS = {
    400: "Bad Request",
    401: "Unauthorized",
    403: "Forbidden",
    404: "Not Found",
    409: "Conflict",
    413: "Request Entity Too Large",
    429: "Too Many Requests",
    500: "Internal Server Error",
    501: "Not Implemented",
    502: "Bad Gateway",
    504: "Gateway Timeout",
}


class ApiError(Exception):
    """An answer with ok=false."""

    def __init__(self, code: int, text: str = "", **parameters: Any) -> None:
        self.code, self.parameters = code, parameters
        self.description = REASONS.get(code, "Error") + (f": {text}" if text else "")
        super().__init__(self.description)


def bad(text: str, **parameters: Any) -> ApiError:
    return ApiError(400, text, **parameters)


# ---------------------------------------------------------------- text: HTML, lengths
TAGS = {
    "b": "bold",
    "strong": "bold",
    "i": "italic",
    "em": "italic",
    "u": "underline",
    "ins": "underline",
    "s": "strikethrough",
    "strike": "strikethrough",
    "del": "strikethrough",
    "a": "text_link",
    "code": "code",
    "pre": "pre",
    "blockquote": "blockquote",
    "span": "spoiler",
    "tg-spoiler": "spoiler",
    "tg-emoji": "custom_emoji",
    "tg-time": "date_time",
}
NAMED = {"lt": "<", "gt": ">", "amp": "&", "quot": '"'}
CHAR_REF = re.compile(r"&(?:#x([0-9a-fA-F]{1,6})(?![0-9a-fA-F])|#(\d{1,7})(?!\d)|(lt|gt|amp|quot)(?![A-Za-z]));?")


def utf16(text: str) -> int:
    return len(text) + sum(ch > "\uffff" for ch in text)


def check_url(url: str) -> str:
    """The link as Telegram stores it; ValueError with its reason when it would not accept it."""
    scheme, sep, rest = url.partition("://")
    if url.lower().startswith(("tg:", "ton:")):
        return url
    if sep and not re.search(r"[:/?#@\[\]]", scheme):
        if scheme.lower() not in ("http", "https"):
            raise ValueError("Unsupported URL protocol")
    else:
        rest = url
    netloc = re.split(r"[/?#]", rest)[0]
    host, colon, port = netloc.rpartition(":") if re.search(r":[^\]@]*$", netloc) else (netloc, "", "")
    if colon and not (port.isdigit() and 0 < int(port) < 65536):
        raise ValueError("Wrong port number specified in the URL")
    host = host.rpartition("@")[2]
    if not host:
        raise ValueError("URL host is empty")
    if "." not in host and not host.startswith("["):  # http://localhost/... is not accepted
        raise ValueError("Wrong HTTP URL")
    path = rest[len(netloc) :]
    return f"{scheme.lower() if rest != url else 'http'}://{netloc.lower()}{'' if path.startswith('/') else '/'}{path}"


def make_entity(kind: str, offset: int, length: int, attrs: Json, shown: str) -> Json | None:
    entity: Json = {"type": kind, "offset": offset, "length": length}
    if kind == "text_link":
        url = attrs.get("href") or shown
        if user := re.fullmatch(r"tg://user/?\?id=(\d+)", url):
            return entity | {"type": "text_mention", "user": {"id": int(user[1]), "is_bot": False, "first_name": ""}}
        try:
            entity["url"] = check_url(url)
        except ValueError:
            return None  # a link Telegram cannot use is dropped without an error
    elif kind == "custom_emoji":
        if not re.fullmatch(r"-?[1-9]\d*", attrs.get("emoji-id", "")):
            raise ValueError("Invalid custom emoji identifier specified")
        entity["custom_emoji_id"] = attrs["emoji-id"]
    elif kind == "blockquote" and "expandable" in attrs:
        entity["type"] = "expandable_blockquote"
    elif kind == "date_time":
        entity |= {"unix_time": int(attrs.get("unix") or 0), "date_time_format": attrs.get("format", "")}
    return entity


def _decode_refs(text: str) -> str:
    return CHAR_REF.sub(lambda m: NAMED.get(m[3]) or chr(int(m[1] or "0", 16) or int(m[2] or 0)), text)


def _read_tag(src: str, start: int, at: int) -> tuple[str, Json, int]:
    """Reads an opening tag whose '<' is src[start] (byte offset `at`): its name, attributes and end."""
    name_match = re.compile(r"[^\s>]*").match(src, start + 1)
    name, pos, attrs = name_match[0].lower(), name_match.end(), {}
    if pos >= len(src):
        raise ValueError(f"Unclosed start tag at byte offset {at}")
    if name not in TAGS:
        raise ValueError(f'Unsupported start tag "{name}" at byte offset {at}')
    spaces = re.compile(r"\s*")
    while True:
        pos = spaces.match(src, pos).end()
        if src.startswith(">", pos):
            break
        key = re.compile(r"[^\s=>/\"']*").match(src, pos)
        if not key[0]:
            raise ValueError(f'Empty attribute name in the tag "{name}" at byte offset {at}')
        pos = spaces.match(src, key.end()).end()
        attrs[key[0]] = ""
        if src.startswith("=", pos):
            pos = spaces.match(src, pos + 1).end()
            value = re.compile(r"\"([^\"]*)\"|'([^']*)'|([A-Za-z0-9.\-]*)").match(src, pos)
            if pos < len(src) and src[pos] in "\"'" and value.end() == pos:
                raise ValueError(f"Unclosed start tag at byte offset {at}")
            attrs[key[0]] = _decode_refs(value[1] or value[2] or (value[3] or "").lower())
            if value[3] is not None and not re.compile(r"[\s>]|$").match(src, value.end()):
                raise ValueError(f"Unexpected end of name token at byte offset {len(src[:pos].encode())}")
            pos = value.end()
        if pos >= len(src):
            raise ValueError(f'Unclosed start tag "{name}" at byte offset {at}')
    if name == "span" and attrs.get("class") != "tg-spoiler":
        raise ValueError(f'Tag "span" must have class "tg-spoiler" at byte offset {at}')
    return name, attrs, pos + 1


def parse_html(src: str) -> tuple[str, list[Json]]:
    out: list[str] = []
    entities: list[Json] = []
    stack: list[tuple[str, Json, int, int]] = []  # tag, attributes, utf-16 offset, index in out
    pos = offset = 0
    while pos < len(src):
        if src[pos] != "<":
            ref = CHAR_REF.match(src, pos) if src[pos] == "&" else None
            piece = _decode_refs(ref[0]) if ref else src[pos]
            if "\ud800" <= piece <= "\udfff":
                raise ValueError(
                    "Text contains invalid Unicode characters after decoding HTML entities, check for "
                    "unmatched surrogate code units"
                )
            pos = ref.end() if ref else pos + 1
            out.append(piece)
            offset += utf16(piece)
            continue
        at = len(src[:pos].encode())
        if not src.startswith("</", pos):
            name, attrs, pos = _read_tag(src, pos, at)
            stack.append((name, attrs, offset, len(out)))
            continue
        if not stack:
            raise ValueError(f"Unexpected end tag at byte offset {at}")
        end = re.compile(r"</([^\s>]*)\s*(>?)").match(src, pos)
        name, attrs, begin, index = stack.pop()
        if not end[2]:
            raise ValueError(f"Unclosed end tag at byte offset {at}")
        if end[1] and end[1].lower() != name:
            raise ValueError(
                f'Unmatched end tag at byte offset {at}, expected "</{name}>", found "</{end[1].lower()}>"'
            )
        pos = end.end()
        if offset == begin:
            continue
        last = entities[-1] if entities else {}
        same = (last.get("offset"), last.get("length")) == (begin, offset - begin)
        if name == "pre" and same and last.get("type") == "code" and "language" in last:
            last["type"] = "pre"
        elif entity := make_entity(TAGS[name], begin, offset - begin, attrs, "".join(out[index:])):
            if name == "code" and attrs.get("class", "").startswith("language-"):
                entity["language"] = attrs["class"][9:]
            entities.append(entity)
    if stack:
        raise ValueError(f'Can\'t find end tag corresponding to start tag "{stack[-1][0]}"')
    for entity in entities:
        if entity["type"] == "code":
            entity.pop("language", None)
    return "".join(out), entities


def format_text(
    raw: str, mode: str, given: list[Json] | None, limit: int, what: str, may_be_empty: bool = False
) -> tuple[str, list[Json]]:
    """Text and entities as Telegram would store them; the limit counts UTF-16 units left after parsing.

    Whether the real server counts units or characters is not published; who stays within units is safe either way.
    """
    if len(raw.encode()) > 32768:
        raise bad("text is too long")
    text, entities, mode = raw.replace("\r", ""), list(given or []), mode.lower()
    text = re.sub(r"[\x00-\x09\x0b-\x1f]", " ", text)
    if text and mode not in ("", "none"):
        if mode != "html":
            raise bad("unsupported parse_mode")  # the real server knows others, Orchestra uses this one alone
        try:
            text, entities = parse_html(text)
        except ValueError as error:
            raise bad(f"can't parse entities: {error}") from None
    entities.sort(key=lambda e: (e["offset"], -e["length"]))
    text = text.rstrip()
    lead = min([len(text) - len(text.lstrip(" \n"))] + [e["offset"] for e in entities[:1]])
    text, size = text[lead:], utf16(text) - lead
    moved = [
        e | {"offset": e["offset"] - lead, "length": min(e["length"], size + lead - e["offset"])} for e in entities
    ]
    if not text and not may_be_empty:
        raise bad("text must be non-empty")
    if size > limit:
        raise bad(f"{what} is too long")
    return text, [e for e in moved if e["length"] > 0]


# ---------------------------------------------------------------- the published parameter lists
def spec_errors(value: Any, kind: str, path: str) -> list[tuple[str, str]]:
    """Differences between a JSON value and a type of the spec, as (problem, detail); empty when it fits."""
    return min((_one_type(value, alt, path) for alt in kind.split("|")), key=len)


def _one_type(value: Any, kind: str, path: str) -> list[tuple[str, str]]:
    wrong = [("mistyped_parameter", f"{path} must be {kind}, got {json.dumps(value)[:80]}")]
    if kind.startswith("Array of "):
        if not isinstance(value, list):
            return wrong
        return [e for i, item in enumerate(value) for e in spec_errors(item, kind[9:], f"{path}[{i}]")]
    if kind in SCALARS:
        types = {"Integer": int, "Boolean": bool, "Float": (int, float)}.get(kind, str)
        return [] if isinstance(value, types) and (kind == "Boolean") == isinstance(value, bool) else wrong
    fields = SPEC["types"][kind]
    if isinstance(fields, list):
        return spec_errors(value, "|".join(fields), path)
    if not isinstance(value, dict):
        return wrong
    errors = [("unknown_parameter", f"{path}.{key} is not a field of {kind}") for key in value if key not in fields]
    for key, declared in fields.items():
        if key in value:
            errors += spec_errors(value[key], declared.rstrip("!"), f"{path}.{key}")
        elif declared.endswith("!"):
            errors.append(("missing_parameter", f"{path}.{key} is required in {kind}"))
    return errors


def filled(kind: str, **known: Any) -> Json:
    """An object of a spec type with every required field present (for answers nobody looks at closely)."""
    blank = {"Integer": 0, "Boolean": True, "String": "", "Float": 0.0}
    for key, declared in SPEC["types"][kind].items():
        if declared.endswith("!") and key not in known:
            first = declared.rstrip("!").split("|")[0]
            known[key] = [] if first.startswith("Array") else blank[first] if first in blank else filled(first)
    return known


def read_markup(value: Any) -> Json | None:
    """A reply_markup as stored, or the error Telegram gives for it."""
    if not isinstance(value, dict):
        raise bad("object expected as reply markup")
    rows = value.get("inline_keyboard")
    if rows is None or rows == []:
        keep = next((k for k in ("keyboard", "remove_keyboard", "force_reply") if value.get(k)), None)
        return dict(value) if keep else None
    if not isinstance(rows, list) or not all(isinstance(row, list) for row in rows):
        raise bad('field "inline_keyboard" of the InlineKeyboardMarkup must be an Array of Arrays')
    for button in (button for row in rows for button in row):
        prefix = "can't parse inline keyboard button: "
        if not isinstance(button, dict):
            raise bad(prefix + "InlineKeyboardButton must be an Object")
        if "text" not in button:
            raise bad(prefix + 'Can\'t find field "text"')
        if not any(button.get(k) for k in ("url", "callback_data")) and not set(button) & {
            "callback_game",
            "pay",
            "switch_inline_query",
            "switch_inline_query_chosen_chat",
            "login_url",
            "switch_inline_query_current_chat",
            "web_app",
            "copy_text",
        }:
            raise bad(prefix + "Text buttons are unallowed in the inline keyboard")
        if not str(button["text"]).strip():
            raise bad("inline keyboard button text must be non-empty")
        if url := button.get("url"):
            try:
                check_url(str(url))
            except ValueError as error:
                raise bad(f"inline keyboard button URL '{url}' is invalid: {error}") from None
        elif len(str(button.get("callback_data", "")).encode()) > 64:
            raise bad("BUTTON_DATA_INVALID")
    if sum(map(len, rows)) > 100 or len(json.dumps(rows, ensure_ascii=False).encode()) > 10240:
        raise bad("reply markup is too long")
    return {"inline_keyboard": [row for row in rows if row]} if any(rows) else None
