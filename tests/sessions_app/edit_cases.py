"""Edits and what the CLI 2.1.330 makes of them."""
# ruff: noqa: RUF001

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Case:
    """A file, one edit of it, and the file afterwards; the same bytes where the CLI refuses the edit."""

    about: str
    before: bytes
    old: str
    new: str
    after: bytes
    everywhere: bool = False
    name: str = "a.txt"


CASES = (
    Case("crlf", b"one\r\ntwo\r\nthree\r\n", "one\ntwo", "ONE\nTWO", b"ONE\r\nTWO\r\nthree\r\n"),
    Case("cr in the old text", b"one\r\ntwo\r\n", "one\r\ntwo", "x", b"one\r\ntwo\r\n"),
    Case("crlf in the new text", b"one\r\ntwo\r\n", "one", "ONE\r\nMORE", b"ONE\r\nMORE\r\ntwo\r\n"),
    Case("mixed, mostly lf", b"one\ntwo\r\nthree\nfour\n", "four", "4", b"one\ntwo\nthree\n4\n"),
    Case("mixed, mostly crlf", b"one\r\ntwo\r\nthree\nfour\r\n", "four", "4", b"one\r\ntwo\r\nthree\r\n4\r\n"),
    Case("mixed, as many", b"one\r\ntwo\n", "two", "2", b"one\n2\n"),
    Case("cr alone", b"one\rtwo\r", "one\ntwo", "x", b"one\rtwo\r"),
    Case("byte-order mark", b"\xef\xbb\xbfone\n", "one", "ONE", b"\xef\xbb\xbfONE\n"),
    Case("curly", "say “hi” it’s\n".encode(), 'say "hi" it\'s', 'say "ho" it\'s', "say “ho” it’s\n".encode()),
    Case("straight", b'say "hi"\n', "say “hi”", "say “ho”", "say “ho”\n".encode()),
    Case("curly and straight", '“b” "b"\n'.encode(), '"b"', '"c"', '“b” "c"\n'.encode()),
    Case("twice", b"a\na\n", "a", "b", b"a\na\n"),
    Case("everywhere", b"a\na\n", "a", "b", b"b\nb\n", everywhere=True),
    Case("a line taken out", b"one\r\ntwo\r\nthree\r\n", "two", "", b"one\r\nthree\r\n"),
    Case("lines taken out", b"a\nx\na\nx\na", "a", "", b"x\nx\na", everywhere=True),
    Case("nothing for something", b"one\n", "", "x", b"one\n"),
    Case("the same", b"one\n", "one", "one", b"one\n"),
    Case("spaces at the end", b"one\ntwo\n", "one", "ONE  \nmore  ", b"ONE\nmore\ntwo\n"),
    Case("spaces in Markdown", b"one\ntwo\n", "one", "ONE  \nmore  ", b"ONE  \nmore  \ntwo\n", name="a.md"),
    Case("an escape", "one é\n".encode(), "one \\u00e9", "ONE \\u00e9", "ONE é\n".encode()),
    Case("a dollar", b"one\n", "one", "$& $1 $$", b"$& $1 $$\n"),
)
