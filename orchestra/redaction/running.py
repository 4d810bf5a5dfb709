"""What is hidden must not run: commands inside what looks like a secret stay readable. Pure.

Whoever writes a request also chooses what looks like a secret in it. ``PASSWORD="x$(curl …)"`` runs the command in the
quotes, and ``echo "password='x"; curl …; echo "'"`` has one between two quotes that belong to others. People decide
about what they see, so a hidden part ends where a shell might begin a command.
"""

import re
from collections.abc import Iterator

from orchestra.redaction.tokens import Span

_DATA = r"[A-Za-z0-9+=_-](?:[A-Za-z0-9+=_-]{15,}|[A-Za-z0-9+/=_-]{39,})"
_RUNS = re.compile(
    r"\\?\$\(|\\?`|[<>]\("  # put in place of themselves
    r"|[;|&](?=\s)|(?<=\s)[;|&]"  # parts of a line, as people write them
    r"|\\?[\"'](?=[;|&)])|[;|&](?=\\?[\"']\S)"  # the same right behind a quote that ends, or before one
    r"|&(?=[./~$]|[a-z]{3})"
    rf"|(?<!\\)\n(?![ \t]*(?:[A-Za-z-]{{4,12}}: \S{{1,40}}|{_DATA})[ \t\r]*(?:\n|$))",
)
_ENDS = {"$(": ")", "<(": ")", ">(": ")", "`": "`"}
_SPACE = " \t\r\n"
_FRAMED = re.compile(
    r"(?:(?:\\[nrt]|[\s\"'`+,|>;\\-])*"  # what parts its lines, in a file and in source
    r"(?:(?:Proc-Type|DEK-Info|Version|Comment|Hash|Subject|x-[a-z]+): ?"
    r"(?:[\w.,: @<>()-]|\"[\w@. -]*\"){1,100}(?=\\[nr]|[\r\n])"
    r"|[A-Za-z0-9+/=]{20,}(?![^\s\"'`\\,<…-])))+"
    r"(?:(?:\\[nrt]|[\s\"'`+,|>\\-])*[A-Za-z0-9+/=]{1,20}(?=(?:\\[nrt]|[\s\"'`+,|>\\-])*(?:---|$|…)))?"
)


def kept_readable(text: str, span: Span) -> Iterator[Span]:
    """``span`` without the commands in it; a secret that has none is left whole."""
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
    """Of what stands behind the first frame of a private key, as much as can be one."""
    found = _FRAMED.match(text, *span)
    if found:
        yield found.span()
