"""Commands inside an apparent secret stay readable, because redaction must not hide what would run.
Pure functions.

The author of a request controls what looks like a secret in it. ``PASSWORD="x$(curl …)"`` runs the
command in the quotes, and ``echo "password='x"; curl …; echo "'"`` runs one between two quotes that
belong to other strings. People decide by what they see, so a hidden part ends where a shell might
start a command.
"""

import re
from collections.abc import Iterator

from orchestra.redaction.tokens import Span

_DATA = r"[A-Za-z0-9+=_-](?:[A-Za-z0-9+=_-]{15,}|[A-Za-z0-9+/=_-]{39,})"
_RUNS = re.compile(
    r"\\?\$\(|\\?`|[<>]\("  # substitutions
    r"|[;|&](?=\s)|(?<=\s)[;|&]"  # separators with a space beside them
    r"|\\?[\"'](?=[;|&)])|[;|&](?=\\?[\"']\S)"  # separators after a closing quote, or before an opening one
    r"|&(?=[./~$]|[a-z]{3})"
    rf"|(?<!\\)\n(?![ \t]*(?:[A-Za-z-]{{4,12}}: \S{{1,40}}|{_DATA})[ \t\r]*(?:\n|$))",
)
_ENDS = {"$(": ")", "<(": ")", ">(": ")", "`": "`"}
_SPACE = " \t\r\n"
_FRAMED = re.compile(
    r"(?:(?:\\[nrt]|[\s\"'`+,|>;\\-])*"  # line separators, in a file and in source code
    r"(?:(?:Proc-Type|DEK-Info|Version|Comment|Hash|Subject|x-[a-z]+): ?"
    r"(?:[\w.,: @<>()-]|\"[\w@. -]*\"){1,100}(?=\\[nr]|[\r\n])"
    r"|[A-Za-z0-9+/=]{20,}(?![^\s\"'`\\,<…-])))+"
    r"(?:(?:\\[nrt]|[\s\"'`+,|>\\-])*[A-Za-z0-9+/=]{1,20}(?=(?:\\[nrt]|[\s\"'`+,|>\\-])*(?:---|$|…)))?"
)


def without_commands(text: str, span: Span) -> Iterator[Span]:
    """Yield the parts of ``span`` between possible commands; all of it if there is none."""
    start, end = span
    while start < end:
        found = _RUNS.search(text, start, end)
        if found is None:
            yield start, end
            return
        if found.start() > start:
            yield start, found.start()
        close = _ENDS.get(found[0].lstrip("\\"))
        if close is None:
            return
        after = text.find(close, found.end(), end)
        if after < 0:
            return
        start = after + 1


def framed(text: str, span: Span) -> Iterator[Span]:
    """Yield the part of ``span`` that can be the content of a private key, from its beginning on."""
    found = _FRAMED.match(text, *span)
    if found:
        yield found.span()
