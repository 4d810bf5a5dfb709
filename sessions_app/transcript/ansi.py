"""Terminal output as styled text, without the other effects of escape sequences.

Colours and bold are kept (ECMA-48 8.3.117, SGR). Sequences that move the cursor, set titles or
query the terminal are dropped. After a carriage return the line starts anew, as progress bars
intend.
"""

import re
from dataclasses import dataclass

from approvals.presentation.safe_text import visible

SEQUENCE = re.compile(
    r"\x1b\[([0-?]*)[ -/]*([@-~])"  # CSI: parameters and a final letter
    r"|\x1b[\]PX^_].*?(?:\x07|\x1b\\|$)"  # OSC, DCS, SOS, PM and APC, up to their terminator
    r"|\x1b[ -/]*[0-~]?",  # everything else
    re.DOTALL,
)
COLOURS = {1: "bad", 2: "ok", 3: "warn", 4: "blue", 5: "violet", 6: "cyan"}


@dataclass(frozen=True, slots=True)
class Piece:
    """Text in one style; ``style`` holds CSS class names, separated by spaces, or is empty."""

    text: str
    style: str = ""


def pieces(output: str) -> list[Piece]:
    """Split ``output`` into styled pieces; invisible characters are made visible."""
    found: list[Piece] = []
    style: dict[str, str] = {}
    at = 0
    text = _without_overwritten(output)
    for match in SEQUENCE.finditer(text):
        _add(found, text[at : match.start()], style)
        if match[2] == "m":
            style = _styled(style, match[1])
        at = match.end()
    _add(found, text[at:], style)
    return found


def plain(output: str) -> str:
    """``output`` without any escape sequence."""
    return SEQUENCE.sub("", _without_overwritten(output))


def _without_overwritten(output: str) -> str:
    lines = output.replace("\r\n", "\n").split("\n")
    return "\n".join(line.rstrip("\r").rsplit("\r", 1)[-1] if "\r" in line else line for line in lines)


def _add(found: list[Piece], text: str, style: dict[str, str]) -> None:
    if text:
        found.append(Piece(visible(text), " ".join(f"t-{name}" for name in style.values())))


def _styled(style: dict[str, str], parameters: str) -> dict[str, str]:
    codes = [int(code) if code.isdigit() and len(code) < 4 else 0 for code in parameters.split(";")]
    style = dict(style)
    skip = 0
    for at, code in enumerate(codes):
        if skip:
            skip -= 1
        elif code == 0:
            style = {}
        elif code == 1:
            style["weight"] = "b"
        elif code == 22:
            style.pop("weight", None)
        elif code == 39:
            style.pop("colour", None)
        elif code in (38, 48):  # 256 and true colours are left out: they may be unreadable on our background
            skip = 2 if codes[at + 1 : at + 2] == [5] else 4
        elif 30 <= code <= 37 or 90 <= code <= 97:
            style.pop("colour", None)
            if (name := COLOURS.get(code % 10)) is not None:
                style["colour"] = name
    return style
