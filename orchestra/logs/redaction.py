"""Removes secrets and control characters from text for people.

It imports the standard library only: the process runner uses it and stays small.
"""

import os
import re
from collections.abc import Iterable, Mapping

HIDDEN = "***"
SHORTEST_SECRET = 8  # shorter values would hide ordinary words

_SECRET_NAME = re.compile(r"SECRET|TOKEN|PASSWORD|API_KEY|PRIVATE_KEY|CREDENTIAL|COOKIE", re.IGNORECASE)
# A value ends at a quote, a comma, a backslash or a space, so that JSON stays JSON.
_PATTERNS: tuple[tuple[re.Pattern[str], str], ...] = (
    (re.compile(r"/bot\d+:[\w-]+"), f"/bot{HIDDEN}"),  # Bot API: the token is part of every URL
    (re.compile(r"\b\d{6,12}:[A-Za-z0-9_-]{30,}"), HIDDEN),
    (re.compile(r"\bsk-ant-[\w-]+"), f"sk-ant-{HIDDEN}"),
    (re.compile(r"(/sign-in/)[\w-]+"), rf"\1{HIDDEN}"),
    (
        re.compile(
            r"(authorization\\?[\"']?\s*[:=,]\s*(?:b(?=[\"']))?\\?[\"']?(?:(?:token|bearer|basic)\s+)?)[^\s\"',;\\]+",
            re.IGNORECASE,
        ),
        rf"\1{HIDDEN}",
    ),
    (re.compile(r"\b((?:token|bearer|basic)\s+)[A-Za-z0-9._~+/=-]{20,}", re.IGNORECASE), rf"\1{HIDDEN}"),
    (re.compile(r"((?<![a-z0-9+.-])[a-z0-9+.-]+://[^\s:/@\"'\\]*:)[^\s/@\"'\\]+@", re.IGNORECASE), rf"\1{HIDDEN}@"),
)
# Without one of these no pattern matches. Searching them is ten times as fast, and most texts have
# none.
_HINTS = ("/bot", "sk-ant-", "/sign-in/", "authorization", "token", "bearer", "basic", "://")
_DIGIT_AND_COLON = re.compile(r"\d:")
# C0 and C1 controls except the tab, line separators, and characters that reorder or hide text.
_INVISIBLE = [*range(0x09), *range(0x0A, 0x20), *range(0x7F, 0xA0), *range(0x200B, 0x2010)]
_INVISIBLE += [*range(0x2028, 0x202F), *range(0x2060, 0x2070), 0x061C, 0xFEFF]
_ESCAPES = {code: f"\\x{code:02x}" if code < 0x100 else f"\\u{code:04x}" for code in _INVISIBLE}
_ESCAPES |= {ord("\n"): "\\n", ord("\r"): "\\r"}

_known: set[str] = set()


def learn(*secrets: str) -> None:
    """Redact these values from now on, wherever they appear."""
    _known.update(secret for secret in secrets if len(secret) >= SHORTEST_SECRET)


def learned() -> frozenset[str]:
    """Return the values that were passed to `learn`."""
    return frozenset(_known)


def secrets_in(environment: Mapping[str, str]) -> Iterable[str]:
    """Return the values of variables with names like ``…_TOKEN`` or ``…_PASSWORD``."""
    return [value for name, value in environment.items() if _SECRET_NAME.search(name)]


def scrub(text: str) -> str:
    """Return ``text`` without learned values and without what looks like a token, a key or a
    password in a URL.
    """
    for secret in _known:
        text = text.replace(secret, HIDDEN)
    if _suspicious(text):
        for pattern, replacement in _PATTERNS:
            text = pattern.sub(replacement, text)
    return text


def _suspicious(text: str) -> bool:
    folded = text.casefold()
    return any(hint in folded for hint in _HINTS) or (":" in text and _DIGIT_AND_COLON.search(text) is not None)


def visible(text: str) -> str:
    """Return ``text`` on one line, with control, reordering and zero-width characters as escapes."""
    return text.translate(_ESCAPES)


learn(*secrets_in(os.environ))
