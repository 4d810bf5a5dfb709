"""A unified diff, line by line, as two columns."""

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import zip_longest

from approvals.presentation.diffs import Line


@dataclass(frozen=True, slots=True)
class Pair:
    """What stood there and what will; None where one of them has no line. A heading stands alone, on both sides."""

    before: Line | None
    after: Line | None

    @property
    def heading(self) -> str:
        """The heading between two parts of a diff, or nothing."""
        return self.before.text if self.before and self.before.kind == "hunk" else ""


def pairs(lines: tuple[Line, ...]) -> Iterator[Pair]:
    """The same lines side by side; what was taken out stands beside what came in its place."""
    gone: list[Line] = []
    come: list[Line] = []
    for line in lines:
        if line.kind == "del" and not come:
            gone.append(line)
        elif line.kind == "add":
            come.append(line)
        else:
            yield from _beside(gone, come)
            gone, come = ([line], []) if line.kind == "del" else ([], [])
            if line.kind != "del":
                yield Pair(line, line)
    yield from _beside(gone, come)


def _beside(gone: list[Line], come: list[Line]) -> Iterator[Pair]:
    for before, after in zip_longest(gone, come):
        yield Pair(before, after)
