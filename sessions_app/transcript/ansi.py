"""Output of terminals as text with colours: what an escape sequence would do to a screen, it does not do to a page.

Colours and weight are kept (ECMA-48 8.3.117, SGR); sequences that move the cursor, set titles or ask the terminal
something are dropped; a carriage return starts its line anew, as progress bars mean it.
"""

import re
from dataclasses import dataclass

from approvals.presentation.safe_text import visible

SEQUENCE = re.compile(
    r"\x1b\[([0-?]*)[ -/]*([@-~])"  # CSI: parameters and a final letter
    r"|\x1b[\]PX^_].*?(?:\x07|\x1b\\|$)"  # OSC, DCS and their kin, up to their end
    r"|\x1b[ -/]*[0-~]?",  # everything else
    re.DOTALL,
)
COLOURS = {1: "bad", 2: "ok", 3: "warn", 4: "blue", 5: "violet", 6: "cyan"}


@dataclass(frozen=True, slots=True)
class Piece:
    """Text in one style; ``style`` is a list of class names, empty for plain."""

    text: str
    style: str = ""


def pieces(output: str) -> list[Piece]:
    """``output`` in its styles, everything that could hide made visible."""
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
        elif code in (38, 48):  # 256 and true colours: kept readable by being left out
            skip = 2 if codes[at + 1 : at + 2] == [5] else 4
        elif 30 <= code <= 37 or 90 <= code <= 97:
            style.pop("colour", None)
            if (name := COLOURS.get(code % 10)) is not None:
                style["colour"] = name
    return style
