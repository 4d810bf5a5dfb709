"""What a message looks like, before anybody sends it: text and keys, plain data."""

from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True, slots=True, kw_only=True)
class InlineButton:
    """One button below a message: an ``action`` of `Button.Action` with its ``value``, or a link."""

    label: str
    action: str = ""
    value: dict[str, Any] = field(default_factory=dict)
    url: str = ""


Row = tuple[InlineButton, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Card:
    """``text`` is Telegram's HTML, at most 4,096 characters after parsing; ``keys`` are rows of buttons, none for none.

    ``plain`` is the same text without marks, sent if Telegram cannot parse the other, or at once unless ``marked``.
    """

    text: str
    plain: str
    keys: tuple[Row, ...] = ()
    marked: bool = True
