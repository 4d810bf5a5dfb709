"""Values behind a name that says what they are: ``PASSWORD=…``, ``"apiKey": "…"``, ``--token …``, ``Authorization: …``. Pure."""

import re
from collections.abc import Iterator

from orchestra.redaction import values
from orchestra.redaction.tokens import Span
from orchestra.redaction.words import looks_random

_NAME = re.compile(
    r"(?P<key>passwort|kennwort|mot de passe|contraseña|senha|hasło|parola|пароль|密码|pass[-_ ]?(?:words?|wd|phrase|code)|passwd|pwd|pass|pw|secrets?|tokens?|api[-_ .]?keys?|apikeys?"
    r"|(?:access|private|account|auth|encryption|encrypt|signing|sign|master|shared|license|service|admin|storage|subscription|crypto|cipher"
    r"|session|signature|app|application|client|consumer|secure|hmac|deploy|webhook|write|read|root|sas|jwt|aes|stripe|openai|recovery)[-_ ]?keys?"
    r"|credentials?|creds?|session[-_]?id|sessionid|sid|jsessionid|phpsessid|sig|signature|auth|authorization|bearer|jwt|otp[-_]?secret|seed[-_ ]?phrase"
    r"|mnemonic|cookie[-_]?secret|psk|wpa_passphrase|requirepass|masterauth|key)"
    r"(?P<rest>[a-z0-9_-]{0,32})"
)
_QUOTE = r"\\{0,7}[\"'`]"
_SEPARATOR = re.compile(
    rf"(?P<close>{_QUOTE}|&quot;)?[\])]?(?:"
    rf"(?P<tight>=|:(?=[^\s/:])|%3D|%3A)(?!=)"
    rf"|(?P<loose>[ \t]{{0,12}}(?::=|=>|->|==?=?|:)(?!:)(?:[ \t]{{0,12}}|\\n|[ \t]*[|>][+-]?[ \t]*\n[ \t]*))"
    rf"|(?P<pair>\s{{0,4}},?(?:\s|\\n){{0,12}}(?:{_QUOTE})?value(?:{_QUOTE})?\s{{0,3}}[=:]\s{{0,3}})"
    rf"|(?P<comma>[ \t]{{0,2}},\s{{0,8}})"
    rf"|(?P<call>\(\s{{0,8}}(?=[\"'`]))"
    rf"|(?P<xml>>)"
    rf"|(?P<prose>[ \t]+(?:is|was|are|set to|equals?|as)(?::|[ \t])[ \t]*)"
    rf"|(?P<space>[ \t]+)"
    rf")",
    re.IGNORECASE,
)
_OPEN = re.compile(rf"(?:[rbuf]{{1,2}}(?=[\"']))?({_QUOTE}|\$'|&quot;)")
_BARE = re.compile(
    r"(?:[^\s\"'`<>,;&|(){}\[\]\\]|&(?![&\s]|[\w.-]{1,40}=|$)|\\[^nrt\"'\\\s]|(?<=\S)[({\[](?=[^\s\"']))+"
)
_SHELL = re.compile(
    r"(?:[^\s\"'`<>;&|()\\]|&(?![&\s]|[\w.-]{1,40}=|$)|\\[^nrt\"'\\\s]|\"(?![,:}\]])[^\s\"'$`]{0,400}\"(?!\")|'(?![,:}\]])[^\s']{0,400}'|\"\"|'')+"
)
_SPECIAL_TAIL = re.compile(r"[&;|<>(){}!][^\s\"'`&;|<>]*(?=[\s\"'`]|$)")
_PERCENT = re.compile(r"(?:(?!%26|%22|%3B|%23)[^\s\"'`<>&;,\\])+", re.IGNORECASE)
_PARTS = re.compile(r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+|\d+")
# The last word of a name that tells about a secret and holds none.
_ABOUT = frozenset(
    [
        "name",
        "names",
        "file",
        "files",
        "path",
        "paths",
        "dir",
        "directory",
        "folder",
        "url",
        "uri",
        "urls",
        "host",
        "hostname",
        "port",
        "length",
        "len",
        "count",
        "counts",
        "size",
        "type",
        "types",
        "id",
        "ids",
        "expire",
        "expires",
        "expiry",
        "expiration",
        "ttl",
        "timeout",
        "minutes",
        "seconds",
        "hours",
        "days",
        "limit",
        "limits",
        "min",
        "max",
        "field",
        "fields",
        "input",
        "inputs",
        "output",
        "label",
        "labels",
        "hint",
        "policy",
        "policies",
        "hasher",
        "hashers",
        "validator",
        "validators",
        "validation",
        "env",
        "var",
        "variable",
        "variables",
        "budget",
        "usage",
        "used",
        "required",
        "enabled",
        "disabled",
        "header",
        "headers",
        "regex",
        "pattern",
        "format",
        "prefix",
        "suffix",
        "version",
        "manager",
        "store",
        "provider",
        "class",
        "endpoint",
        "rotation",
        "algorithm",
        "alg",
        "arn",
        "ref",
        "refs",
        "reference",
        "issuer",
        "audience",
        "scope",
        "scopes",
        "kind",
        "status",
        "state",
        "error",
        "errors",
        "exception",
        "message",
        "msg",
        "text",
        "title",
        "placeholder",
        "description",
        "form",
        "page",
        "view",
        "router",
        "reset",
        "change",
        "changed",
        "strength",
        "rules",
        "rule",
        "check",
        "checks",
        "test",
        "tests",
        "mode",
        "method",
        "visible",
        "visibility",
        "stdin",
        "fd",
        "flow",
        "lifetime",
        "age",
        "interval",
        "window",
        "refresh",
        "per",
        "rate",
        "cost",
        "price",
        "spent",
        "total",
        "remaining",
        "in",
        "to",
        "from",
        "at",
        "on",
        "by",
        "for",
        "of",
        "and",
        "or",
        "plugin",
        "backend",
        "frontend",
        "service",
        "module",
        "script",
        "command",
        "cmd",
        "prompt",
        "required",
        "missing",
        "invalid",
        "valid",
        "less",
        "ed",
        "ized",
        "izer",
        "ization",
        "board",
        "word",
        "words",
        "map",
        "maps",
        "press",
        "down",
        "up",
        "code",
        "codes",
        "frame",
        "frames",
        "stroke",
        "store",
        "chain",
        "ring",
        "value_from",
        "source",
        "storage",
        "group",
        "helper",
        "hash",
        "digest",
    ]
)
# What comes before "key", "token" and the like and makes it something else.
_OTHER = frozenset(
    [
        "public",
        "pub",
        "primary",
        "foreign",
        "cache",
        "sort",
        "partition",
        "object",
        "idempotency",
        "unique",
        "index",
        "s3",
        "storage_path",
        "max",
        "min",
        "num",
        "input",
        "output",
        "total",
        "completion",
        "prompt",
        "context",
        "hot",
        "dict",
        "map",
        "json",
        "row",
        "column",
        "group",
        "field",
        "search",
        "lookup",
        "shortcut",
        "host",
        "known",
        "translation",
        "i18n",
        "route",
    ]
)
_GENERIC = frozenset(
    {"key", "keys", "auth", "sig", "signature", "sid", "pw", "creds", "cred", "credential", "credentials"}
)
_STRONGER = re.compile(r"pass|secret|token|key|pwd")
_PASSWORDS = re.compile(r"pass|pwd|pw", re.IGNORECASE)
_SCHEME = re.compile(
    r"(?:bearer|basic|token|digest|negotiate|apikey|api-key|key|ghs|jwt|oauth|splunk|klaviyo-api-key|ssws|genie\w*|discogs token=|bot)(?:[ \t]+|%20|\+)",
    re.IGNORECASE,
)
_KINDS = tuple(map(re.compile, (r"[a-z]", r"[A-Z]", r"\d", r"[^\w./:-]")))
_STARTS_A_LINE = re.compile(r"[ \t+-]{0,40}[\w.-]{1,60}\s{0,4}[:=]\s{0,4}")
_ODD_REST = re.compile(r"[<>,;&|(){}\[\]\\][^\s\"'`]{0,200}[^\s\"'`,;)}\]](?=[ \t]*(?:\r?\n|$))")
_CREDENTIAL = re.compile(r"[^\s\"'`,;<>\\)}]{6,}")
_BEARER = re.compile(r"\b(?:bearer|basic|token)(?:[ \t]+|%20)([A-Za-z0-9._~+/=-]{12,})", re.IGNORECASE)
_COOKIE = re.compile(
    r"(?:\b(?:set-)?cookie\\?[\"']?\s{0,2}[:=,]\s{0,2}|\s(?:-b|--cookie)[ =])([^\r\n]{4,4000})", re.IGNORECASE
)
_CRUMB = re.compile(r"(?:^|;|\"|')\s{0,2}([\w.-]{1,80})=([^;\s\"'\\]{8,})")
_HARMLESS_CRUMB = frozenset({"path", "domain", "expires", "max-age", "samesite", "theme", "lang", "locale", "version"})


def named_values(text: str) -> Iterator[Span]:
    """Secrets that their names give away."""
    at, lowered = 0, _lowered(text)
    while found := _NAME.search(lowered, at):
        at = found.end("key")
        span = _behind(text, found)
        if span:
            yield span
            at = max(at, span[1])
    for bearer in _BEARER.finditer(text):
        if values.is_mixed(bearer[1], 12) or bearer[1].endswith("="):
            yield bearer.span(1)
    yield from _cookies(text)


def _lowered(text: str) -> str:
    """In small letters, every character in its place: some that are not ASCII become two."""
    lowered = text.lower()
    return lowered if len(lowered) == len(text) else "".join(char.lower() if char.isascii() else char for char in text)


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
    if found["key"] in _GENERIC and _STRONGER.search(found["rest"]):
        return None  # "authToken" is a token; it is found by that
    start_of_name = _start_of_name(text, found.start())
    name, own, rest = (
        text[start_of_name : found.end()],
        text[slice(*found.span("key"))],
        text[slice(*found.span("rest"))],
    )
    key, how = found["key"], str(separator.lastgroup)
    if _tells_about(name, own, rest) or _closes_a_quote(text, start_of_name, separator):
        return None
    start = separator.end()
    if key in ("auth", "authorization", "bearer", "token") and (
        scheme := _SCHEME.match(text, _skip_quote(text, start))
    ):
        return _read_plain(text, scheme.end())
    return _judged(text, start, name, key, how, separator)


def _start_of_name(text: str, at: int) -> int:
    first = max(0, at - 40)
    while at > first and (text[at - 1].isalnum() or text[at - 1] in "_.-"):
        at -= 1
    return at


def _judged(text: str, start: int, name: str, key: str, how: str, separator: re.Match[str]) -> Span | None:
    opened = _OPEN.match(text, start)
    if opened and not (separator["close"] and how == "space"):
        span = _quoted(text, opened)
        ticked = opened[0].endswith("`")  # a shell runs what stands in them
        return span if span and _is_quoted_secret(text[slice(*span)], name, key, how, ticked=ticked) else None
    flag = how == "space" and name.startswith("-")
    if values.leads_elsewhere(text, start):
        return None
    span = _bare(text, start, how, values.LONGEST_OPAQUE if key in _GENERIC else values.LONGEST)
    if span is None:
        return None
    value = text[slice(*span)]
    return span if _is_bare_secret(text, span, value, name, key, "flag" if flag else how) else None


def _is_quoted_secret(value: str, name: str, key: str, how: str, *, ticked: bool) -> bool:
    if not values.is_literal(value) or values.is_uuid(value) or (ticked and " " in value):
        return False
    if key in _GENERIC:
        return _is_opaque(value)
    if how in ("comma", "prose", "space", "call"):
        return values.is_mixed(value)
    if values.is_number(value):
        return bool(_PASSWORDS.match(key))
    same = value.replace("_", "").replace("-", "").lower()
    return same != name.replace("_", "").replace("-", "").lower() and not (values.is_word(value) and same.endswith(key))


def _is_bare_secret(text: str, span: Span, value: str, name: str, key: str, how: str) -> bool:
    if not values.is_literal(value) or values.is_uuid(value):
        return False
    if values.is_number(value):
        return bool(_PASSWORDS.match(key)) and how in ("tight", "flag") and len(value) >= 4
    if key in _GENERIC:
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
        10 <= len(value) <= 256 and values.is_mixed(value) and not re.search(r"[\w)]\(|[.=,;]\w", value) and _strength(value) >= 3
    )  # fmt: skip


