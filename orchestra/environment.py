"""Reading settings with bounds: a bad value stops the start with its name. An empty value counts as
unset.
"""

import math
from collections.abc import Sequence
from typing import Final
from urllib.parse import urlsplit

import environ
from django.core.exceptions import ImproperlyConfigured

ON: Final = ("1", "true", "on", "yes", "y", "ok")
OFF: Final = ("0", "false", "off", "no", "n")
MOST: Final = 10**9  # 30 years of seconds; adding much more to a date overflows


class Environment(environ.FileAwareEnv):
    """django-environ with checked values; ``NAME_FILE`` may name a file that contains the value.

    Bounds are inclusive. Every method raises ImproperlyConfigured with a sentence that names the
    variable, and never a value that may be secret.
    """

    def integer(self, name: str, *, default: int, least: int = 0, most: int = MOST) -> int:
        return _parse_integer(name, self._text(name) or str(default), least, most)

    def integers(self, name: str, *, default: Sequence[int], least: int = 0, most: int = MOST) -> list[int]:
        """Return a comma-separated list of integers."""
        text = self._text(name)
        return [_parse_integer(name, one, least, most) for one in text.split(",")] if text else list(default)

    def number(self, name: str, *, default: float, least: float = 0, most: float = MOST) -> float:
        """Return a finite number, an integer or a decimal."""
        text = self._text(name)
        try:
            number = float(text or default)
        except ValueError:
            number = math.nan
        if not math.isfinite(number):
            raise _refusal(name, f"is {text!r}, which is not a number")
        return _check_bounds(name, number, least, most)

    def switch(self, name: str, *, default: bool) -> bool:
        """Return a boolean from any of the usual words. Other words are refused: a guess might
        lower security.
        """
        text = self._text(name).lower()
        if text and text not in (*ON, *OFF):
            raise _refusal(name, f"is {text!r}; it takes on or off")
        return text in ON if text else default

    def choice(self, name: str, *, default: str, of: Sequence[str]) -> str:
        """Return one of the words ``of``."""
        text = self._text(name) or default
        if text not in of:
            raise _refusal(name, f"is {text!r}; it takes {' or '.join(of)}")
        return text

    def address(self, name: str, *, default: str, schemes: Sequence[str]) -> str:
        """Return a URL with one of the ``schemes``."""
        text = self._text(name) or default
        try:
            parts = urlsplit(text)
            fits = parts.scheme in schemes and parts.port != 0
        except ValueError:  # the port is not a number, or an IPv6 address is incomplete
            fits = False
        if not fits:
            raise _refusal(
                name, f"is not an address that begins with {' or '.join(f'{scheme}:' for scheme in schemes)}"
            )
        return text

    def _text(self, name: str) -> str:
        return str(self(name, default="")).strip()


def _parse_integer(name: str, text: str, least: int, most: int) -> int:
    try:
        number = int(text)
    except ValueError:
        raise _refusal(name, f"is {text!r}, which is not an integer") from None
    return int(_check_bounds(name, number, least, most))


def _check_bounds(name: str, number: float, least: float, most: float) -> float:
    if not least <= number <= most:
        raise _refusal(name, f"is {number:.12g}; it takes {least:.12g} to {most:.12g}")
    return number


def _refusal(name: str, why: str) -> ImproperlyConfigured:
    return ImproperlyConfigured(f"{name} {why}.")
