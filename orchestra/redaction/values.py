"""Telling secrets from values that only refer to a secret. Pure functions.

A reference (``$TOKEN``, ``$(pass show db)``, ``{{ vault }}``), a placeholder (``<token>``,
``changeme``), a type (``str``) and an expression (``os.environ["X"]``) show where the secret comes
from, so they stay readable.
"""

import re

LONGEST = 65_536  # characters of one value
LONGEST_OPAQUE = 512  # characters of a value that are examined before it is read to its end
SHORTEST = 4

_REFERENCE = re.compile(
    r"\\*[\"']?(?:\$|%\w+%|%[({]|\{\{|\{[\w.]*\}|<|`|@\w+@|#\{|\[|\(|\.[*+]|\^|(?:pass|env|file|fd):|&\w+$|!\w+|\*\w+$)"
)
_PLACEHOLDER = re.compile(
    r"(?:your|my|the|some|insert|enter|put|replace|add|set)[-_ .].*"
    r"|.*(?:[-_ ]here|[-_ ]goes)"
    r"|[x*.•_#?-]{3,}|x{2,}(?:[-_.]x{2,})+|(?:sk|ghp|xoxb|pk)[-_](?:ant[-_])?[x.*…]+"
    r"|(?:change[-_ ]?(?:me|it|this)|redacted|hidden|masked|removed|placeholder|example|sample|dummy|fixme|todo|tbd"
    r"|none|null|nil|undefined|true|false|yes|no|on|off|empty|blank|default|unset|unknown|required|optional|n/a"
    r"|str|string|text|int|integer|number|bool|boolean|bytes|any|object|char|varchar|float|uuid|secretstr|file|env"
    r"|password|passwd|token|secret|key|value|credentials?|bearer|basic|digest|oauth2?|prompt|stdin|input|ask|vault"
    r"|hashed|encrypted|plaintext|include|omit|same-origin|public|private|readonly|current-password|new-password)s?",
    re.IGNORECASE,
)
_LEFT_OUT = re.compile(r"\.{3}|…|\*{3}|^\W+$")
_PATH = re.compile(r"(?:~|\.{1,2})?/[\w.@~+-]+(?:/|$)|[A-Za-z]:\\|(?:https?|s3|file)://", re.ASCII)
_EXPRESSION = re.compile(
    r"(?:await |new |async |self\b|this\b|os\.|process\.|lambda\b)|[A-Za-z_][\w.]*(?:\(|\[|\.[a-z_]+\b(?!\d))"
)
_DOTTED = re.compile(r"[A-Za-z_]+(?:\.[A-Za-z_]+)+")
_NUMBER = re.compile(r"[-+]?[\d_.,]+(?:[kKmMgG]|[smhd]|ms)?")
_IDENTIFIER = re.compile(r"[A-Za-z_$][A-Za-z_$-]*")
_UUID = re.compile(r"[0-9a-f]{8}-(?:[0-9a-f]{4}-){3}[0-9a-f]{12}", re.IGNORECASE)
_LETTER = re.compile(r"[^\W\d_]")
_DIGIT = re.compile(r"\d")
_ODD = re.compile(r"[\d!@#%^&*$+=?~]")
_VERSION = re.compile(r"[v^~=<>]*\d+(?:\.\d+)+[\w.+-]*")


def is_reference(value: str) -> bool:
    """Return whether ``value`` refers to or describes a secret and is not one."""
    return is_reference_or_path(value) or bool(_LEFT_OUT.search(value[:64]) or _PLACEHOLDER.fullmatch(value[:64]))


def is_reference_or_path(text: str, start: int = 0) -> bool:
    """Return whether a reference or a path begins at ``start``."""
    return bool(_REFERENCE.match(text, start) or _PATH.match(text, start))


def is_literal(value: str) -> bool:
    """Return whether ``value``, which stood in quotes or after ``NAME=``, is itself a secret."""
    return len(value) >= SHORTEST and not is_reference(value) and not _is_sentence(value)


def is_bare_literal(value: str) -> bool:
    """Return the same for a value without quotes (YAML), which may also be an expression or a word
    of a sentence.
    """
    if not is_literal(value) or _EXPRESSION.match(value):
        return False
    return not (_IDENTIFIER.fullmatch(value) or _DOTTED.fullmatch(value))


def is_number(value: str) -> bool:
    return bool(_NUMBER.fullmatch(value))


def is_word(value: str) -> bool:
    """Return whether the value consists of letters: a name, a type, a word of a sentence."""
    return bool(_IDENTIFIER.fullmatch(value))


def is_mixed(value: str, shortest: int = 6) -> bool:
    """Return whether the value mixes letters with digits or symbols, and is neither a version nor a
    UUID.
    """
    if (
        len(value) < shortest
        or value.startswith(("-", "/", "."))
        or not (_LETTER.search(value) and _ODD.search(value.rstrip("=")))
    ):
        return False
    return not (_VERSION.fullmatch(value) or _UUID.fullmatch(value))


def is_uuid(value: str) -> bool:
    return bool(_UUID.fullmatch(value))


def _is_sentence(value: str) -> bool:
    """Return whether the value is a text of words: a message, a label."""
    if " " not in value or _DIGIT.search(value):
        return False
    return len(value.split()) > 6 or value[-1] in ".!?:"
