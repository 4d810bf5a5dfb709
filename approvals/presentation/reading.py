"""Which requests are too long to be approved at a glance. One rule for every surface.

Such a request is approved only with a proof of reading: the page was scrolled to its end, or the
person confirmed it. A rejection needs no proof. Every surface shows the size and the last lines of
such a request on top. The REST surface and the WebSocket give programs the whole input and require
no proof (docs/security.md).
"""

import hashlib
import json
import math
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from approvals.models import Approval
from approvals.policy.tool_call import read_arguments, walk_json
from approvals.presentation.redacted import Shown
from approvals.presentation.render import WHOLE, Block, what_would_run
from approvals.presentation.safe_text import one_line, visible

MOST_ROWS = 80  # a few screens: two on a desktop, three to four on a phone
ROW = 60  # characters; a row of an upright phone has at most this many
LONG_BLOCK_ROWS = 20  # the last lines of a longer block are shown on top
MOST_ENDINGS = 3
LAST_LINES = 5
LAST_CHARACTERS = 240
# Everything that some program may take as the end of a line.
LINE_END = re.compile("\r\n|[\n\r\v\f\x1c\x1d\x1e\x85\u2028\u2029]")


@dataclass(frozen=True, slots=True)
class Ending:
    """The last lines of one long block."""

    label: str
    text: str


@dataclass(frozen=True, slots=True)
class Extent:
    """How much there is to read.

    ``rows`` are lines as wrapped on a narrow screen; ``size`` is in bytes.
    """

    lines: int
    rows: int
    size: int
    endings: tuple[Ending, ...] = ()

    @property
    def is_long(self) -> bool:
        """Whether an approval needs the proof that the request was read to its end."""
        return self.rows > MOST_ROWS

    @property
    def words(self) -> str:
        """The size in words, such as ``3,002 lines, 41 kB``."""
        lines = f"{self.lines:,} {'line' if self.lines == 1 else 'lines'}"
        return f"{lines}, {self.size:,} bytes" if self.size < 1000 else f"{lines}, {_kilobytes(self.size)}"

    @property
    def ending(self) -> str:
        """The end of the last block, on one line."""
        return one_line(self.endings[-1].text, 160) if self.endings else ""


def extent_of(approval: Approval, blocks: Sequence[Block] | None = None) -> Extent:
    """Return how much there is to read: of the sent texts or of the shown blocks, whichever is
    more.

    The sent texts count too, because thousands of empty lines are shown as a number. ``blocks`` are
    the shown blocks, if the caller has them.
    """
    shown = what_would_run(approval, longest=WHOLE) if blocks is None else blocks
    sent = list(_texts(approval))
    return Extent(
        lines=1 + max(sum(map(_line_ends, sent)), sum(_line_ends(block.text) for block in shown)),
        rows=max(sum(map(rows_of, sent)), sum(rows_of(block.text) for block in shown)),
        size=max(sum(map(_bytes, sent)), sum(_bytes(block.text) for block in shown)),
        endings=_endings(shown),
    )


def proof_of(approval: Approval) -> str:
    """Return what a form sends back after its reader has reached the end of exactly this text."""
    content = (
        str(approval.pk), approval.title, approval.body, approval.facts, approval.options, approval.tool_input
    )  # fmt: skip
    return hashlib.sha256(json.dumps(content).encode()).hexdigest()[:32]


def offered_proof(shown: Shown) -> str:
    """Return the proof for a page with ``shown``; empty if a part is hidden because of its size."""
    return "" if shown.left_out else proof_of(shown.raw)


def why_unread(approval: Approval, proof: str) -> str:
    """Return why an approval with this ``proof`` is refused; empty if it is accepted, or the
    request is closed.
    """
    if not approval.is_open or (proof and proof == proof_of(approval)):
        return ""
    extent = extent_of(approval)
    if not extent.is_long:
        return ""
    return (
        f"It is long ({extent.words}) and has not been read to its end. Open its own page, reveal what is hidden "
        "there for its size, read to the end or tick the box that stands there, then approve."
    )


def rows_of(text: str) -> int:
    """Count the lines of ``text`` as wrapped on a narrow screen."""
    return sum(max(1, math.ceil(len(line) / ROW)) for line in LINE_END.split(text)) if text else 0


def ending_of(text: str) -> str:
    """Return the last lines of a text, or the whole text if it is short."""
    whole = text.strip()
    lines = [line for line in whole[-LAST_CHARACTERS:].split("\n") if line.strip()]
    kept = "\n".join(lines[-LAST_LINES:])
    if kept == whole:
        return whole
    begins_a_line = len(lines) > LAST_LINES or f"\n{kept}" in whole[-LAST_CHARACTERS - 1 :]
    return f"…\n{kept}" if begins_a_line else f"…{kept}"


def _endings(blocks: Sequence[Block]) -> tuple[Ending, ...]:
    long = [block for block in blocks if rows_of(block.text) > LONG_BLOCK_ROWS]
    longest = sorted(long, key=lambda block: len(block.text), reverse=True)[:MOST_ENDINGS]
    return tuple(Ending(block.label, ending_of(block.text)) for block in long if block in longest)


def _texts(approval: Approval) -> Iterator[str]:
    """Yield every text of the request, as it was sent."""
    if approval.kind == Approval.Kind.EXTERNAL:
        yield approval.title
        yield approval.options
        yield from _strings(approval.facts)
    yield approval.body
    arguments = read_arguments(approval.tool_input)
    if arguments is None:
        yield approval.tool_input
    else:
        yield from _strings(arguments)


def _strings(value: Any) -> Iterator[str]:
    for one in walk_json(value):
        if not isinstance(one, dict | list):
            yield one if isinstance(one, str) else visible(str(one))


def _line_ends(text: str) -> int:
    return len(LINE_END.findall(text.rstrip("\r\n")))


def _bytes(text: str) -> int:
    return len(text.encode("utf-8", "replace"))


def _kilobytes(size: int) -> str:
    return f"{size / 1000:,.0f} kB" if size < 1_000_000 else f"{size / 1_000_000:,.1f} MB"
