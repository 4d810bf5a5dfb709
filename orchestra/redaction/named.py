"""Secrets that follow a name: ``PASSWORD=…``, ``"apiKey": "…"``, ``--token …``, headers. Pure
functions.
"""

import re
from collections.abc import Iterator

from orchestra.redaction import names, reading, values
from orchestra.redaction.names import GENERIC, PASSWORDS
from orchestra.redaction.reading import OPEN, QUOTE
from orchestra.redaction.tokens import Span
from orchestra.redaction.words import looks_random

_SEPARATOR = re.compile(
    rf"(?P<close>{QUOTE}|&quot;)?[\])]?(?:"
    rf"(?P<tight>=(?:\\\n[ \t]{{0,12}})?|:(?=[^\s/:])|%3D|%3A)(?!=)"
    rf"|(?P<loose>[ \t]{{0,12}}(?::=|=>|->|==?=?|:)(?!:)"
    rf"(?:[ \t]*[|>][+-]?[ \t]*\n[ \t]*|\\n|[ \t]{{0,12}}(?:\(\s{{0,12}}(?=[\"']))?))"
    rf"|(?P<pair>\s{{0,4}},?(?:\s|\\n){{0,12}}(?:{QUOTE})?value(?:{QUOTE})?\s{{0,3}}[=:]\s{{0,3}})"
    rf"|(?P<comma>[ \t]{{0,2}},\s{{0,8}})"
    rf"|(?P<call>\(\s{{0,8}}(?=[\"'`]))"
    rf"|(?P<xml>>)"
    rf"|(?P<prose>[ \t]+(?:is|was|are|set to|equals?|as)(?::|[ \t])[ \t]*)"
    rf"|(?P<space>[ \t]+)"
    rf")",
    re.IGNORECASE,
)
_SCHEME = re.compile(
    r"(?:bearer|basic|token|digest|negotiate|apikey|api-key|key|ghs|jwt|oauth|splunk|klaviyo-api-key|ssws|genie\w*|bot)"
    r"(?:[ \t]+|%20|\+)",
    re.IGNORECASE,
)
_KINDS = tuple(map(re.compile, (r"[a-z]", r"[A-Z]", r"\d", r"[^\w./:-]")))
_CODE = re.compile(r"[\w)]\(|[.=,;]\w")
_BEARER = re.compile(r"\b(?:bearer|basic|token)(?:[ \t]+|%20)([A-Za-z0-9._~+/=-]{12,})", re.IGNORECASE)
_COOKIE = re.compile(
    r"(?:\b(?:set-)?cookie\\?[\"']?\s{0,2}[:=,]\s{0,2}|\s(?:-b|--cookie)[ =])([^\r\n]{4,4000})", re.IGNORECASE
)
_COOKIE_PAIR = re.compile(r"(?:^|;|\"|')\s{0,2}([\w.-]{1,80})=([^;\s\"'\\]{8,})")
_HARMLESS_COOKIES = frozenset(
    {"path", "domain", "expires", "max-age", "samesite", "theme", "lang", "locale", "version"}
)


def named_values(text: str) -> Iterator[Span]:
    """Yield the values in ``text`` whose names identify them as secrets."""
    at, lowered = 0, names.lowered(text)
    while found := names.NAME.search(lowered, at):
        at = found.end("key")
        span = _secret_after(text, found)
        if span:
            yield span
            at = max(at, span[1])
    for bearer in _BEARER.finditer(text):
        if values.is_mixed(bearer[1], 12) or bearer[1].endswith("="):
            yield bearer.span(1)
    yield from _cookies(text)


def _cookies(text: str) -> Iterator[Span]:
    for header in _COOKIE.finditer(text):
        for pair in _COOKIE_PAIR.finditer(header[1]):
            if pair[1].lower() not in _HARMLESS_COOKIES and values.is_literal(pair[2]) and _is_secret_cookie(pair[2]):
                yield header.start(1) + pair.start(2), header.start(1) + pair.end(2)


def _is_secret_cookie(value: str) -> bool:
    return values.is_mixed(value, 8) and "," not in value and any(char.isdigit() for char in value)


def _secret_after(text: str, found: re.Match[str]) -> Span | None:
    """Return the secret that follows a name, or None."""
    separator = _SEPARATOR.match(text, found.end())
    if separator is None or (separator["close"] and separator["space"]):
        return None
    if found["key"] in GENERIC and names.STRONGER.search(found["rest"]):
        return None  # "authToken" is found by its stronger part, "token"
    start_of_name = names.start_of_name(text, found.start())
    name = text[start_of_name : found.end()]
    own, rest = (text[slice(*found.span(part))] for part in ("key", "rest"))
    key, how = found["key"], str(separator.lastgroup)
    if names.describes_secret(name, own, rest) or _closes_a_quote(text, start_of_name, separator):
        return None
    start = separator.end()
    if key in ("auth", "authorization", "bearer", "token") and (
        scheme := _SCHEME.match(text, reading.skip_quote(text, start))
    ):
        return reading.credential(text, scheme.end())
    return _judged(text, start, name, key, how, separator)


