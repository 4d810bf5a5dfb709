"""Look-alike letters: a Cyrillic ``а`` in ``apple.com``, full-width letters, a sign that looks like
a slash. Pure.

Scripts come from Unicode's data (``regex``). Which letters look alike comes from Unicode's list of
confusables (UTS 39), as far as the counterpart is an ASCII letter. Ordinary writing is not marked:
a word of one script, a Latin word beside a Russian one, Japanese and Thai text that continues in
Latin without a space, and formulas such as ``Δt``.
"""
# ruff: noqa: RUF001, RUF002 - this module lists such letters

import unicodedata
from collections.abc import Iterator

import regex

# Letters of other scripts, each with the ASCII letter that it looks like.
LOOKS_LIKE = {
    other: latin
    for latin, others in {
        "a": "аαɑ", "b": "ЬƄ", "c": "сϲᴄⲥⅽ", "d": "ԁⅾ", "e": "еҽ", "f": "ϝք", "g": "ɡցᶃ", "h": "һհᏂ", "i": "іιɩɪӏⅰ",
        "j": "јϳ", "k": "кκᴋ", "l": "ӏⲓʟⅼ", "m": "мᴍⅿ", "n": "пոռηɴ", "o": "оοσօᴏⲟ", "p": "рρⲣ",
        "q": "ԛգզ", "r": "гᴦʀⲅ", "s": "ѕꜱſ", "t": "тτᴛ", "u": "υսʋᴜц", "v": "νѵᴠ", "w": "ѡԝաᴡ", "x": "хχ",
        "y": "уүγʏᶌყ", "z": "ᴢ",
        "A": "АΑᎪ", "B": "ВΒᏴ", "C": "СϹᏟⅭ", "D": "ᎠⅮ", "E": "ЕΕᎬ", "F": "Ϝ", "G": "ԌᏀ", "H": "НΗᎻ", "I": "ІΙӀⅠ",
        "J": "ЈᎫ", "K": "КΚᏦ", "L": "ᏞⅬ", "M": "МΜϺᎷⅯ", "N": "Ν", "O": "ОΟՕ", "P": "РΡᏢ", "Q": "ԚႭ", "R": "ᎡᏒ",
        "S": "ЅՏᏚ", "T": "ТΤᎢ", "U": "ՍԱ", "V": "ѴᏙⅤ", "W": "ԜᎳ", "X": "ХΧⅩ", "Y": "УΥҮϒ", "Z": "ΖᏃ",
    }.items()
    for other in others
}  # fmt: skip
# Signs that look like those that end a host name or separate its labels.
SIGNS = frozenset("⁄∕⧸╱／．。｡․：∶ꓽ﹕﹒")
WORD = regex.compile(r"[\p{L}\p{M}\p{N}]+")
LATIN = regex.compile(r"\p{Script=Latin}")
CHUNK = regex.compile(r"\S+")
ENDS_LIKE_A_HOST = regex.compile(r"[.．。｡․](\p{Script=Latin}{2,})(?![\p{L}\p{M}\p{N}])")
NAMES_A_HOST = regex.compile(r"://|@|^www[.．]")
NO_LOOKALIKE = regex.compile(r"[\p{Script=Han}\p{Script=Hiragana}\p{Script=Katakana}\p{Script=Hangul}]")
# File extensions that are top-level domains, too: a Russian word with one of them is a file name.
FILES = frozenset({"py", "sh", "md", "pl", "rs", "cc", "ps", "so", "ml", "st", "mk", "zip", "mov", "vi", "tex", "txt"})
LABEL = regex.compile(r"[\p{L}\p{M}\p{N}-]+")
INTERESTING = regex.compile(
    "[" + "".join(map(regex.escape, sorted({*LOOKS_LIKE, *SIGNS}))) + r"\uff10-\uff5a\U0001d400-\U0001d7ff]"
)
MARK = regex.compile(r"⟨(\S) U\+[0-9A-F]{4,6}⟩")
LONGEST_CHUNK = 4_000  # characters; in a longer text without spaces only words are checked, not host names
MOST_WORDS_NAMED = 3


