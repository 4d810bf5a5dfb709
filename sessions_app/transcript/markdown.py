"""A transcript as Markdown, in which text of an agent cannot imitate the structure of the document."""

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
from sessions_app.transcript.render import attachment_labels

LONGEST_TITLE = 200

Payload = dict[str, Any]


def heading(session: AgentSession) -> str:
    """The first lines of the document: title, session id, status and working directory."""
    title = _plain(one_line(session.title, LONGEST_TITLE))
    return f"# {title}\n\nSession {session.pk} · {session.status} · {_code(session.working_directory)}\n"


def as_markdown(event: Event) -> str:
    """One event as a paragraph; empty for ``system``, ``raw`` and ``thinking``."""
    writer = WRITERS.get(event.kind)
    return f"\n{writer(json.loads(event.payload))}\n" if writer else ""


def _prompt(payload: Payload) -> str:
    files = "".join(f"\n\nAttached: {_code(name)}" for name in attachment_labels(payload))
    return f"## Turn {payload.get('turn', '')}\n\n{_quoted(_text(payload.get('text')))}{files}"


def _tool_use(payload: Payload) -> str:
    return f"**Wants to use {_code(_text(payload.get('name')))}**\n\n{_fenced(_pretty(payload.get('input')), 'json')}"


def _tool_result(payload: Payload) -> str:
    label = "Failed" if payload.get("is_error") else "Result"
    content = payload.get("content")
    return f"**{label}**\n\n{_fenced(content if isinstance(content, str) else _pretty(content))}"


def _status(payload: Payload) -> str:
    return "_" + _plain(" · ".join(one_line(_text(value), 500) for value in payload.values() if value)) + "_"


def _labelled(label: str) -> Callable[[Payload], str]:
    return lambda payload: f"**{label}**\n\n{_fenced(_pretty(payload), 'json')}"


WRITERS: dict[str, Callable[[Payload], str]] = {
    Event.Kind.PROMPT: _prompt,
    Event.Kind.TEXT: lambda payload: f"**Agent**\n\n{_quoted(_text(payload.get('text')))}",
    Event.Kind.TOOL_USE: _tool_use,
    Event.Kind.TOOL_RESULT: _tool_result,
    Event.Kind.STATUS: _status,
    Event.Kind.APPROVAL: _labelled("Approval"),
    Event.Kind.API_RETRY: _labelled("The service did not answer; tried again"),
    Event.Kind.RESULT: _labelled("Result of the turn"),
}


def _text(value: object) -> str:
    return value if isinstance(value, str) else "" if value is None else _pretty(value)


def _pretty(value: object) -> str:
    return json.dumps(value, ensure_ascii=False, indent=2)


def _plain(text: str) -> str:
    """``text`` with every Markdown character escaped."""
    return re.sub(r"([\\`*_{}\[\]<>()#+\-.!|~&])", r"\\\1", text)


def _quoted(text: str) -> str:
    """``text`` as a block quotation, which may use Markdown but cannot end the quotation.

    A row that contains the console's host, in any notation, becomes code: browsers send the
    reader's session cookie also to another port of that host, so that an agent must not place a
    link to it.
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
    """A fence of backticks that is longer than any run of them in ``text``."""
    return "`" * max(least, 1 + max((len(run) for run in re.findall("`+", text)), default=0))