def _judged(text: str, start: int, name: str, key: str, how: str, separator: re.Match[str]) -> Span | None:
    opened = OPEN.match(text, start)
    if opened and not (separator["close"] and how == "space"):
        span = reading.quoted(text, opened)
        ticked = opened[0].endswith("`")  # a shell runs the text between backticks
        return span if span and _is_quoted_secret(text[slice(*span)], name, key, how, ticked=ticked) else None
    flag = how == "space" and name.startswith("-")
    if values.is_reference_or_path(text, start):
        return None
    # The beginning decides: reading every value to its end would take quadratic time where names
    # are dense.
    span = reading.bare(text, start, how, values.LONGEST_OPAQUE)
    if span is None:
        return None
    if not _is_bare_secret(text, span, text[slice(*span)], name, key, "flag" if flag else how):
        return None
    longer = span[1] - span[0] >= values.LONGEST_OPAQUE
    return reading.bare(text, start, how, values.LONGEST) if longer else span


def _is_quoted_secret(value: str, name: str, key: str, how: str, *, ticked: bool) -> bool:
    if not values.is_literal(value) or values.is_uuid(value) or (ticked and " " in value):
        return False
    if key in GENERIC:
        return _is_opaque(value)
    if how in ("comma", "prose", "space", "call"):
        return values.is_mixed(value)
    if values.is_number(value):
        return bool(PASSWORDS.match(key))
    same = value.replace("_", "").replace("-", "").lower()
    return same != name.replace("_", "").replace("-", "").lower() and not (values.is_word(value) and same.endswith(key))


def _is_bare_secret(text: str, span: Span, value: str, name: str, key: str, how: str) -> bool:
    if not values.is_literal(value) or values.is_uuid(value):
        return False
    if values.is_number(value):
        return bool(PASSWORDS.match(key)) and how in ("tight", "flag") and len(value) >= 4
    if key in GENERIC:
        return _is_opaque(value) and how in ("tight", "loose", "pair", "flag", "space", "xml", "prose")
    if how in ("tight", "flag"):
        return values.is_bare_literal(value) or (
            values.is_word(value) and _may_be_a_plain_word(text, span, name, key, how)
        )
    if how == "comma":
        return False
    if how in ("space", "prose"):
        return values.is_bare_literal(value) and values.is_mixed(value)
    return values.is_bare_literal(value) or (values.is_word(value) and _is_a_line_of_its_own(text, span, name, key))


def _is_opaque(value: str) -> bool:
    """Return whether a value behind a generic name looks generated: hexadecimal, random or of mixed
    characters.
    """
    hexadecimal = re.fullmatch(r"[0-9a-f]{32,}|[0-9A-F]{32,}", value) and re.search(r"\d", value)
    return bool(hexadecimal) or looks_random(value, 16) or (
        10 <= len(value) <= 256 and values.is_mixed(value) and not _CODE.search(value) and _strength(value) >= 3
    )  # fmt: skip


def _strength(value: str) -> int:
    """Return how many kinds of characters the value has, of the four in ``_KINDS``."""
    return sum(bool(kind.search(value)) for kind in _KINDS)


def _may_be_a_plain_word(text: str, span: Span, name: str, key: str, how: str) -> bool:
    """Return True for ``PASSWORD=letmein`` and ``--password letmein``, not for ``token=token`` in
    source code.
    """
    follows = text[span[1] : span[1] + 1]
    called = follows in ("(", ".", "[") or name.lower().endswith(text[slice(*span)].lower())
    return bool(PASSWORDS.search(key)) and not called and (how == "flag" or follows not in (",", ")"))


def _is_a_line_of_its_own(text: str, span: Span, name: str, key: str) -> bool:
    """Return whether the text is like ``password: letmein`` on a line of a YAML or INI file."""
    line = text[text.rfind("\n", 0, span[0]) + 1 : span[0]]
    rest = text[span[1] : span[1] + 2].lstrip(" ")
    alone = re.fullmatch(rf"[\s\"'+-]{{0,40}}{re.escape(name)}[\"']?\s*[:=]\s*", line)
    value = text[slice(*span)]
    if not alone or not PASSWORDS.search(key) or rest[:1] not in ("", "\n", "\r", "#"):
        return False
    return value.lower() != name.lower() and ("\n" in text or value.islower()) and not value[:1].isupper()


def _closes_a_quote(text: str, start: int, separator: re.Match[str]) -> bool:
    """Return whether the quote after the name closes an earlier one, as in ``'Password: '``, so no
    value follows.
    """
    opened = text[max(0, text.rfind("\n", 0, start) + 1, start - 40) : start]
    quote = text[separator.end() : separator.end() + 1]
    if quote not in ("'", '"') or separator["close"]:
        return False
    following = text[separator.end() + 1 : separator.end() + 2]
    return opened.count(quote) % 2 == 1 and (not following or following in ") ,;\n]}")
