"""Replacing secrets by placeholders, with the same number for a value in all texts of one approval
request.
"""

import re
from collections.abc import Iterable, Iterator
from typing import Any

from orchestra.logs import redaction
from orchestra.redaction import values
from orchestra.redaction.named import named_values
from orchestra.redaction.programs import program_values
from orchestra.redaction.running import framed, without_commands
from orchestra.redaction.tokens import Span, private_keys, tokens
from orchestra.redaction.words import random_words

PLACEHOLDER = re.compile(r"\[secret \d{1,6}\]")
SHORTEST_KNOWN = 6  # characters; shorter values are not searched for in other places
MOST_KNOWN = 300
CUT = "…"
SHORTEST_BEGINNING = 6
# The search is bounded, because a request may hold ten megabytes. Text beyond a bound is hidden
# unsearched.
MOST_SEARCHED = 200_000  # characters of one text
MOST_SEARCHED_IN_ALL = 500_000  # of all texts of a request, each counted once
COST_OF_A_TEXT = 40  # characters that each text counts in addition to its own
COST_OF_A_CUT = 1_000
LONGEST_WORD = 4_000  # characters before the bound in which the start of a cut word is searched
LEFT_OUT = "[hidden: too large to be searched for secrets]"
LEFT_OUT_LINE = "[hidden]"
_COMMAND = re.compile(r"[\s;|&<>`]|\$\(|^[./~]")  # a value like this is not searched for elsewhere
_JOINT = re.compile(r"(?:(?:''|\"\"|'\"|\"'|\\\n\s*)+[\w./+=~-]{4,})+")


class Redaction:
    """The secrets of one request. Call `learn` with all its texts first, then `hide` with each of
    them.
    """

    def __init__(self) -> None:
        self._numbers: dict[str, int] = {}
        self._looked_for: dict[str, None] = {}
        self._words: list[str] | None = None
        self._searched: dict[str, tuple[int, list[Span]]] = {}
        self._left = MOST_SEARCHED_IN_ALL
        self.left_out = False
        """Whether a text was too large to be searched, so that a part of it is hidden."""

    @property
    def count(self) -> int:
        """The number of different values found, plus one if a text was too large to be searched."""
        return len(self._numbers) + self.left_out

    def learn(self, *texts: str) -> None:
        """Find the secrets of ``texts``, so that `hide` also finds them where only their value
        identifies them.
        """
        for text in texts:
            for start, end in self._search(text)[1]:
                self._number(text[start:end])

    def hide(self, text: str) -> str:
        """Return ``text`` with every secret replaced, a secret of several lines in each of its
        lines.
        """
        if not text:
            return text
        size, found = self._search(text)
        part = text if size == len(text) else text[:size]
        found = [*found, *self._find_known(part)]
        shown = _replaced(part, _joined(found), self._number) if found else part
        return shown if part is text else shown + _left_out(text[size:])

    def hide_in(self, value: Any, name: str = "") -> Any:
        """Redact all texts in ``value``, which was parsed from JSON; ``name`` is the key that holds
        it.
        """
        if isinstance(value, str):
            return self._named(value, name)
        if isinstance(value, list):
            return [self.hide_in(one, name) for one in value]
        if isinstance(value, dict):
            kind = next((str(value[key]) for key in ("name", "key") if isinstance(value.get(key), str)), "")
            return {
                self.hide(str(key)): self.hide_in(one, kind if key == "value" and kind else str(key))
                for key, one in value.items()
            }
        if name and isinstance(value, int) and not isinstance(value, bool):
            return self._named(str(value), name) if self._named(str(value), name) != str(value) else value
        return value

    def learn_from(self, value: Any) -> None:
        """Find the secrets in all texts of ``value``, which was parsed from JSON."""
        self.hide_in(value)

    def _named(self, text: str, name: str) -> str:
        """Redact a text that is stored under ``name``, as if the name stood before it."""
        before = f'"{name}": "'
        if not name or len(text) > values.LONGEST:
            return self.hide(text)
        if any(
            start == len(before) and end - start >= len(text.strip())
            for start, end in self._search(f'{before}{_plain(text)}"')[1]
        ):
            return _replaced(text, [(0, len(text))], self._number)
        return self.hide(text)

    def _number(self, value: str) -> int:
        if value not in self._numbers:
            self._numbers[value] = len(self._numbers) + 1
            if len(self._looked_for) < MOST_KNOWN and _may_be_looked_for(value):
                self._looked_for[value] = None
                self._words = None
        return self._numbers[value]

    def _search(self, text: str) -> tuple[int, list[Span]]:
        """Return how many characters at the beginning of ``text`` were searched, and the secrets in
        them.
        """
        if text not in self._searched:
            if self._left <= 0:
                self.left_out = self.left_out or bool(text)
                return 0, []
            size = min(_searchable(text, MOST_SEARCHED), _searchable(text, self._left))
            self._left -= COST_OF_A_TEXT + size + (COST_OF_A_CUT if CUT in text else 0)
            self.left_out = self.left_out or size < len(text)
            self._searched[text] = size, spans(text[:size]) if size else []
        return self._searched[text]

    def _find_known(self, text: str) -> Iterator[Span]:
        """Yield where values known from other texts occur, complete or cut off."""
        for word in self._known():
            at = text.find(word)  # linear in any text, unlike a regular expression of all words
            while at >= 0:
                yield at, at + len(word)
                at = text.find(word, at + len(word))
        if CUT in text:
            yield from self._find_cut_off(text)

    def _known(self) -> list[str]:
        if self._words is None:
            words = [*self._looked_for, *redaction.learned()]
            self._words = list(
                {line for word in words for line in (word, *_parts(word)) if len(line) >= SHORTEST_KNOWN}
            )
        return self._words

    def _find_cut_off(self, text: str) -> Iterator[Span]:
        """Yield the beginnings of known values that stand right before a cut."""
        for found in list(re.finditer(CUT, text))[:20]:
            before = text[max(0, found.start() - 400) : found.start()]
            for value in self._looked_for:
                if value[:SHORTEST_BEGINNING] not in before:
                    continue
                size = next((n for n in range(min(len(value), len(before)), 3, -1) if before.endswith(value[:n])), 0)
                if size >= SHORTEST_BEGINNING:
                    yield found.start() - size, found.start()


