"""Reads shell words as a program would get them: without quotes and escapes, with known variables
replaced.

Agents choose the texts, so every function reads a text once, in linear time.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache

from approvals.policy.globs import escape

BARE = re.compile(
    r"\\(?P<escaped>.)|'(?P<single>[^']*)'|\$'(?P<ansi>(?:[^'\\]|\\.)*)'|(?P<double>\")"
    r"|\$\{(?P<braced>\w+)\}|\$(?P<name>\w+)|(?P<plain>[^\\'\"$]+|.)",
    re.DOTALL,
)
IN_DOUBLE_QUOTES = re.compile(
    r"\\(?P<escaped>[$`\"\\\n])|(?P<double>\")|\$\{(?P<braced>\w+)\}|\$(?P<name>\w+)|(?P<plain>[^\\\"$]+|.)", re.DOTALL
)
PIECES = re.compile(r"(?:\\.|'[^']*'|\"(?:[^\"\\]|\\.)*\"|[^\s\\'\";&|<>()`]|\\|'|\")+|\s+|[;&|<>()`]", re.DOTALL)
SEPARATORS = frozenset(";&|()`")


@dataclass(frozen=True, slots=True)
class Word:
    """``pattern`` is the text as a glob, in which quoted wildcards are escaped."""

    text: str
    pattern: str

    @property
    def is_glob(self) -> bool:
        """Whether the shell would expand it to file names."""
        return self.pattern != escape(self.text)


def read_word(source: str, known: Mapping[str, str]) -> Word:
    """Read one word; a variable that is not in ``known`` stays as written."""
    text: list[str] = []
    pattern: list[str] = []
    expression, at = BARE, 0
    while found := expression.match(source, at):
        at = found.end()
        if found["double"]:
            expression = IN_DOUBLE_QUOTES if expression is BARE else BARE
            continue
        value = _value(found.groupdict(), found[0], known)
        text.append(value)
        pattern.append(value if expression is BARE and found["plain"] else escape(value))
    return Word("".join(text), "".join(pattern))


def _value(groups: Mapping[str, str | None], written: str, known: Mapping[str, str]) -> str:
    if (escaped := groups["escaped"]) is not None:
        return "" if escaped == "\n" else escaped
    if name := groups["braced"] or groups["name"]:
        return known.get(name, written)
    if (ansi := groups.get("ansi")) is not None:
        return unescape(ansi)
    return groups["plain"] or groups.get("single") or ""


def unescape(text: str) -> str:
    """Decode the content of ``$'...'``, as far as Python has the same escapes."""
    try:
        return text.encode("latin-1", "backslashreplace").decode("unicode_escape")
    except UnicodeDecodeError:
        return text


def rough_commands(source: str, known: Mapping[str, str], *, most: int) -> list[list[Word]] | None:
    """Split a text into commands and words without the grammar; None if there are more than
    ``most`` words.
    """
    pieces = PIECES.findall(source)
    if len(pieces) > 2 * most:
        return None
    commands: list[list[Word]] = [[]]
    read = lru_cache(maxsize=None)(lambda piece: read_word(piece, known))
    for piece in pieces:
        if piece in SEPARATORS or (piece.isspace() and "\n" in piece):
            commands.append([])
        elif not piece.isspace():
            commands[-1].append(read(piece))
    return [words for words in commands if words]
