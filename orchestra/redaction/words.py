"""Words that look randomly generated. Pure functions.

In a random word, letters of both cases and digits alternate as often as chance predicts; in names,
paths and versions they do not. Hexadecimal words are not judged by their look, because most of them
are digests; they are hidden only behind a name.
"""

import base64
import re
from collections import deque
from collections.abc import Iterator
from itertools import pairwise

from orchestra.redaction.tokens import Span

SHORTEST = 24
SHORTEST_PIECE = 16
LONGEST_FRAME = 20_000
MOST_JUDGED = 256  # characters; longer words are data
CHANGES = 0.33  # share of neighbours of different kinds; random words have 0.6, camelCase has 0.3

_WORD = re.compile(r"[A-Za-z0-9+_=~-][A-Za-z0-9+/_=.~-]{22,}[A-Za-z0-9+/_=~-]", re.ASCII)
_NAMED = re.compile(r"(?:[-\w.]{1,60}=(?=[^=]))+")
_FRAME = re.compile(r"-----BEGIN (?!.{0,40}PRIVATE)[A-Z0-9 ]{1,40}-----")
_UPPER, _LOWER, _DIGIT = re.compile("[A-Z]"), re.compile("[a-z]"), re.compile("[0-9]")
_DATA = re.compile(r"[A-Za-z0-9+/]+")
_PIECES = re.compile(r"[-_.~=/+]+")
_NOT_BEFORE = re.compile(
    r"(?:sha\d{1,3}[-:=]|md5[-:=]|h1:|base64,|ssh-[a-z0-9]+ |ecdsa-[a-z0-9-]+ "
    r"|nonce[-=]\"?'?|[?&][\w.-]{1,40}=|[/@%#]|:/|\\u?"
    r"|(?:nonce|integrity|hash|digest|checksum|\bsum|sha\d*|etag|fingerprint|public[-_ ]?key|pub[-_]?key|\b\w*id|cursor"
    r"|src|href|rev|ref|commit|version|image|d|path|file|name|class|className|signature_?algorithm)"
    r"[\"'\\]{0,4}\s{0,2}[=:]\s{0,2}[\"'\\]{0,4}(?:W/\")?)$",
    re.IGNORECASE,
)
_ID = re.compile(
    r"(?:sha\d{1,3}|nonce)-|(?:toolu|srvtoolu|msg|req|call|chatcmpl|resp|run|file|thread|asst|cmpl|batch|evt|ch|cus|pi|price|prod|in|sub|acct|seti|cs|"
    r"pm|si|cn|user|org|proj|team|item|doc|node|conv|sess|session|arn|projects|Qm|bafy|AKfycb|UC|PL|AAAA[BCE])[-_:A-Z0-9a-z]"
)


def random_words(text: str) -> Iterator[Span]:
    """Yield the words of ``text`` that look random and have no other explanation beside them."""
    frames = deque(_frames(text))
    for found in _WORD.finditer(text):
        start, end = found.span()
        while frames and frames[0][1] <= start:
            frames.popleft()
        if end - start > MOST_JUDGED or (frames and frames[0][0] <= start):
            continue
        name = _NAMED.match(text, start, end)
        start = name.end() if name else start
        word = text[start:end]
        if looks_random(word) and not _ID.match(word) and not _is_explained(text, start, end):
            yield start, end


def _frames(text: str) -> Iterator[Span]:
    """Yield where certificates, public keys and signatures are, which are not secret."""
    last = 0
    for found in _FRAME.finditer(text) if "-----BEGIN" in text else ():
        if found.start() >= last:
            end = text.find("-----END", found.end(), found.end() + LONGEST_FRAME)
            last = end if end >= 0 else found.end() + LONGEST_FRAME
            yield found.start(), last


def _is_explained(text: str, start: int, end: int) -> bool:
    """Return whether the text before the word, or the lines around it, mark it as a digest, an id
    or data.
    """
    if _NOT_BEFORE.search(text[max(0, start - 48) : start]):
        return True
    line, size = text.rfind("\n", 0, start) + 1, end - start
    whole = size >= 40 and not text[line:start].strip(" +-|>") and text[end : end + 1] in ("\n", "\r", "")
    if not whole:
        return False
    before, after = text[max(0, line - size - 1) : max(0, line - 1)], text[end + 1 : end + 1 + size]
    return any(len(one) == size and _DATA.fullmatch(one) for one in (before.strip("\r"), after.strip()))


def looks_random(word: str, shortest: int = SHORTEST) -> bool:
    """Return whether the word looks randomly generated."""
    word = word[:MOST_JUDGED]
    if len(word) < shortest or not _has_all_kinds(word):
        return False
    pieces = _PIECES.split(word)
    longest = max(pieces, key=len)
    if len(longest) < min(SHORTEST_PIECE, shortest):
        return False
    if sum(map(len, pieces)) < 0.9 * len(word) or _changes(longest) < CHANGES:
        return False
    return not _is_path(pieces, word) and not _is_readable(word)


def _has_all_kinds(word: str) -> bool:
    return bool(_UPPER.search(word) and _LOWER.search(word) and _DIGIT.search(word))


def _changes(word: str) -> float:
    kinds = ["d" if char.isdigit() else "u" if char.isupper() else "l" for char in word]
    return sum(one != other for one, other in pairwise(kinds)) / max(1, len(kinds) - 1)


def _is_path(pieces: list[str], word: str) -> bool:
    """Return whether slashes or dots separate words of a language."""
    plain = sum(len(piece) >= 3 and piece.islower() and piece.isalpha() for piece in pieces)
    return ("/" in word or "." in word) and plain >= 2


def _is_readable(word: str) -> bool:
    """Return whether the word is the base64 encoding of readable text."""
    try:
        raw = base64.b64decode(word.replace("-", "+").replace("_", "/") + "=" * (-len(word) % 4), validate=True)
    except ValueError:
        return False
    return sum(32 <= byte < 127 or byte in b"\n\t" for byte in raw) >= 0.95 * len(raw) and b":" not in raw
