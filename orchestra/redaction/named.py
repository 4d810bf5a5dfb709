"""Values behind a name that says what they are: ``PASSWORD=…``, ``"apiKey": "…"``, ``--token …``, headers. Pure."""

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
_CRUMB = re.compile(r"(?:^|;|\"|')\s{0,2}([\w.-]{1,80})=([^;\s\"'\\]{8,})")
_HARMLESS_CRUMB = frozenset({"path", "domain", "expires", "max-age", "samesite", "theme", "lang", "locale", "version"})


def named_values(text: str) -> Iterator[Span]:
    """Secrets that their names give away."""
    at, lowered = 0, names.lowered(text)
    while found := names.NAME.search(lowered, at):
        at = found.end("key")
        span = _behind(text, found)
        if span:
            yield span
            at = max(at, span[1])
    for bearer in _BEARER.finditer(text):
        if values.is_mixed(bearer[1], 12) or bearer[1].endswith("="):
            yield bearer.span(1)
    yield from _cookies(text)


def _cookies(text: str) -> Iterator[Span]:
    for jar in _COOKIE.finditer(text):
        for crumb in _CRUMB.finditer(jar[1]):
            if crumb[1].lower() not in _HARMLESS_CRUMB and values.is_literal(crumb[2]) and _is_crumb(crumb[2]):
                yield jar.start(1) + crumb.start(2), jar.start(1) + crumb.end(2)


def _is_crumb(value: str) -> bool:
    return values.is_mixed(value, 8) and "," not in value and any(char.isdigit() for char in value)


def _behind(text: str, found: re.Match[str]) -> Span | None:
    """The secret behind a name, if one stands there."""
    separator = _SEPARATOR.match(text, found.end())
    if separator is None or (separator["close"] and separator["space"]):
        return None
    if found["key"] in GENERIC and names.STRONGER.search(found["rest"]):
        return None  # "authToken" is a token; it is found by that
    start_of_name = names.start_of_name(text, found.start())
    name = text[start_of_name : found.end()]
    own, rest = (text[slice(*found.span(part))] for part in ("key", "rest"))
    key, how = found["key"], str(separator.lastgroup)
    if names.tells_about(name, own, rest) or _closes_a_quote(text, start_of_name, separator):
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
        ticked = opened[0].endswith("`")  # a shell runs what stands in them
        return span if span and _is_quoted_secret(text[slice(*span)], name, key, how, ticked=ticked) else None
    flag = how == "space" and name.startswith("-")
    if values.leads_elsewhere(text, start):
        return None
    span = reading.bare(text, start, how, values.LONGEST_OPAQUE)  # judged by its beginning: names may follow closely
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
    """Whether behind a name that says little stands something that nobody would have thought of."""
    hexadecimal = re.fullmatch(r"[0-9a-f]{32,}|[0-9A-F]{32,}", value) and re.search(r"\d", value)
    return bool(hexadecimal) or looks_random(value, 16) or (
        10 <= len(value) <= 256 and values.is_mixed(value) and not _CODE.search(value) and _strength(value) >= 3
    )  # fmt: skip


def _strength(value: str) -> int:
    """Of how many kinds its characters are."""
    return sum(bool(kind.search(value)) for kind in _KINDS)


def _may_be_a_plain_word(text: str, span: Span, name: str, key: str, how: str) -> bool:
    """``PASSWORD=letmein`` and ``--password letmein``; not ``token=token`` of a program's source."""
    follows = text[span[1] : span[1] + 1]
    called = follows in ("(", ".", "[") or name.lower().endswith(text[slice(*span)].lower())
    return bool(PASSWORDS.search(key)) and not called and (how == "flag" or follows not in (",", ")"))


def _is_a_line_of_its_own(text: str, span: Span, name: str, key: str) -> bool:
    """``password: letmein`` as a line of YAML or of an INI file."""
    line = text[text.rfind("\n", 0, span[0]) + 1 : span[0]]
    rest = text[span[1] : span[1] + 2].lstrip(" ")
    alone = re.fullmatch(rf"[\s\"'+-]{{0,40}}{re.escape(name)}[\"']?\s*[:=]\s*", line)
    value = text[slice(*span)]
    if not alone or not PASSWORDS.search(key) or rest[:1] not in ("", "\n", "\r", "#"):
        return False
    return value.lower() != name.lower() and ("\n" in text or value.islower()) and not value[:1].isupper()


def _closes_a_quote(text: str, start: int, separator: re.Match[str]) -> bool:
    """``'Password: '``: the quote behind the name closes one that was opened before it, and no value stands there."""
    opened = text[max(0, text.rfind("\n", 0, start) + 1, start - 40) : start]
    quote = text[separator.end() : separator.end() + 1]
    if quote not in ("'", '"') or separator["close"]:
        return False
    following = text[separator.end() + 1 : separator.end() + 2]
    return opened.count(quote) % 2 == 1 and (not following or following in ") ,;\n]}")
