"""Globs for texts and for paths. Matching takes time linear in the text, because agents choose the
texts.

In a text ``*`` matches anything. In a path it does not match ``/``; a part ``**`` does, if the
caller allows crossing.
"""

import fnmatch
import re
from collections.abc import Sequence
from functools import lru_cache

WILDCARD = re.compile(r"[*?\[]")
TOKEN = re.compile(r"\*+|\[!?\]?[^\]]*\]|.", re.DOTALL)
LONGEST_PATTERN = 4_000  # characters; a longer pattern matches only if it has no wildcard


def escape(text: str) -> str:
    """Return a pattern that matches only ``text``."""
    return text.replace("[", "[[]").replace("*", "[*]").replace("?", "[?]")


def literal_of(pattern: str) -> str | None:
    """Return the only text that ``pattern`` matches; None if it has a wildcard."""
    text = pattern.replace("[?]", "?").replace("[*]", "*").replace("[[]", "[")
    if not WILDCARD.search(text):
        return text
    return text if escape(text) == pattern else None


def glob_matches(text: str, pattern: str) -> bool:
    """Whether ``pattern`` matches the whole of ``text``; case matters."""
    if len(pattern) > LONGEST_PATTERN:
        return text == literal_of(pattern)
    pieces = _pieces(pattern)
    if len(pieces) == 1:
        return len(text) == pieces[0].length and pieces[0].stands_at(text, 0)
    first, *middle, last = pieces
    end = len(text) - last.length
    if end < first.length or not (first.stands_at(text, 0) and last.stands_at(text, end)):
        return False
    at = first.length
    for piece in middle:
        at = piece.after(text, at, end)
        if at < 0:
            return False
    return True


class _Piece:
    """The part of a pattern between two stars; it matches a fixed number of characters."""

    __slots__ = ("expression", "length", "text")

    def __init__(self, tokens: Sequence[str]) -> None:
        self.length = len(tokens)
        literals = [literal_of(token) for token in tokens]
        plain = all(literal is not None and len(literal) == 1 for literal in literals)
        self.text = "".join(literal or "" for literal in literals) if plain else ""
        whole = "".join(_expression(token) for token in tokens)
        self.expression = None if plain else re.compile(whole, re.DOTALL)

    def stands_at(self, text: str, at: int) -> bool:
        if self.expression is None:
            return text.startswith(self.text, at)
        return self.expression.match(text, at) is not None

    def after(self, text: str, at: int, end: int) -> int:
        """Return the index after the first match between ``at`` and ``end``; -1 if there is no
        match.
        """
        if self.expression is None:
            found = text.find(self.text, at, end)
            return found + self.length if found >= 0 else -1
        place = self.expression.search(text, at, end)
        return place.end() if place else -1


def _expression(token: str) -> str:
    if token.startswith("[") and len(token) > 1:
        return fnmatch.translate(token).removeprefix("(?s:").removesuffix(r")\Z")
    return {"?": "."}.get(token) or re.escape(token)


@lru_cache(maxsize=1024)
def _pieces(pattern: str) -> tuple[_Piece, ...]:
    runs: list[list[str]] = [[]]
    for token in TOKEN.findall(pattern):
        if token.startswith("*"):
            runs.append([])
        else:
            runs[-1].append(token)
    return tuple(_Piece(run) for run in runs)


def part_matches(name: str, part: str) -> bool:
    """Whether one part of a pattern matches one name of a path."""
    return name == part or glob_matches(name, part)


def could_reach(goal: Sequence[str], parts: Sequence[str], *, crossing: bool) -> bool:
    """Whether a path pattern can match ``goal`` or a path below it.

    With ``crossing``, a part ``**`` matches any number of folders.
    """
    for at, part in enumerate(parts):
        if at == len(goal) or (crossing and part == "**"):
            return True
        if not part_matches(goal[at], part):
            return False
    return len(parts) >= len(goal)


def could_name_above(goal: Sequence[str], parts: Sequence[str]) -> bool:
    """Whether a path pattern can match ``goal`` or a folder above it."""
    return len(parts) <= len(goal) and all(map(part_matches, goal, parts))
