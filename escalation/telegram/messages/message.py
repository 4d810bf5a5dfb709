"""The content of a message before it is sent: text and buttons, as plain data."""

from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True, slots=True, kw_only=True)
class InlineButton:
    """One button: an ``action`` of `Button.Action` with its ``value``, or a link."""

    label: str
    action: str = ""
    value: dict[str, Any] = field(default_factory=dict)
    url: str = ""


Row = tuple[InlineButton, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Card:
    """``text`` is Telegram's HTML, at most 4,096 characters after parsing.

    ``keyboard`` holds rows of buttons.

    ``plain`` is the same text without markup. It is sent if Telegram cannot parse the HTML, or at
    once unless ``marked``.
    """

    text: str
    plain: str
    keyboard: tuple[Row, ...] = ()
    marked: bool = True
