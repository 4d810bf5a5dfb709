"""Letters that pass for others: a Cyrillic ``а`` in ``apple.com``, full-width letters, a slash that is none. Pure.

Scripts come from Unicode's data (``regex``); which letters look like which is Unicode's list of confusables (UTS 39),
as far as its answer is an ASCII letter. Ordinary writing is left alone: a word of one script, a Latin word beside a
Russian one, Japanese and Thai that run into Latin words without a space, and formulas such as ``Δt``.
"""
# ruff: noqa: RUF001, RUF002 - this module is about such letters

import unicodedata
from collections.abc import Iterator

import regex

# Letters of other scripts, each with the ASCII letter that it passes for.
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
# Signs that end a host's name or part its labels, without being what they look like.
SIGNS = frozenset("⁄∕⧸╱／．。｡․：∶ꓽ﹕﹒")
WORD = regex.compile(r"[\p{L}\p{M}\p{N}]+")
LATIN = regex.compile(r"\p{Script=Latin}")
CHUNK = regex.compile(r"\S+")
ENDS_LIKE_A_HOST = regex.compile(r"[.．。｡․](\p{Script=Latin}{2,})(?![\p{L}\p{M}\p{N}])")
NAMES_A_HOST = regex.compile(r"://|@|^www[.．]")
NO_LOOKALIKE = regex.compile(r"[\p{Script=Han}\p{Script=Hiragana}\p{Script=Katakana}\p{Script=Hangul}]")
# Endings of files that are those of countries, too: a Russian word with one of them names a file.
FILES = frozenset({"py", "sh", "md", "pl", "rs", "cc", "ps", "so", "ml", "st", "mk", "zip", "mov", "vi", "tex", "txt"})
LABEL = regex.compile(r"[\p{L}\p{M}\p{N}-]+")
INTERESTING = regex.compile(
    "[" + "".join(map(regex.escape, sorted({*LOOKS_LIKE, *SIGNS}))) + r"\uff10-\uff5a\U0001d400-\U0001d7ff]"
)
MARK = regex.compile(r"⟨(\S) U\+[0-9A-F]{4,6}⟩")
LONGEST_CHUNK = 4_000  # characters; an address or a word that is longer is looked at word by word
MOST_WORDS_NAMED = 3


def marked_lookalikes(text: str) -> str:
    """``text`` with the code point beside every letter that passes for another: ``⟨а U+0430⟩pple.com``."""
    places = set(lookalike_places(text))
    if not places:
        return text
    return "".join(f"⟨{char} U+{ord(char):04X}⟩" if at in places else char for at, char in enumerate(text))


def lookalike_places(text: str) -> Iterator[int]:
    """Where in ``text`` a letter passes for another; what is marked already counts no more."""
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
    """What a text that was made visible holds of such letters, as sentences; empty for most texts."""
    if not MARK.search(shown):
        return ""
    words = list(dict.fromkeys(chunk for chunk in shown.replace(" U+", "\0U+").split() if "⟨" in chunk))
    told = [_told(word.replace("\0", " ")) for word in words if MARK.search(word.replace("\0", " "))]
    more = f" {len(told) - MOST_WORDS_NAMED:,} more words have such letters." if len(told) > MOST_WORDS_NAMED else ""
    return " ".join(told[:MOST_WORDS_NAMED]) + more


def _names_a_host(chunk: str) -> bool:
    """Whether a text without spaces is, or holds, a host's name; Japanese sentences and names of files are none."""
    ending = ENDS_LIKE_A_HOST.search(chunk)
    if ending is None or NO_LOOKALIKE.search(chunk):
        return False
    is_file = ending[1] in FILES or not ending[1].islower()
    return not is_file or NAMES_A_HOST.search(chunk) is not None


def _in_word(word: str) -> Iterator[int]:
    """Strangers in a word that has plain Latin letters, too: of another script, or Latin in another dress."""
    if not any(char.isascii() and char.isalpha() for char in word):
        return
    for at, char in enumerate(word):
        if char in LOOKS_LIKE or _is_dressed_up(char):
            yield at


def _in_host(chunk: str) -> Iterator[int]:
    """Whole labels of look-alikes under a Latin ending, letters in another dress, and signs that part nothing."""
    for label in LABEL.finditer(chunk):
        letters = [char for char in label[0] if char.isalpha()]
        if letters and all(char in LOOKS_LIKE for char in letters):
            yield from (label.start() + at for at, char in enumerate(label[0]) if char in LOOKS_LIKE)
    for at, char in enumerate(chunk):
        if char in SIGNS or _is_dressed_up(char):
            yield at


def _is_dressed_up(char: str) -> bool:
    """Whether this is an ASCII letter or digit in full width, bold, script or the like."""
    if char.isascii() or not ("\uff10" <= char <= "\uff5a" or "\U0001d400" <= char <= "\U0001d7ff"):
        return False
    plain = unicodedata.normalize("NFKC", char)
    return len(plain) == 1 and plain.isascii() and plain.isalnum()


def _told(word: str) -> str:
    strangers = [found[1] for found in MARK.finditer(word)]
    short = word if len(word) <= 80 else word[:79] + "…"
    scripts = list(dict.fromkeys(script for char in strangers if (script := _script(char)) != "Latin"))
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
