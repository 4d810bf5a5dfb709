"""A transcript for people: Markdown in which nothing an agent said can pose as the page itself."""

import html
import json
import re
import unicodedata
from collections.abc import Callable
from typing import Any
from urllib.parse import unquote

from django.conf import settings

from approvals.presentation.render import one_line, visible
from sessions_app.models import AgentSession, Event
from sessions_app.transcript.render import attached_names

K = Event.Kind
LONGEST_TITLE = 200

Said = dict[str, Any]


def heading(session: AgentSession) -> str:
    """The transcript's first lines."""
    title = _plain(one_line(session.title, LONGEST_TITLE))
    return f"# {title}\n\nSession {session.pk} · {session.status} · {_code(session.working_directory)}\n"


def as_markdown(event: Event) -> str:
    """One event as a paragraph of its own; empty for what tells a reader nothing (``system`` and ``raw``)."""
    writer = WRITERS.get(event.kind)
    return f"\n{writer(json.loads(event.payload))}\n" if writer else ""


def _prompt(said: Said) -> str:
    files = "".join(f"\n\nAttached: {_code(name)}" for name in attached_names(said))
    return f"## Turn {said.get('turn', '')}\n\n{_quoted(_text(said.get('text')))}{files}"


def _tool_use(said: Said) -> str:
    return f"**Wants to use {_code(_text(said.get('name')))}**\n\n{_fenced(_pretty(said.get('input')), 'json')}"


def _tool_result(said: Said) -> str:
    label = "Failed" if said.get("is_error") else "Result"
    content = said.get("content")
    return f"**{label}**\n\n{_fenced(content if isinstance(content, str) else _pretty(content))}"


def _status(said: Said) -> str:
    return "_" + _plain(" · ".join(one_line(_text(value), 500) for value in said.values() if value)) + "_"


def _labelled(label: str) -> Callable[[Said], str]:
    return lambda said: f"**{label}**\n\n{_fenced(_pretty(said), 'json')}"


WRITERS: dict[str, Callable[[Said], str]] = {
    K.PROMPT: _prompt,
    K.TEXT: lambda said: f"**Agent**\n\n{_quoted(_text(said.get('text')))}",
    K.TOOL_USE: _tool_use,
    K.TOOL_RESULT: _tool_result,
    K.STATUS: _status,
    K.APPROVAL: _labelled("Approval"),
    K.API_RETRY: _labelled("The service did not answer; tried again"),
    K.RESULT: _labelled("Result of the turn"),
}


def _text(value: object) -> str:
    return value if isinstance(value, str) else "" if value is None else _pretty(value)


def _pretty(value: object) -> str:
    return json.dumps(value, ensure_ascii=False, indent=2)


def _plain(text: str) -> str:
    """Text whose every Markdown sign is only itself."""
    return re.sub(r"([\\`*_{}\[\]<>()#+\-.!|~&])", r"\\\1", text)


def _quoted(text: str) -> str:
    """What somebody said, as a quotation: it may use Markdown, but cannot leave the quotation.

    A row that spells the console's own host, in whichever notation, becomes code: an agent's link to another port of
    that host would take the person's session along.
    """
    fence = _fence(text, least=1)
    rows = visible(text).replace("<", "&lt;").split("\n")
    return "\n".join(f"> {fence} {row} {fence}" if _names_the_console(row) else f"> {row}" for row in rows)


def _names_the_console(row: str) -> bool:
    orchestra = settings.ORCHESTRA
    plain = unicodedata.normalize("NFKC", unquote(html.unescape(row))).replace("\\", "").lower()
    return any(host and host in plain for host in (orchestra.console_host, orchestra.front_host))


def _code(text: str) -> str:
    fence = _fence(text, least=1)
    return f"{fence} {one_line(text, 1000)} {fence}"


def _fenced(text: str, language: str = "") -> str:
    fence = _fence(text, least=3)
    return f"{fence}{language}\n{visible(text)}\n{fence}"


def _fence(text: str, *, least: int) -> str:
    """Longer than any run of backticks in ``text``, which therefore cannot end it."""
    return "`" * max(least, 1 + max((len(run) for run in re.findall("`+", text)), default=0))
