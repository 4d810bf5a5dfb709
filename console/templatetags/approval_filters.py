"""Template filters for approval requests and sessions: commands, diffs, prose, times and numbers."""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from uuid import UUID

from django import template
from django.utils import timezone
from django.utils.dateformat import format as date_format
from django.utils.html import format_html, format_html_join
from django.utils.safestring import SafeString, mark_safe

from approvals.deadlines import NEVER
from approvals.presentation.diffs import Line
from approvals.presentation.markdown import LONGEST, to_html
from approvals.presentation.safe_text import visible
from approvals.templatetags.shown import marked
from console.approvals.cards import address_of

register = template.Library()

MOST_WORDS = 2_000  # a longer command gets no element for each word
PIECE = re.compile(r"\s+|(?:⟨[^⟩\n]{1,60}⟩|\S)+")  # a counter of the renderer, such as ⟨401 spaces⟩, is one word


@register.filter
def words(command: str) -> SafeString:
    """A command whose lines break between words, and inside a word only if it is longer than the
    line.
    """
    pieces = PIECE.findall(command)
    if len(pieces) > 2 * MOST_WORDS:
        return marked(command)
    return format_html_join("", "{}", ((piece if piece.isspace() else _word(piece),) for piece in pieces))


def _word(piece: str) -> SafeString:
    return format_html('<span class="w">{}</span>', marked(piece))


@register.filter
def as_path(path: str) -> SafeString:
    """A path with visible control characters, whose lines break after slashes."""
    return mark_safe(marked(visible(path)).replace("/", "/<wbr>").replace("</<wbr>", "</"))  # noqa: S308 - quoted there


@dataclass(frozen=True, slots=True)
class Changed:
    """A line of a diff, split around the part that differs from its counterpart."""

    line: Line
    before: str
    middle: str
    after: str


@register.filter
def compared(lines: tuple[Line, ...]) -> list[Changed]:
    """The lines of a diff; equally long runs of removed and added lines are compared line by line."""
    return list(_compared(lines))


def _compared(lines: tuple[Line, ...]) -> Iterator[Changed]:
    at = 0
    while at < len(lines):
        gone = _run(lines, at, "del")
        come = _run(lines, at + len(gone), "add")
        if not gone or len(gone) != len(come):
            for line in (*gone, *come) or (lines[at],):
                yield Changed(line, line.text, "", "")
            at += len(gone) + len(come) or 1
            continue
        pairs = [_common_ends(old.text, new.text) for old, new in zip(gone, come, strict=True)]
        for line, (head, tail) in zip(gone, pairs, strict=True):
            yield _cut(line, head, tail)
        for line, (head, tail) in zip(come, pairs, strict=True):
            yield _cut(line, head, tail)
        at += len(gone) + len(come)


def _run(lines: tuple[Line, ...], at: int, kind: str) -> tuple[Line, ...]:
    end = at
    while end < len(lines) and lines[end].kind == kind:
        end += 1
    return lines[at:end]


def _common_ends(old: str, new: str) -> tuple[int, int]:
    """The numbers of characters that two lines share at their starts and ends; (0, 0) for lines
    with little in common.
    """
    most = min(len(old), len(new))
    head = next((n for n in range(most) if old[n] != new[n]), most)
    tail = next((n for n in range(most - head) if old[-1 - n] != new[-1 - n]), most - head)
    return (head, tail) if head + tail > most // 3 else (0, 0)  # a mark over most of the line would not help


def _cut(line: Line, head: int, tail: int) -> Changed:
    if not head and not tail:
        return Changed(line, line.text, "", "")
    end = len(line.text) - tail
    return Changed(line, line.text[:head], line.text[head:end], line.text[end:])


@register.filter
def added(lines: tuple[Line, ...]) -> int:
    """The number of lines that a diff adds."""
    return sum(line.kind == "add" for line in lines)


