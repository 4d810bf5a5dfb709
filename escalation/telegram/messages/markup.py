"""Text for Telegram: each piece as HTML and as the plain words a person reads. Pure.

One rule keeps cards honest: **what others wrote stands in monospace**, in `said` and `box`; everything else is
Orchestra's own. In monospace Telegram also makes nothing of what looks like a link, a command or a name.
"""

import html
import re
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, datetime

from approvals.presentation.render import visible

LONGEST_MESSAGE = 4096  # Bot API, sendMessage: characters after parsing; counted in UTF-16 units to be safe
TAG = re.compile(r"<[^>]*>")


@dataclass(frozen=True, slots=True)
class Piece:
    """Some text; ``plain`` is what is left when Telegram has parsed ``html``."""

    plain: str
    html: str

    def __add__(self, other: "Piece") -> "Piece":
        return Piece(self.plain + other.plain, self.html + other.html)

    def __bool__(self) -> bool:
        return bool(self.plain)

    @property
    def size(self) -> int:
        """Its length as the Bot API counts: UTF-16 units after parsing."""
        return count_units(self.plain)


NOTHING = Piece("", "")


def words(text: str) -> Piece:
    """Orchestra's own words."""
    return Piece(text, _escape(text))


def strong(text: str) -> Piece:
    """Orchestra's own words, set off."""
    return Piece(text, f"<b>{_escape(text)}</b>")


def remark(text: str) -> Piece:
    """A remark of Orchestra's."""
    return Piece(text, f"<i>{_escape(text)}</i>")


def quote(text: str) -> Piece:
    """What somebody else wrote, inside a line; made visible here."""
    shown = _show_tabs(visible(text)).strip().replace("\n", " ⏎ ") or "(nothing)"
    return Piece(shown, f"<code>{_escape(shown)}</code>")


def code_block(text: str, language: str = "") -> Piece:
    """What somebody else wrote, as lines of its own; already made visible by the shared renderer."""
    shown = _show_tabs(text).removesuffix("\n") or "(nothing)"
    coded = f'<code class="language-{language}">{_escape(shown)}</code>' if language else _escape(shown)
    return Piece(shown, f"<pre>{coded}</pre>")


def mention(account: str, telegram_user: int) -> Piece:
    """An account's name that reaches its person: only who is mentioned is asked for a reply in a group."""
    shown = visible(account)
    return Piece(shown, f'<a href="tg://user?id={telegram_user}">{_escape(shown)}</a>')


def link(address: str) -> Piece:
    """A page of Orchestra's own, in brackets; nothing without an address."""
    if not address:
        return NOTHING
    return Piece(" (open)", f' (<a href="{html.escape(address)}">open</a>)')


def moment(at: datetime, form: str, otherwise: str) -> Piece:
    """A time that Telegram shows in the reader's own zone; older apps show ``otherwise``.

    ``form`` as Bot API 9.5 has it: ``r`` relative, ``t`` hours and minutes, ``dt`` with the day.
    """
    return Piece(otherwise, f'<tg-time unix="{int(at.timestamp())}" format="{form}">{_escape(otherwise)}</tg-time>')


def day_and_time(at: datetime) -> Piece:
    """When something happened, for ever understandable."""
    return moment(at, "dt", f"{at.astimezone(UTC):%Y-%m-%d %H:%M} UTC")


def lines(pieces: Iterable[Piece], between: str = "\n") -> Piece:
    """The non-empty ones below each other."""
    full = [piece for piece in pieces if piece]
    return Piece(between.join(piece.plain for piece in full), between.join(piece.html for piece in full))


def count_units(text: str) -> int:
    """UTF-16 units in ``text``."""
    return len(text) + sum(char > "\uffff" for char in text)


def truncate(text: str, most: int) -> str:
    """The beginning of ``text`` in at most ``most`` UTF-16 units, no character cut in half."""
    if count_units(text) <= most:
        return text
    kept = text[:most]
    while count_units(kept) > most:
        kept = kept[: most - (count_units(kept) - len(kept))]
    return kept


def strip_markup(marked: str) -> str:
    """What a person reads of HTML that was made here."""
    return html.unescape(TAG.sub("", marked))


def _escape(text: str) -> str:
    return html.escape(text, quote=False)


def _show_tabs(text: str) -> str:
    """Telegram turns a tab into a space, and a Makefile into another one."""
    return text.replace("\t", "⇥ ")
