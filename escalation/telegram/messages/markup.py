"""Text for Telegram. Each piece holds the HTML and the plain text that a person reads. Pure.

**Text from others is monospace**, by `quote` and `code_block`; all other text is Orchestra's own.
This rule prevents forged cards. In monospace Telegram also does not activate links, commands and
names.
"""

import html
import re
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, datetime

from approvals.presentation.render import visible

# Bot API, sendMessage: characters after parsing. UTF-16 units are the safe way to count them.
LONGEST_MESSAGE = 4096
TAG = re.compile(r"<[^>]*>")


@dataclass(frozen=True, slots=True)
class Piece:
    """Some text. ``plain`` is what remains after Telegram parsed ``html``."""

    plain: str
    html: str

    def __add__(self, other: "Piece") -> "Piece":
        return Piece(self.plain + other.plain, self.html + other.html)

    def __bool__(self) -> bool:
        return bool(self.plain)

    @property
    def size(self) -> int:
        """Length as the Bot API counts it: UTF-16 units after parsing."""
        return count_units(self.plain)


NOTHING = Piece("", "")


def words(text: str) -> Piece:
    """Return text of Orchestra's own."""
    return Piece(text, _escape(text))


def strong(text: str) -> Piece:
    """Return text of Orchestra's own in bold."""
    return Piece(text, f"<b>{_escape(text)}</b>")


def remark(text: str) -> Piece:
    """Return a remark of Orchestra's own in italics."""
    return Piece(text, f"<i>{_escape(text)}</i>")


def quote(text: str) -> Piece:
    """Return text from others inside a line, with hidden characters made visible."""
    shown = _show_tabs(visible(text)).strip().replace("\n", " ⏎ ") or "(nothing)"
    return Piece(shown, f"<code>{_escape(shown)}</code>")


def code_block(text: str, language: str = "") -> Piece:
    """Return text from others as a block.

    The shared renderer has already made hidden characters visible.
    """
    shown = _show_tabs(text).removesuffix("\n") or "(nothing)"
    coded = f'<code class="language-{language}">{_escape(shown)}</code>' if language else _escape(shown)
    return Piece(shown, f"<pre>{coded}</pre>")


def mention(account: str, telegram_user: int) -> Piece:
    """Return an account name that notifies its person.

    In a group, a forced reply opens only for mentioned people.
    """
    shown = visible(account)
    return Piece(shown, f'<a href="tg://user?id={telegram_user}">{_escape(shown)}</a>')


def link(address: str) -> Piece:
    """Return a link to a page of Orchestra in brackets; an empty piece without an address."""
    if not address:
        return NOTHING
    return Piece(" (open)", f' (<a href="{html.escape(address)}">open</a>)')


def moment(at: datetime, form: str, otherwise: str) -> Piece:
    """Return a time that Telegram shows in the time zone of the reader.

    Older apps show ``otherwise``.

    ``form`` as in Bot API 9.5: ``r`` relative, ``t`` hours and minutes, ``dt`` with the day.
    """
    return Piece(otherwise, f'<tg-time unix="{int(at.timestamp())}" format="{form}">{_escape(otherwise)}</tg-time>')


def day_and_time(at: datetime) -> Piece:
    """Return a full date and time, which stays clear on old messages."""
    return moment(at, "dt", f"{at.astimezone(UTC):%Y-%m-%d %H:%M} UTC")


def lines(pieces: Iterable[Piece], between: str = "\n") -> Piece:
    """Join the non-empty pieces."""
    full = [piece for piece in pieces if piece]
    return Piece(between.join(piece.plain for piece in full), between.join(piece.html for piece in full))


def count_units(text: str) -> int:
    return len(text) + sum(char > "\uffff" for char in text)


def truncate(text: str, most: int) -> str:
    """Return the beginning of ``text`` in at most ``most`` UTF-16 units.

    No character is split.
    """
    if count_units(text) <= most:
        return text
    kept = text[:most]
    while count_units(kept) > most:
        kept = kept[: most - (count_units(kept) - len(kept))]
    return kept


def strip_markup(marked: str) -> str:
    """Return the plain text of HTML that this module made."""
    return html.unescape(TAG.sub("", marked))


def _escape(text: str) -> str:
    return html.escape(text, quote=False)


def _show_tabs(text: str) -> str:
    """Make tabs visible.

    Telegram turns a tab into a space, which changes the meaning of a Makefile.
    """
    return text.replace("\t", "⇥ ")
