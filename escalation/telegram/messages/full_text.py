"""The full text of a cut card, as a few messages or as one document. Pure."""

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

MOST_MESSAGES = 4  # a group accepts 20 a minute
LARGEST_DOCUMENT = 50_000_000  # bytes; Bot API, sendDocument
ROOM = LONGEST_MESSAGE - 700  # the rest is for labels and remarks
LONGEST_NOTE = 300


def split_into_messages(notice: Notice) -> list[Card]:
    """Return all text in reading order; an empty list if it needs more than `MOST_MESSAGES`."""
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
    """Return file name and content of a text file with all text.

    Return None if it exceeds the limit of Telegram.
    """
    head = [visible(notice.title), f"Digest: {notice.digest}", f"Directory: {visible(notice.working_directory)}"]
    body = [
        f"--- {block.label}\n\n{block.text}\n" + (f"\n({block.note})\n" if block.note else "")
        for block in _all_blocks(notice)
    ]
    content = "\n".join([*head, "", *body]).encode()
    return (f"approval-{str(notice.approval_id)[:8]}.txt", content) if len(content) <= LARGEST_DOCUMENT else None


def _all_blocks(notice: Notice) -> list[Block]:
    """Return all blocks of the request.

    The title of an external request comes first, because it is text of the requester.
    """
    shown = {block.text for block in notice.blocks}
    if notice.kind != "external" or visible(notice.title) in shown:
        return list(notice.blocks)
    return [Block(kind="text", label=TITLE, text=visible(notice.title)), *notice.blocks]


def _split_text(text: str) -> Iterator[str]:
    """Yield parts of ``text`` that fit into one message each, split at line ends where possible."""
    rest = text.replace("\t", "⇥ ")  # before measuring, because it is shown like this
    while count_units(rest) > ROOM:
        part = truncate(rest, ROOM)
        part = part[: part.rfind("\n") + 1] or part
        yield part
        rest = rest[len(part) :]
    if rest or not text:
        yield rest
