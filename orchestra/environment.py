"""Reading settings: what cannot be meant is refused by its name before anything starts. Empty is as good as unset."""

import math
from collections.abc import Sequence
from typing import Final
from urllib.parse import urlsplit

import environ
from django.core.exceptions import ImproperlyConfigured

ON: Final = ("1", "true", "on", "yes", "y", "ok")
OFF: Final = ("0", "false", "off", "no", "n")
MOST: Final = 10**9  # 30 years of seconds; much more would overflow where it is added to a date


class Environment(environ.FileAwareEnv):
    """django-environ (``NAME_FILE`` names a file with the value) with bounds, both of them allowed.

    Every method raises ImproperlyConfigured, with a sentence that names the variable and no value that may be secret.
    """

    def integer(self, name: str, *, default: int, least: int = 0, most: int = MOST) -> int:
        return _parse_integer(name, self._text(name) or str(default), least, most)

    def integers(self, name: str, *, default: Sequence[int], least: int = 0, most: int = MOST) -> list[int]:
        """Several, with commas between them."""
        text = self._text(name)
        return [_parse_integer(name, one, least, most) for one in text.split(",")] if text else list(default)

    def number(self, name: str, *, default: float, least: float = 0, most: float = MOST) -> float:
        """Whole or not, finite."""
        text = self._text(name)
        try:
            number = float(text or default)
        except ValueError:
            number = math.nan
        if not math.isfinite(number):
            raise _refusal(name, f"is {text!r}, which is no number")
        return _check_bounds(name, number, least, most)

    def switch(self, name: str, *, default: bool) -> bool:
        """On or off, in any of the usual words. A slip of the pen is neither: a guess might open a door."""
        text = self._text(name).lower()
        if text and text not in (*ON, *OFF):
            raise _refusal(name, f"is {text!r}; it takes on or off")
        return text in ON if text else default

    def choice(self, name: str, *, default: str, of: Sequence[str]) -> str:
        """One of a few words."""
        text = self._text(name) or default
        if text not in of:
            raise _refusal(name, f"is {text!r}; it takes {' or '.join(of)}")
        return text

    def address(self, name: str, *, default: str, schemes: Sequence[str]) -> str:
        """A URL of one of these schemes."""
        text = self._text(name) or default
        try:
            parts = urlsplit(text)
            fits = parts.scheme in schemes and parts.port != 0
        except ValueError:  # a port that is no number, half an IPv6 address
            fits = False
        if not fits:
            raise _refusal(name, f"is no address that begins with {' or '.join(f'{scheme}:' for scheme in schemes)}")
        return text

    def _text(self, name: str) -> str:
        return str(self(name, default="")).strip()


def _parse_integer(name: str, text: str, least: int, most: int) -> int:
    try:
        number = int(text)
    except ValueError:
        raise _refusal(name, f"is {text!r}, which is no whole number") from None
    return int(_check_bounds(name, number, least, most))


def _check_bounds(name: str, number: float, least: float, most: float) -> float:
    if not least <= number <= most:
        raise _refusal(name, f"is {number:.12g}; it takes {least:.12g} to {most:.12g}")
    return number


def _refusal(name: str, why: str) -> ImproperlyConfigured:
    return ImproperlyConfigured(f"{name} {why}.")
