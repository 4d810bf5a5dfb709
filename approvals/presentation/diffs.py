"""Line diffs, and reading the file on disk that a diff is against."""

import difflib
import os
import re
import stat
from collections.abc import Iterator
from dataclasses import dataclass

from approvals.policy.protected import is_secret
from approvals.policy.tool_call import inside, resolve
from approvals.presentation.safe_text import visible

LARGEST_FILE = 512 * 1024  # bytes of a file on disk that a diff may read
STEPS = 5_000_000  # line comparisons for one diff, which take a second or two


@dataclass(frozen=True, slots=True)
class Line:
    """One line of a diff. ``kind`` is add, del, same, or hunk (a heading between parts)."""

    kind: str
    text: str
    old: int | None = None
    new: int | None = None

    @property
    def sign(self) -> str:
        return {"add": "+", "del": "-"}.get(self.kind, " ")


def diff_lines(before: str, after: str) -> tuple[Line, ...]:
    """Return the changes from one text to the other, each with three lines of context."""
    return tuple(_diff_lines(split_lines(before), split_lines(after)))


def split_lines(text: str) -> list[str]:
    """Split at newlines alone, keeping the line ends: other separators stay visible within their
    line.
    """
    return [line for line in re.split(r"(?<=\n)", text) if line]


class _Bounded(difflib.SequenceMatcher[str]):
    """Stops matching after ``STEPS`` comparisons; the rest counts as changed, which is a valid diff
    of any two texts.

    Ordinary changes need far fewer; without the bound, texts made for it would occupy a process for
    hours.
    """

    def __init__(self, before: list[str], after: list[str]) -> None:
        super().__init__(None, before, after)
        self._before = before
        self._left = STEPS

    def find_longest_match(
        self, alo: int = 0, ahi: int | None = None, blo: int = 0, bhi: int | None = None
    ) -> difflib.Match:
        places: dict[str, list[int]] = vars(self)["b2j"]  # where each line is in the second text; not in the stubs
        steps: int = sum(1 + len(places.get(line, ())) for line in self._before[alo:ahi])
        if steps > self._left:
            return difflib.Match(alo, blo, 0)
        self._left -= steps
        return super().find_longest_match(alo, ahi, blo, bhi)


def _diff_lines(before: list[str], after: list[str]) -> Iterator[Line]:
    for group in _Bounded(before, after).get_grouped_opcodes(3):
        yield Line("hunk", f"@@ line {group[0][1] + 1} to {group[-1][2]}, then {group[0][3] + 1} to {group[-1][4]} @@")
        for tag, old, old_end, new, new_end in group:
            if tag == "equal":
                for step in range(old_end - old):
                    yield Line("same", _line(before[old + step]), old + step + 1, new + step + 1)
                continue
            for number in range(old, old_end):
                yield Line("del", _line(before[number]), old=number + 1)
            for number in range(new, new_end):
                yield Line("add", _line(after[number]), new=number + 1)


def _line(raw: str) -> str:
    return visible(raw[:-1]) if raw.endswith("\n") else visible(raw) + " ⟨no newline at the end⟩"


def file_now(path: str, directory: str) -> tuple[str | None, str]:
    """Return the file's text, or None and the reason.

    Only files in the working directory are read, and no secrets.
    """
    real = resolve(path, directory)
    if not directory or "\0" in path or not inside(real, directory):
        return None, "The file is outside the working directory, so what is there now is not shown."
    if is_secret(real):
        return None, "The file looks like a secret, so what is there now is not shown."
    try:
        # O_NONBLOCK: a pipe must not block this process; O_NOFOLLOW: the path is already resolved
        with os.fdopen(os.open(real, os.O_RDONLY | os.O_NONBLOCK | os.O_NOFOLLOW), "rb") as file:
            found = os.fstat(file.fileno())
            if not stat.S_ISREG(found.st_mode):
                return None, "There is something at this path that is not a file."
            if found.st_size > LARGEST_FILE:
                return None, f"The file on disk is large ({found.st_size:,} bytes), so no difference is shown."
            raw = file.read(LARGEST_FILE + 1)
    except FileNotFoundError:
        return None, "A new file: nothing is at this path now."
    except OSError:
        return None, "The file on disk cannot be read from here, so no difference is shown."
    try:
        return raw.decode(), ""
    except UnicodeDecodeError:
        return None, "The file on disk is not text, so no difference is shown."
