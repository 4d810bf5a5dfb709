"""A preview of what the CLI's Edit would do to a file. Pure; measured on 2.1.330
(docs/claude-cli.md).

The CLI reads the file without its byte-order mark and with LF for CRLF, looks for the old text as
it is written, then with straight quotes for curly ones, then with ``\\uXXXX`` for its character or
the other way round. It refuses what occurs twice unless ``replace_all`` is set, and writes all line
ends as most of the file's beginning has them.
"""
# ruff: noqa: RUF001 - quotation marks of every form

import re
from collections.abc import Sequence
from dataclasses import dataclass

BOM = "\ufeff"
LINE_ENDS_JUDGED_BY = 4096  # characters at the beginning of the file
STRAIGHT = str.maketrans({"“": '"', "”": '"', "‘": "'", "’": "'"})
ESCAPE = re.compile(r"\\u([0-9a-fA-F]{4})")
MARKDOWN = (".md", ".mdx")  # here trailing spaces have a meaning

AGAINST_DISK = "Against the file as it is on disk now."
NOT_THERE = "The text to replace is not in the file as it is on disk now, so the edit would fail."
NOTHING_CHANGES = "The old and the new text are the same, so the edit would fail."
HAS_CONTENT = "The edit would create a file, but there is one with content, so it would fail."
QUOTES = "The file has other quotation marks (curly or straight); the agent's CLI takes them as the same."
ESCAPES = (
    "The file writes a letter as \\u and its number, or the other way round; the agent's CLI takes that as the same."
)


@dataclass(frozen=True, slots=True)
class Edit:
    """One replacement that the agent requests."""

    old: str
    new: str
    everywhere: bool = False


@dataclass(frozen=True, slots=True)
class Preview:
    """The file before and after, both with LF line ends; ``after`` is None if the edit would fail.

    ``note`` says why it would fail, or what else happens.
    """

    before: str
    after: str | None
    note: str


def preview_edits(on_disk: str, edits: Sequence[Edit], *, path: str) -> Preview:
    """Apply ``edits`` one after the other."""
    before = without_bom(on_disk).replace("\r\n", "\n")
    text, notes, places = before, [], 0
    for number, edit in enumerate(edits, 1):
        done = _apply(text, edit, keeps_spaces=path.lower().endswith(MARKDOWN))
        if isinstance(done, str):
            which = f"Edit {number} of {len(edits)}: " if len(edits) > 1 else ""
            return Preview(before, None, which + done)
        text, count, note = done
        places += count
        notes += [note] if note else []
    if any(edit.everywhere for edit in edits):
        notes.append(f"It replaces {places:,} {'place' if places == 1 else 'places'}.")
    return Preview(before, text, " ".join([AGAINST_DISK, *dict.fromkeys(notes), *file_notes(on_disk)]))


def file_notes(on_disk: str) -> list[str]:
    """Return what happens to the line ends and the byte-order mark of an edited file."""
    crlf = on_disk.count("\r\n")
    lf = on_disk.count("\n") - crlf
    notes = []
    if crlf and lf:
        notes.append(f"Its line ends are mixed; they all become {'CRLF' if writes_crlf(on_disk) else 'LF'}.")
    elif crlf:
        notes.append("Its line ends (CRLF) are kept.")
    if on_disk.startswith(BOM):
        notes.append("Its byte-order mark is kept.")
    return notes


def writes_crlf(on_disk: str) -> bool:
    """Whether the CLI writes CRLF into a file with these line ends."""
    head = without_bom(on_disk)[:LINE_ENDS_JUDGED_BY]
    crlf = head.count("\r\n")
    return crlf > head.count("\n") - crlf


def without_bom(text: str) -> str:
    return text.removeprefix(BOM)


def _apply(text: str, edit: Edit, *, keeps_spaces: bool) -> tuple[str, int, str] | str:
    """Return the text after one edit, the number of places and a note; or why the edit would fail."""
    if edit.old == edit.new:
        return NOTHING_CHANGES
    if not edit.old:
        return HAS_CONTENT if text.strip() else (edit.new, 1, "")
    new = edit.new if keeps_spaces else re.sub(r"[^\S\n]+(?=\n|$)", "", edit.new)
    found = _find(text, edit.old, new)
    if found is None:
        return NOT_THERE
    old, new, note = found
    count = text.count(old)
    if count > 1 and not edit.everywhere:
        return f"The text to replace occurs {count:,} times and the edit names one, so it would fail."
    if not new and not old.endswith("\n") and f"{old}\n" in text:
        old += "\n"  # removing a line removes its line end, too
        count = text.count(old)
    return text.replace(old, new, -1 if edit.everywhere else 1), count, note


def _find(text: str, old: str, new: str) -> tuple[str, str, str] | None:
    """Return the old text as the file has it, the new text adapted to it, and a note."""
    if old in text:
        return old, new, ""
    at = text.translate(STRAIGHT).find(old.translate(STRAIGHT))
    if at >= 0:
        there = text[at : at + len(old)]
        return there, _with_quotes_of(there, new), QUOTES
    for swap in (_unescaped, _escaped):
        if (other := swap(old)) != old and other in text:
            return other, swap(new), ESCAPES
    return None


def _with_quotes_of(there: str, new: str) -> str:
    """Return ``new`` with curly quotes if the text that it replaces has them."""
    if "“" in there or "”" in there:
        new = re.sub(r'(^|[\s(\[{—–])"', r"\1“", new).replace('"', "”")
    if "‘" in there or "’" in there:
        new = re.sub(r"(^|[\s(\[{—–])'", r"\1‘", new).replace("'", "’")
    return new


def _unescaped(text: str) -> str:
    return ESCAPE.sub(lambda found: chr(int(found[1], 16)), text)


def _escaped(text: str) -> str:
    return "".join(char if char.isascii() else f"\\u{ord(char):04x}" for char in text)
