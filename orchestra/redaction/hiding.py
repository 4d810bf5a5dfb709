"""Hiding what was found, with the same number for the same secret in all texts of one approval request."""

import re
from collections.abc import Iterable, Iterator
from typing import Any

from orchestra import scrub
from orchestra.redaction import values
from orchestra.redaction.named import named_values
from orchestra.redaction.programs import program_values
from orchestra.redaction.tokens import Span, private_keys, tokens
from orchestra.redaction.words import random_words

PLACEHOLDER = re.compile(r"\[secret \d{1,6}\]")
SHORTEST_KNOWN = 6  # characters: shorter values, found once by their place, are not looked for elsewhere
MOST_KNOWN = 300
CUT = "…"
SHORTEST_BEGINNING = 6
_JOINT = re.compile(r"(?:(?:''|\"\"|'\"|\"'|\\\n\s*)+[\w./+=~-]{4,})+")


class Redaction:
    """What was hidden so far. Give it all texts of a request first (`learn`), then `hide` each of them."""

    def __init__(self) -> None:
        self._numbers: dict[str, int] = {}
        self._looked_for: dict[str, None] = {}
        self._pattern: re.Pattern[str] | None = None

    @property
    def count(self) -> int:
        """How many different values were found."""
        return len(self._numbers)

    def learn(self, *texts: str) -> None:
        """Find the secrets of ``texts``, so that they are hidden where nothing but their value shows what they are."""
        for text in texts:
            for start, end in spans(text):
                self._number(text[start:end])

    def hide(self, text: str) -> str:
        """``text`` with every secret replaced; a secret of several lines in each of them."""
        if not text:
            return text
        found = [*spans(text), *self._again(text)]
        return _replaced(text, _joined(found), self._number) if found else text

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
            for start, end in spans(f'{before}{_plain(text)}"')
        ):
            return _replaced(text, [(0, len(text))], self._number)
        return self.hide(text)

    def _number(self, value: str) -> int:
        if value not in self._numbers:
            self._numbers[value] = self.count + 1
            if len(self._looked_for) < MOST_KNOWN and _may_be_looked_for(value):
                self._looked_for[value] = None
                self._pattern = None
        return self._numbers[value]

    def _again(self, text: str) -> Iterator[Span]:
        """Where a value that is known from elsewhere stands, whole or cut."""
        known = self._known()
        if known is not None:
            yield from (found.span() for found in known.finditer(text))
        if CUT in text:
            yield from self._cut(text)

    def _known(self) -> re.Pattern[str] | None:
        if self._pattern is None:
            words = [*self._looked_for, *scrub.learned()]
            lines = {line for word in words for line in (word, *_parts(word)) if len(line) >= SHORTEST_KNOWN}
            if not lines:
                return None
            self._pattern = re.compile("|".join(map(re.escape, sorted(lines, key=len, reverse=True))))
        return self._pattern

    def _cut(self, text: str) -> Iterator[Span]:
        """The beginning of a known value right before a cut."""
        for found in list(re.finditer(CUT, text))[:20]:
            before = text[max(0, found.start() - 400) : found.start()]
            for value in self._looked_for:
                size = next((n for n in range(min(len(value), len(before)), 3, -1) if before.endswith(value[:n])), 0)
                if size >= SHORTEST_BEGINNING:
                    yield found.start() - size, found.start()


def spans(text: str) -> list[Span]:
    """Where the secrets of ``text`` are: in order, without overlaps."""
    found = [*private_keys(text), *tokens(text), *program_values(text), *named_values(text), *random_words(text)]
    return _joined(_with_rest(text, span) for span in found) if found else []


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
    """Whether it is no ordinary word, which would be hidden all over a text."""
    return len(value) >= SHORTEST_KNOWN and (not value.isalpha() or len(value) >= 16)


def _plain(text: str) -> str:
    return text.strip().replace("\\", "/").replace('"', "'").replace("\n", " ")