def spans(text: str) -> list[Span]:
    """Return where the secrets of ``text`` are, in order and without overlaps."""
    found = [*tokens(text), *program_values(text), *named_values(text), *random_words(text)]
    keys = [part for span in private_keys(text) for part in framed(text, span)]
    parts = [part for span in found for part in without_commands(text, _with_rest(text, span))]
    return _joined([*keys, *parts]) if keys or parts else []


def _searchable(text: str, most: int) -> int:
    """Return how many characters of ``text`` to search: at most ``most``, and no part of a word."""
    if len(text) <= most:
        return len(text)
    if most <= 0:
        return 0
    words = text[max(0, most - LONGEST_WORD) : most]
    last = max(words.rfind(" "), words.rfind("\n"), words.rfind("\t"))
    return max(0, most - LONGEST_WORD) + last + 1


def _left_out(text: str) -> str:
    """Return the replacement of a text that was not searched, with as many lines, which a diff
    needs.
    """
    return LEFT_OUT + f"\n{LEFT_OUT_LINE}" * text.count("\n")


def _with_rest(text: str, span: Span) -> Span:
    """Extend a secret over the adjacent quoted parts that a shell joins to it."""
    rest = _JOINT.match(text, span[1])
    return (span[0], rest.end()) if rest else span


def _joined(found: Iterable[Span]) -> list[Span]:
    """Sort the spans and merge those that overlap."""
    joined: list[Span] = []
    for start, end in sorted(found):
        if joined and start < joined[-1][1]:
            joined[-1] = (joined[-1][0], max(joined[-1][1], end))
        elif end > start:
            joined.append((start, end))
    return joined


def _replaced(text: str, found: list[Span], number: Any) -> str:
    pieces, at = [], 0
    for start, end in found:
        secret = text[start:end]
        if PLACEHOLDER.fullmatch(secret):
            continue
        placeholder = f"[secret {number(secret)}]"
        pieces += [text[at:start], "\n".join(_line(line, placeholder) for line in secret.split("\n"))]
        at = end
    return "".join([*pieces, text[at:]])


def _line(line: str, placeholder: str) -> str:
    """Replace a line of a secret, except for its indentation."""
    bare = line.strip()
    return line.replace(bare, placeholder) if bare else line


def _parts(value: str) -> list[str]:
    """Return the lines of a value that are long enough to be searched for on their own."""
    return [line for line in (one.strip() for one in value.split("\n")) if len(line) >= 16] if "\n" in value else []


def _may_be_looked_for(value: str) -> bool:
    """Return whether a value may be searched for in other places.

    An ordinary word would be hidden all over a text, and a command must stay readable.
    """
    if len(value) < SHORTEST_KNOWN or (value.isalpha() and len(value) < 16):
        return False
    return "\n" in value or not _COMMAND.search(value)


def _plain(text: str) -> str:
    return text.strip().replace("\\", "/").replace('"', "'").replace("\n", " ")