def _strength(value: str) -> int:
    """Of how many kinds its characters are."""
    return sum(bool(kind.search(value)) for kind in _KINDS)


def _may_be_a_plain_word(text: str, span: Span, name: str, key: str, how: str) -> bool:
    """``PASSWORD=letmein`` and ``--password letmein``; not ``token=token`` of a program's source."""
    follows = text[span[1] : span[1] + 1]
    called = follows in ("(", ".", "[") or name.lower().endswith(text[slice(*span)].lower())
    return bool(_PASSWORDS.search(key)) and not called and (how == "flag" or follows not in (",", ")"))


def _is_a_line_of_its_own(text: str, span: Span, name: str, key: str) -> bool:
    """``password: letmein`` as a line of YAML or of an INI file."""
    line = text[text.rfind("\n", 0, span[0]) + 1 : span[0]]
    rest = text[span[1] : span[1] + 2].lstrip(" ")
    alone = re.fullmatch(rf"[\s\"'+-]{{0,40}}{re.escape(name)}[\"']?\s*[:=]\s*", line)
    value = text[slice(*span)]
    return bool(alone and _PASSWORDS.search(key) and rest[:1] in ("", "\n", "\r", "#") and value.lower() != name.lower()) and (
        "\n" in text or value.islower()
    ) and not value[:1].isupper()  # fmt: skip


