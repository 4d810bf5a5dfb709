"""Finding the end of a value: in quotes, in a shell, in YAML, in a URL. Pure functions."""

import re

from orchestra.redaction import values
from orchestra.redaction.tokens import Span

QUOTE = r"\\{0,7}[\"'`]"
OPEN = re.compile(rf"(?:[rbuf]{{1,2}}(?=[\"']))?({QUOTE}|\$'|&quot;)")
_BARE = re.compile(
    r"(?:[^\s\"'`<>,;&|(){}\[\]\\]|&(?![&\s]|[\w.-]{1,40}=|$)|\\[^nrt\"'\\\s]|(?<=\S)[({\[](?=[^\s\"']))+"
)
_SHELL = re.compile(
    r"(?:[^\s\"'`<>;&|()\\]|&(?![&\s]|[\w.-]{1,40}=|$)|\\[^nrt\"'\\\s]|\"(?![,:}\]])[^\s\"'$`]{0,400}\"(?!\")|'(?![,:}\]])[^\s']{0,400}'|\"\"|'')+"
)
_PERCENT = re.compile(r"(?:(?!%26|%22|%3B|%23)[^\s\"'`<>&;,\\])+", re.IGNORECASE)
_STARTS_A_LINE = re.compile(r"[ \t+-]{0,40}[\w.-]{1,60}\s{0,4}[:=]\s{0,4}")
_ODD_REST = re.compile(r"[<>,;&|(){}\[\]\\][^\s\"'`]{0,200}[^\s\"'`,;)}\]](?=[ \t]*(?:\r?\n|$))")
_CREDENTIAL = re.compile(r"[^\s\"'`,;<>\\)}]{6,}")


def skip_quote(text: str, start: int) -> int:
    opened = OPEN.match(text, start)
    return opened.end() if opened else start


def quoted(text: str, opened: re.Match[str]) -> Span | None:
    """Return the text up to the closing quote; without one, up to the end of the line or of the
    text.
    """
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


def bare(text: str, start: int, how: str, longest: int) -> Span | None:
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
        end -= 1  # the last slash of sed's s/…/…/
    if how != "tight":
        while end > start and text[end - 1] in ".,:;!?)" and (end == len(text) or text[end : end + 1].isspace()):
            if text[end - 1] == "!" and how != "prose":
                break
            end -= 1
    return (start, end) if end > start else None


def _end_of_user_part(text: str, start: int, end: int) -> int:
    """In a URL, end the value at the last ``@``, after which the host follows."""
    in_address = "://" in text[max(0, start - 80) : start].rpartition(" ")[2]
    at = text.rfind("@", start, end) if in_address else -1
    return at if at > start else end


def _end_of_line(text: str, start: int, end: int) -> int:
    """Extend a value over punctuation to the end of its line, if the line holds only a name and the
    value (YAML, INI).
    """
    line = text[text.rfind("\n", 0, start) + 1 : start]
    rest = _ODD_REST.match(text, end)
    return rest.end() if rest and _STARTS_A_LINE.fullmatch(line) else end


def credential(text: str, start: int) -> Span | None:
    """Return the credential of an Authorization header, after its scheme, or None."""
    found = _CREDENTIAL.match(text, start, start + values.LONGEST)
    if found is None or values.is_reference(found[0]):
        return None
    about = values.is_word(found[0].rstrip("=")) and not found[0].endswith("==")  # 'Bearer realm="…"'
    return None if about else found.span()
