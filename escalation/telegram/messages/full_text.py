"""All of what a cut card left out: as messages, or as a document when there would be many. Pure."""

from collections.abc import Iterator

from approvals.presentation.render import TITLE, Block, visible
from escalation.channels.base import Notice
from escalation.telegram.messages.markup import (
    LONGEST_MESSAGE,
    NOTHING,
    code_block,
    count_units,
    lines,
    quote,
    remark,
    truncate,
)
from escalation.telegram.messages.message import Card

MOST_MESSAGES = 4  # of the 20 a minute that a group takes
LARGEST_DOCUMENT = 50_000_000  # bytes; Bot API, sendDocument
ROOM = LONGEST_MESSAGE - 700  # a block's name stands above each part of it, a remark below the last
LONGEST_NOTE = 300


def split_into_messages(notice: Notice) -> list[Card]:
    """Everything, in the order to read it; empty if it takes more than `MOST_MESSAGES`."""
    parts: list[Card] = []
    for block in _all_blocks(notice):
        pieces = list(_split_text(block.text))
        if (
            len(parts) + len(pieces) > MOST_MESSAGES
            or count_units(block.label) > LONGEST_MESSAGE - ROOM - LONGEST_NOTE - 20
        ):
            return []
        for number, text in enumerate(pieces, 1):
            name = block.label + (f" ({number} of {len(pieces)})" if len(pieces) > 1 else "")
            noted = block.note and not block.quiet and number == len(pieces)
            part = lines(
                [quote(name), code_block(text), remark(truncate(block.note, LONGEST_NOTE)) if noted else NOTHING]
            )
            parts.append(Card(text=part.html, plain=part.plain))
    return parts


def build_document(notice: Notice) -> tuple[str, bytes] | None:
    """File name and content of the same as a text file; None if it is larger than Telegram takes."""
    head = [visible(notice.title), f"Digest: {notice.digest}", f"Directory: {visible(notice.working_directory)}"]
    body = [
        f"--- {block.label}\n\n{block.text}\n" + (f"\n({block.note})\n" if block.note else "")
        for block in _all_blocks(notice)
    ]
    content = "\n".join([*head, "", *body]).encode()
    return (f"approval-{str(notice.approval_id)[:8]}.txt", content) if len(content) <= LARGEST_DOCUMENT else None


def _all_blocks(notice: Notice) -> list[Block]:
    """Everything that was asked, the title of a program's request first; facts and options are blocks of their own."""
    shown = {block.text for block in notice.blocks}
    if notice.kind != "external" or visible(notice.title) in shown:
        return list(notice.blocks)
    return [Block(kind="text", label=TITLE, text=visible(notice.title)), *notice.blocks]


def _split_text(text: str) -> Iterator[str]:
    """``text`` in parts that fit a message each, broken at line ends where there are any."""
    rest = text.replace("\t", "⇥ ")  # measured as it is shown
    while count_units(rest) > ROOM:
        part = truncate(rest, ROOM)
        part = part[: part.rfind("\n") + 1] or part
        yield part
        rest = rest[len(part) :]
    if rest or not text:
        yield rest
