"""Making text safe to read: characters that could hide, reorder or displace text become visible.

JSON is formatted token by token, so that names and numbers are shown exactly as written.
"""

import json
import re
import unicodedata
from typing import Any

from approvals.presentation.lookalikes import lookalike_places, marked_lookalikes

PADDING_SPACES = 80  # a longer run is shown as a count
PADDING_LINES = 12
# These are invisible or blank, although Unicode classes them as letters or marks.
BLANK_LETTERS = frozenset("\u034f\u115f\u1160\u17b4\u17b5\u180b\u180c\u180d\u180f\u2800\u3164\uffa0")
HIDDEN_CATEGORIES = frozenset({"Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp", "Zs"})
PADDING = re.compile(rf"[ \t]{{{PADDING_SPACES},}}|(?:[ \t]*\n){{{PADDING_LINES},}}")
_EMOJI, _ARABIC = "\u2600-\u27bf\U0001f000-\U0001faff", "\u0620-\u064a\u066e-\u06d3"
# Ordinary uses of hidden characters: the variation selector and the joiner of emoji, the non-joiner
# in Persian.
ORDINARY = re.compile(
    f"((?<=[\u2000-\U0001ffff])\ufe0f|(?<=[{_EMOJI}\ufe0f])\u200d(?=[{_EMOJI}])|(?<=[{_ARABIC}])\u200c(?=[{_ARABIC}]))"
)
TOKEN = re.compile(r'"(?:[^"\\]|\\.)*"|[\[\]{}:,]|[^\s"\[\]{}:,]+')
DEEPEST_INDENT = 40


def visible(text: str) -> str:
    """Return ``text`` with every character visible that could hide, reorder or displace text.

    Control, bidirectional, zero-width, tag, blank and unassigned characters become escapes such as
    ``\\u202e``; long runs of spaces or empty lines become a count. A look-alike letter gets its
    code point beside it (``lookalikes``). Newlines, tabs and ordinary writing of any direction
    stay.
    """
    marked = marked_lookalikes(text)
    parts = ORDINARY.split(marked)
    shown = "".join(part if at % 2 else part.translate(_ESCAPES) for at, part in enumerate(parts))
    return PADDING.sub(_counted, shown)


def one_line(text: str, longest: int) -> str:
    """Return ``text`` made visible, on one line, and cut to ``longest`` characters."""
    flat = re.sub(r"\s*\n\s*", " ⏎ ", visible(text[: longest * 4].strip())).replace("\t", " ")
    return flat if len(flat) <= longest and len(text) <= longest * 4 else flat[: longest - 1] + "…"


def hidden_kinds(text: str) -> int:
    """Count the different characters of ``text`` that a reader could not see."""
    rest = "".join(ORDINARY.split(text)[::2])
    return len({char for char in rest if char != "\ufe0f" and _ESCAPES[ord(char)] != char})


def pretty(json_text: str) -> str:
    """Format JSON text with line breaks and readable letters.

    It works on tokens, without recursion, so that repeated names, long numbers and their spelling
    stay as written.
    """
    out: list[str] = []
    depth = 0
    pieces = TOKEN.findall(json_text)
    for at, piece in enumerate(pieces):
        following = pieces[at + 1] if at + 1 < len(pieces) else ""
        if piece in "[{":
            depth += 1
            out.append(piece if following in ("]", "}") else piece + _indent(depth))
        elif piece in "]}":
            depth -= 1
            empty = at > 0 and pieces[at - 1] in ("[", "{")
            out.append(piece if empty else _indent(depth) + piece)
        elif piece == ",":
            out.append("," + _indent(depth))
        elif piece == ":":
            out.append(": ")
        else:
            out.append(_readable(piece))
    return "".join(out)


def editable(json_text: str) -> str:
    """Format JSON text for editing by hand; its meaning stays the same.

    Hidden characters and look-alike letters are written as JSON escapes.
    """
    shown = pretty(json_text)
    if places := set(lookalike_places(shown)):
        shown = "".join(json.dumps(char)[1:-1] if at in places else char for at, char in enumerate(shown))
    return re.sub(
        r"[^\n\x20-\x7e]",
        lambda found: found[0] if _ESCAPES[ord(found[0])] == found[0] else json.dumps(found[0])[1:-1],
        shown,
    )


def exact_json(text: str) -> str:
    """Return edited JSON text in the form that approvals store: ASCII, with the same meaning."""
    return re.sub(r"[^\x00-\x7f]", lambda found: json.dumps(found[0])[1:-1], text.replace("\r\n", "\n").strip())


def has_repeated_names(json_text: str) -> bool:
    """Whether an object in it repeats a name; JSON parsers take the last value."""
    repeated = False

    def note(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        nonlocal repeated
        found = dict(pairs)
        repeated = repeated or len(found) != len(pairs)
        return found

    try:
        json.loads(json_text or "{}", object_pairs_hook=note)
    except (ValueError, RecursionError):
        return False
    return repeated


def _counted(found: re.Match[str]) -> str:
    run = found[0]
    lines = run.count("\n")
    if lines:
        return f"\n⟨{lines:,} empty lines⟩\n"
    return f" ⟨{len(run):,} spaces⟩ " if "\t" not in run else f" ⟨{len(run):,} spaces and tabs⟩ "


class _Escapes(dict[int, str]):
    """A table for ``str.translate`` that computes entries on demand and keeps them."""

    def __missing__(self, code: int) -> str:
        self[code] = shown = _escape(chr(code))
        return shown


def _escape(char: str) -> str:
    if char in " \n\t":
        return char
    if char == "\r":
        return "\\r"
    variation = "\ufe00" <= char <= "\ufe0f" or "\U000e0100" <= char <= "\U000e01ef"
    if variation or char in BLANK_LETTERS or unicodedata.category(char) in HIDDEN_CATEGORIES:
        return f"\\u{ord(char):04x}" if ord(char) < 0x10000 else f"\\U{ord(char):08x}"
    return char


_ESCAPES = _Escapes()


def _indent(depth: int) -> str:
    return "\n" + "  " * min(depth, DEEPEST_INDENT)


def _readable(piece: str) -> str:
    try:
        return json.dumps(json.loads(piece), ensure_ascii=False) if piece.startswith('"') else piece
    except ValueError:
        return piece