def marked_lookalikes(text: str) -> str:
    """Add the code point to every look-alike letter: ``⟨а U+0430⟩pple.com``."""
    places = set(lookalike_places(text))
    if not places:
        return text
    return "".join(f"⟨{char} U+{ord(char):04X}⟩" if at in places else char for at, char in enumerate(text))


def lookalike_places(text: str) -> Iterator[int]:
    """Yield the indexes of look-alike letters in ``text``, except those that are marked already."""
    if text.isascii() or not INTERESTING.search(text):
        return
    marked = {found.start(1) for found in MARK.finditer(text)}
    yield from (at for at in _places(text) if at not in marked)


def _places(text: str) -> Iterator[int]:
    for word in WORD.finditer(text):
        if not word[0].isascii():
            yield from (word.start() + at for at in _in_word(word[0]))
    for chunk in CHUNK.finditer(text):
        if not chunk[0].isascii() and len(chunk[0]) <= LONGEST_CHUNK and _names_a_host(chunk[0]):
            yield from (chunk.start() + at for at in _in_host(chunk[0]))


def lookalike_warning(shown: str) -> str:
    """Return sentences about the look-alike letters that ``shown`` marks; an empty text for most
    texts.
    """
    if not MARK.search(shown):
        return ""
    words = list(dict.fromkeys(chunk for chunk in shown.replace(" U+", "\0U+").split() if "⟨" in chunk))
    warnings = [_warning_for(word.replace("\0", " ")) for word in words if MARK.search(word.replace("\0", " "))]
    more = (
        f" {len(warnings) - MOST_WORDS_NAMED:,} more words have such letters."
        if len(warnings) > MOST_WORDS_NAMED
        else ""
    )
    return " ".join(warnings[:MOST_WORDS_NAMED]) + more


def _names_a_host(chunk: str) -> bool:
    """Whether a text without spaces contains a host name.

    Japanese sentences and file names do not count.
    """
    ending = ENDS_LIKE_A_HOST.search(chunk)
    if ending is None or NO_LOOKALIKE.search(chunk):
        return False
    is_file = ending[1] in FILES or not ending[1].islower()
    return not is_file or NAMES_A_HOST.search(chunk) is not None


def _in_word(word: str) -> Iterator[int]:
    """Yield look-alikes in a word that also has ASCII letters: of another script, or styled Latin
    letters.
    """
    if not any(char.isascii() and char.isalpha() for char in word):
        return
    for at, char in enumerate(word):
        if char in LOOKS_LIKE or _is_styled(char):
            yield at


def _in_host(chunk: str) -> Iterator[int]:
    """Yield look-alikes in a host name: labels of nothing else, styled letters, and separators that
    are none.
    """
    for label in LABEL.finditer(chunk):
        letters = [char for char in label[0] if char.isalpha()]
        if letters and all(char in LOOKS_LIKE for char in letters):
            yield from (label.start() + at for at, char in enumerate(label[0]) if char in LOOKS_LIKE)
    for at, char in enumerate(chunk):
        if char in SIGNS or _is_styled(char):
            yield at


def _is_styled(char: str) -> bool:
    """Whether this is a full-width, bold, script or similar form of an ASCII letter or digit."""
    if char.isascii() or not ("\uff10" <= char <= "\uff5a" or "\U0001d400" <= char <= "\U0001d7ff"):
        return False
    plain = unicodedata.normalize("NFKC", char)
    return len(plain) == 1 and plain.isascii() and plain.isalnum()


def _warning_for(word: str) -> str:
    lookalikes = [found[1] for found in MARK.finditer(word)]
    short = word if len(word) <= 80 else word[:79] + "…"
    scripts = list(dict.fromkeys(script for char in lookalikes if (script := _script(char)) != "Latin"))
    if not scripts:
        return f"{short} has letters or signs that pass for others."
    plain = MARK.sub("", word)
    rest = "Latin and " if LATIN.search(plain) else ""
    return f"{short} mixes {rest}{' and '.join(scripts)} letters." if rest else f"{short} is in {scripts[0]} letters."


def _script(char: str) -> str:
    for name in ("Latin", "Cyrillic", "Greek", "Armenian", "Cherokee", "Coptic", "Georgian"):
        if regex.match(rf"\p{{Script={name}}}", char):
            return name
    return "Latin"