def _tells_about(name: str, key: str, rest: str) -> bool:
    """Whether the name is that of something about a secret: ``token_count``, ``PASSWORD_FILE``, ``public_key``."""
    parts = [part.lower() for part in _PARTS.findall(name)]
    if not parts:
        return False
    own = [part.lower() for part in _PARTS.findall(key)]
    if rest and rest[0].isalpha() and rest[0].islower() and key[-1:].isalpha():  # "passport", "tokenize", "keyboard"
        return True
    head = parts[: -len([p.lower() for p in _PARTS.findall(rest)]) or None]
    first = head[: -len(own)] if head[-len(own) :] == own else head[:-1]
    if first and first[-1] in _OTHER and not _PASSWORDS.match(key):
        return True
    if (
        key.lower() in ("pass", "pw", "sig", "sid", "auth", "key", "jwt", "cred", "creds")
        and first == []
        and len(name) > len(key + rest)
    ):
        return name[-len(key + rest) - 1].islower()  # "monkey", "bypass", "compass"
    return bool(rest) and parts[-1] in _ABOUT and parts[-1] not in own


def _closes_a_quote(text: str, start: int, separator: re.Match[str]) -> bool:
    """``'Password: '``: the quote behind the name closes one that was opened before it, and no value stands there."""
    opened = text[max(0, text.rfind("\n", 0, start) + 1, start - 40) : start]
    quote = text[separator.end() : separator.end() + 1]
    if quote not in ("'", '"') or separator["close"]:
        return False
    return opened.count(quote) % 2 == 1 and text[separator.end() + 1 : separator.end() + 2] in (
        ")",
        " ",
        ",",
        ";",
        "\n",
        "",
        "]",
        "}",
    )


