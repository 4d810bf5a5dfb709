"""Hiding what was found, with the same number for the same secret in all texts of one approval request."""

import re
from collections.abc import Iterable, Iterator
from typing import Any

from orchestra.logs import redaction
from orchestra.redaction import values
from orchestra.redaction.named import named_values
from orchestra.redaction.programs import program_values
from orchestra.redaction.running import framed, kept_readable
from orchestra.redaction.tokens import Span, private_keys, tokens
from orchestra.redaction.words import random_words

PLACEHOLDER = re.compile(r"\[secret \d{1,6}\]")
SHORTEST_KNOWN = 6  # characters: shorter values, found once by their place, are not looked for elsewhere
MOST_KNOWN = 300
CUT = "…"
SHORTEST_BEGINNING = 6
# Searching is bounded, since anybody may send ten megabytes; what is over a bound is hidden, not searched.
MOST_SEARCHED = 200_000  # characters of one text
MOST_SEARCHED_IN_ALL = 500_000  # of all texts of a request, each counted once
COST_OF_A_TEXT = 40  # characters that any text counts at least
COST_OF_A_CUT = 1_000
LONGEST_WORD = 4_000  # characters of a word that the bound would go through
LEFT_OUT = "[hidden: too large to be searched for secrets]"
LEFT_OUT_LINE = "[hidden]"
_COMMAND = re.compile(r"[\s;|&<>`]|\$\(|^[./~]")  # in a value that is hidden wherever it stands
_JOINT = re.compile(r"(?:(?:''|\"\"|'\"|\"'|\\\n\s*)+[\w./+=~-]{4,})+")


class Redaction:
    """What was hidden so far. Give it all texts of a request first (`learn`), then `hide` each of them."""

    def __init__(self) -> None:
        self._numbers: dict[str, int] = {}
        self._looked_for: dict[str, None] = {}
        self._words: list[str] | None = None
        self._searched: dict[str, tuple[int, list[Span]]] = {}
        self._left = MOST_SEARCHED_IN_ALL
        self.left_out = False
        """Whether something was too large to be searched, and is hidden for that."""

    @property
    def count(self) -> int:
        """How many different values were found; what was too large to be searched counts as one more."""
        return len(self._numbers) + self.left_out

    def learn(self, *texts: str) -> None:
        """Find the secrets of ``texts``, so that they are hidden where nothing but their value shows what they are."""
        for text in texts:
            for start, end in self._search(text)[1]:
                self._number(text[start:end])

    def hide(self, text: str) -> str:
        """``text`` with every secret replaced; a secret of several lines in each of them."""
        if not text:
            return text
        size, found = self._search(text)
        part = text if size == len(text) else text[:size]
        found = [*found, *self._again(part)]
        shown = _replaced(part, _joined(found), self._number) if found else part
        return shown if part is text else shown + _left_out(text[size:])

    def hide_in(self, value: Any, name: str = "") -> Any:
        """The same for everything in ``value``, which is read from JSON; ``name`` is what it stands under."""
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
        """`learn` for everything in ``value``, which is read from JSON."""
        self.hide_in(value)

    def _named(self, text: str, name: str) -> str:
        """A text whose name stands apart from it, judged as if the name stood before it."""
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
        """How many characters of ``text`` were searched, from its beginning on, and where its secrets are there."""
        if text not in self._searched:
            if self._left <= 0:
                self.left_out = self.left_out or bool(text)
                return 0, []
            size = min(_searchable(text, MOST_SEARCHED), _searchable(text, self._left))
            self._left -= COST_OF_A_TEXT + size + (COST_OF_A_CUT if CUT in text else 0)
            self.left_out = self.left_out or size < len(text)
            self._searched[text] = size, spans(text[:size]) if size else []
        return self._searched[text]

    def _again(self, text: str) -> Iterator[Span]:
        """Where a value that is known from elsewhere stands, whole or cut."""
        for word in self._known():
            at = text.find(word)  # linear for any text, which a pattern of all the words is not
            while at >= 0:
                yield at, at + len(word)
                at = text.find(word, at + len(word))
        if CUT in text:
            yield from self._cut(text)

    def _known(self) -> list[str]:
        if self._words is None:
            words = [*self._looked_for, *redaction.learned()]
            self._words = list(
                {line for word in words for line in (word, *_parts(word)) if len(line) >= SHORTEST_KNOWN}
            )
        return self._words

    def _cut(self, text: str) -> Iterator[Span]:
        """The beginning of a known value right before a cut."""
        for found in list(re.finditer(CUT, text))[:20]:
            before = text[max(0, found.start() - 400) : found.start()]
            for value in self._looked_for:
                if value[:SHORTEST_BEGINNING] not in before:
                    continue
                size = next((n for n in range(min(len(value), len(before)), 3, -1) if before.endswith(value[:n])), 0)
                if size >= SHORTEST_BEGINNING:
                    yield found.start() - size, found.start()


def spans(text: str) -> list[Span]:
    """Where the secrets of ``text`` are: in order, without overlaps."""
    found = [*tokens(text), *program_values(text), *named_values(text), *random_words(text)]
    keys = [part for span in private_keys(text) for part in framed(text, span)]
    parts = [part for span in found for part in kept_readable(text, _with_rest(text, span))]
    return _joined([*keys, *parts]) if keys or parts else []


def _searchable(text: str, most: int) -> int:
    """How many characters of ``text`` may be searched: at most so many, and no part of a word."""
    if len(text) <= most:
        return len(text)
    if most <= 0:
        return 0
    words = text[max(0, most - LONGEST_WORD) : most]
    last = max(words.rfind(" "), words.rfind("\n"), words.rfind("\t"))
    return max(0, most - LONGEST_WORD) + last + 1


def _left_out(text: str) -> str:
    """In place of what was not searched; its lines stay lines, as a diff needs it."""
    return LEFT_OUT + f"\n{LEFT_OUT_LINE}" * text.count("\n")


def _with_rest(text: str, span: Span) -> Span:
    """A secret that a shell puts together from several quoted parts, to its end."""
    rest = _JOINT.match(text, span[1])
    return (span[0], rest.end()) if rest else span


def _joined(found: Iterable[Span]) -> list[Span]:
    """Sorted, and overlapping ones as one."""
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
        sign = f"[secret {number(secret)}]"
        pieces += [text[at:start], "\n".join(_line(line, sign) for line in secret.split("\n"))]
        at = end
    return "".join([*pieces, text[at:]])


def _line(line: str, sign: str) -> str:
    """A line of a secret; its indentation stays."""
    bare = line.strip()
    return line.replace(bare, sign) if bare else line


def _parts(value: str) -> list[str]:
    """The lines of a value, long enough to be its own."""
    return [line for line in (one.strip() for one in value.split("\n")) if len(line) >= 16] if "\n" in value else []


def _may_be_looked_for(value: str) -> bool:
    """Whether it is no ordinary word, which would be hidden all over a text, and nothing that a shell would run."""
    if len(value) < SHORTEST_KNOWN or (value.isalpha() and len(value) < 16):
        return False
    return "\n" in value or not _COMMAND.search(value)


def _plain(text: str) -> str:
    return text.strip().replace("\\", "/").replace('"', "'").replace("\n", " ")