@register.filter
def removed(lines: tuple[Line, ...]) -> int:
    """The number of lines that a diff removes."""
    return sum(line.kind == "del" for line in lines)


@register.filter
def prose(text: str) -> SafeString:
    """Markdown of an agent as HTML; a text that is too long becomes plain text."""
    html = to_html(text)
    if html is None:
        rest = f"\n⟨{len(text) - LONGEST:,} more characters⟩" if len(text) > LONGEST else ""
        return format_html('<pre class="plain">{}</pre>', marked(visible(text[:LONGEST]) + rest))
    return mark_safe(html)  # noqa: S308 - made by a parser that passes no HTML on


@register.filter
def is_never(end: datetime) -> bool:
    """Whether the deadline means that the request never expires."""
    return end == NEVER


@register.filter
def time_left(end: datetime) -> str:
    """The time until a deadline, in the format of the countdown."""
    seconds = int((end - timezone.now()).total_seconds())
    if seconds <= 0:
        return "ending…"
    return (
        f"{seconds // 60}:{seconds % 60:02d}" if seconds < 3600 else f"{seconds // 3600} h {seconds % 3600 // 60} min"
    )


@register.simple_tag
def clock(moment: datetime, form: str = "H:i") -> SafeString:
    """A time in UTC, which ``clock.js`` converts to the reader's time zone.

    ``form`` is "H:i", "H:i:s" or "j M, H:i".
    """
    at = moment.astimezone(UTC)
    return format_html(
        '<time datetime="{}" title="{}" data-clock="{}">{} UTC</time>',
        at.isoformat(), date_format(at, "j M Y, H:i:s e"), form, date_format(at, form),
    )  # fmt: skip


@register.filter
def age(moment: datetime | None) -> str:
    """The time since ``moment``, as in 26 min, 1 h, 3 days."""
    if moment is None:
        return ""
    minutes = int((timezone.now() - moment).total_seconds()) // 60
    if minutes < 1:
        return "under a minute"
    if minutes < 60:
        return f"{minutes} min"
    return f"{minutes // 60} h" if minutes < 48 * 60 else f"{minutes // 1440} days"


@register.filter
def age_short(moment: datetime | None) -> str:
    """As ``age``, for a narrow column."""
    words = age(moment)
    return "now" if words == "under a minute" else words


@register.filter
def ago_words(moment: datetime | None) -> str:
    """As ``age``, with "ago"."""
    words = age(moment)
    return "just now" if words == "under a minute" else words and f"{words} ago"


@register.filter
def until_words(moment: datetime) -> str:
    """The time until ``moment``, to the minute."""
    seconds = int((moment - timezone.now()).total_seconds())
    if seconds < 60:
        return "less than a minute"
    minutes = seconds // 60
    return f"{minutes} minute{'s' if minutes > 1 else ''}" if minutes < 60 else f"{minutes // 60} h {minutes % 60} min"


@register.filter
def duration(seconds: float) -> str:
    """A duration, as in 18 s, 21 min, 1 h 4 min."""
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    return f"{whole // 60} min" if whole < 3600 else f"{whole // 3600} h {whole % 3600 // 60} min"


@register.filter
def tokens(count: int) -> str:
    """A number of tokens, as in 940, 12.6k, 184k, 2.1M."""
    for size, letter in ((1_000_000, "M"), (1_000, "k")):
        if count >= size:
            return f"{count / size:.{0 if count >= 100 * size else 1}f}{letter}"
    return str(count)


@register.filter
def initials(name: str) -> str:
    """One or two initials of a name."""
    parts = [part for part in re.split(r"[^\w]+", name) if part]
    return "".join(part[0] for part in parts[:2]).upper() or "?"


@register.filter
def item(mapping: dict[object, object], key: object) -> object:
    """The value of a key that is no identifier, which Django's templates cannot look up."""
    return mapping.get(key)


@register.filter
def question_address(approval_id: UUID) -> str:
    """The URL of the request's page."""
    return address_of(approval_id)
