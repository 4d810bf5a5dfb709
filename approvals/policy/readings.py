"""Readings of a command: as written, as a shell expands it, and as words that could be paths."""
# The paths here are text that an agent wrote; pathlib would tidy away what matters.
# ruff: noqa: PTH111

import os
import re
import tempfile
from collections.abc import Iterator
from urllib.parse import unquote

from approvals.policy.globs import WILDCARD
from approvals.policy.lookup import TooMuch
from approvals.policy.shell.words import unescape

# Agents choose the texts, so no pattern here may backtrack over a text from each of its characters.
SEPARATORS = re.compile(r"[=<>|;&(),:`\"'\s@]+")
VARIABLE = re.compile(r"\$(?:\{(\w+)(?!\w)(?:[^}$]|\$(?!\{))*\}|(\w+))")
BRACES = re.compile(r"\{[^{},\s]*,[^{}\s]*\}")
ASSIGNMENT = re.compile(r"(?:^|[\s;&|(])(\w+)=(\"[^\"]*\"|'[^']*'|[^\s;&|)]*)")
LOOP = re.compile(r"\bfor\s+(\w+)\s+in\s+([^\s;]+)")
CURRENT_FOLDER = re.compile(r"\$\(\s*pwd\s*\)|`pwd`")
SHELL_COMPOSITION = re.compile(r"[;&|<>`\n\r(){}]|\$")
MOST_PARTS = 300  # of a composed command that are compared with deny and ask rules
LONGEST_READING = 64 * 1024  # characters; variables may contain each other


def variables_of(text: str, directory: str) -> dict[str, str]:
    """Return the variables that the text assigns, and ``HOME``, ``PWD`` and ``TMPDIR``."""
    known = {"HOME": os.path.expanduser("~"), "PWD": directory, "TMPDIR": tempfile.gettempdir()}
    given = (*LOOP.findall(text), *ASSIGNMENT.findall(text))
    return known | {name: value.strip("\"'") for name, value in given}


def with_current_folder(text: str) -> str:
    """Replace ``$(pwd)`` by ``${PWD}``."""
    return CURRENT_FOLDER.sub("${PWD}", text) if "pwd" in text else text


def readings_of(command: str, directory: str) -> list[str]:
    """Return the command as written and as a shell expands it.

    The expansion joins lines, replaces known variables and removes quotes; a last reading has
    braces as globs.

    Raises:
        TooMuch: the variables expand to a text that is too long.
    """
    text = with_current_folder(command.replace("\\\n", ""))
    text = re.sub(r"\$'([^']*)'", lambda found: unescape(found[1]), text)
    known = variables_of(text, directory)
    for _ in range(3):  # a variable may contain another one
        text = _with_values(text, known)
    text = re.sub(r"[\"'\\]", "", text.replace("~+", directory))
    return list(dict.fromkeys((command, text, BRACES.sub("*", text))))


def _with_values(text: str, known: dict[str, str]) -> str:
    left = LONGEST_READING - len(text)

    def value(found: "re.Match[str]") -> str:
        nonlocal left
        put = known.get(found[1] or found[2], found[0])
        left -= len(put)
        if left < 0:
            raise TooMuch
        return put

    return VARIABLE.sub(value, text)


def words_of(text: str) -> Iterator[str]:
    """Yield everything that could be a path: words, option values without a space, and decoded
    percent-encoded words.
    """
    for word in SEPARATORS.split(text):
        if not word:
            continue
        yield word
        if "%" in word:
            yield unquote(word)
        start = word.find("/")
        if start > 0 and _may_begin_in_the_middle(word, start):
            yield word[start:]


def _may_begin_in_the_middle(word: str, start: int) -> bool:
    """Whether a path may start at the first slash: ``-C/x`` and ``$X/x`` may name ``/x``, but
    ``src/*`` not ``/*``.
    """
    return word[0] in "-+" or bool(re.search(r"[$`]", word[:start])) or not WILDCARD.search(word)