def _skip_quote(text: str, start: int) -> int:
    opened = _OPEN.match(text, start)
    return opened.end() if opened else start


def _quoted(text: str, opened: re.Match[str]) -> Span | None:
    """What stands up to the same quote; to the end of the line, or of what was kept, where that is missing."""
    quote = opened[1] if opened[1] != "$'" else "'"
    start, limit = opened.end(), opened.end() + values.LONGEST
    at = start
    while True:
        end = text.find(quote, at, limit)
        if end < 0:
            line = text.find("\n", start, limit)
            end = line if line >= 0 else min(len(text), limit)
            break
        slashes = len(text[start:end]) - len(text[start:end].rstrip("\\")) if end > start else 0
        if slashes % 2 == 0 or quote.startswith("\\"):
            break
        at = end + 1
    span = _trimmed(text, start, end)
    return span if span[1] > span[0] else None


def _trimmed(text: str, start: int, end: int) -> Span:
    while end > start and text[end - 1] in " \t\n\r":
        end -= 1
    while start < end and text[start] in " \t\n\r":
        start += 1
    return start, end


def _bare(text: str, start: int, how: str, longest: int) -> Span | None:
    if how == "xml":
        end = text.find("<", start, start + longest)
        return _trimmed(text, start, end) if end > start else None
    form = _SHELL if how == "tight" or how == "flag" else _BARE
    if text[max(0, start - 3) : start].upper() in ("%3D", "%3A") or (
        how == "tight" and re.search(r"[?&][\w.-]{1,40}=$", text[max(0, start - 42) : start])
    ):
        form = _PERCENT
    found = form.match(text, start, start + longest)
    if found is None:
        return None
    end = _end_of_user_part(text, start, found.end()) if how == "tight" else _end_of_line(text, start, found.end())
    if found[0].endswith("/") and text[end : end + 1] in ("'", '"') and "s/" in text[max(0, start - 200) : start]:
        end -= 1  # sed's own
    if how != "tight":
        while end > start and text[end - 1] in ".,:;!?)" and (end == len(text) or text[end : end + 1].isspace()):
            if text[end - 1] == "!" and how != "prose":
                break
            end -= 1
    return (start, end) if end > start else None


def _end_of_user_part(text: str, start: int, end: int) -> int:
    """In an address the host follows, behind the last ``@``."""
    in_address = "://" in text[max(0, start - 80) : start].rpartition(" ")[2]
    at = text.rfind("@", start, end) if in_address else -1
    return at if at > start else end


def _end_of_line(text: str, start: int, end: int) -> int:
    """A value of YAML or of an INI file goes on over punctuation, where nothing else stands on its line."""
    line = text[text.rfind("\n", 0, start) + 1 : start]
    rest = _ODD_REST.match(text, end)
    return rest.end() if rest and _STARTS_A_LINE.fullmatch(line) else end


def _read_plain(text: str, start: int) -> Span | None:
    """The rest of an Authorization header behind its scheme."""
    found = _CREDENTIAL.match(text, start, start + values.LONGEST)
    if found is None or values.stands_for_another(found[0]):
        return None
    about = values.is_word(found[0].rstrip("=")) and not found[0].endswith("==")  # 'Bearer realm="…"'
    return None if about else found.span()
