"""A unified diff as two columns."""

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import zip_longest

from approvals.presentation.diffs import Line


@dataclass(frozen=True, slots=True)
class Pair:
    """One row of both columns; None where a side has no line. A heading is on both sides."""

    before: Line | None
    after: Line | None

    @property
    def heading(self) -> str:
        """The heading between two parts of a diff, or an empty text."""
        return self.before.text if self.before and self.before.kind == "hunk" else ""


def pairs(lines: tuple[Line, ...]) -> Iterator[Pair]:
    """Yield the lines side by side; a removed line is beside the line that replaces it."""
    removed: list[Line] = []
    added: list[Line] = []
    for line in lines:
        if line.kind == "del" and not added:
            removed.append(line)
        elif line.kind == "add":
            added.append(line)
        else:
            yield from _beside(removed, added)
            removed, added = ([line], []) if line.kind == "del" else ([], [])
            if line.kind != "del":
                yield Pair(line, line)
    yield from _beside(removed, added)


def _beside(removed: list[Line], added: list[Line]) -> Iterator[Pair]:
    for before, after in zip_longest(removed, added):
        yield Pair(before, after)
