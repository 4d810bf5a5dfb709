"""Transcript events as short texts for people, shared by the terminal and the web pages, and safe
to print.
"""

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from approvals.presentation.render import one_line, summary_for, title_for, visible
from sessions_app.models import AgentSession, Event, Turn

LONGEST_BODY = 4_000  # characters of one event; of the rest only the number is shown
SYSTEM_TEXTS = ("content", "message", "description", "summary")


@dataclass(frozen=True, slots=True)
class EventText:
    """The description of one event: the speaker in a word or two, a heading on the same line, and a
    body below.

    ``tone`` is person, agent, tool, good, bad, wait or quiet.
    """

    speaker: str
    heading: str = ""
    body: str = ""
    tone: str = "quiet"


def describe_event(event: Event, *, longest: int = LONGEST_BODY) -> EventText:
    """Describe ``event``; an unknown kind or payload is shown as it is stored."""
    try:
        payload = json.loads(event.payload)
    except (ValueError, RecursionError):
        payload = None
    describe = DESCRIBERS.get(event.kind)
    if not isinstance(payload, dict) or describe is None:
        return EventText(event.kind, body=bounded(event.payload, longest))
    return describe(payload, longest)


def bounded(text: str, longest: int) -> str:
    """The first ``longest`` characters of ``text`` with invisible characters made visible, and the
    number of the rest.
    """
    if len(text) <= longest:
        return visible(text)
    return f"{visible(text[:longest])}\n⟨{len(text) - longest:,} more characters⟩"


def _prompt(payload: dict[str, Any], longest: int) -> EventText:
    files = attachment_labels(payload)
    more = f"\n⟨attached: {', '.join(files)}⟩" if files else ""
    by = f" by {one_line(_text(payload, 'by'), 60)}" if _text(payload, "by") else ""
    who = f"prompt {payload.get('turn', '')}".strip() + by
    return EventText(who, body=bounded(_text(payload, "text"), longest) + more, tone="person")


def attachment_labels(payload: Mapping[str, Any]) -> list[str]:
    """A label for each file attached to a prompt: its path, and its size if known."""
    given = payload.get("attachments")
    files = [one for one in given if isinstance(one, dict)] if isinstance(given, list) else []
    return [one_line(_text(one, "path"), 200) + _size(one.get("bytes")) for one in files]


def _size(size: object) -> str:
    return f" ({size:,} bytes)" if isinstance(size, int) else ""


def _agent_text(payload: dict[str, Any], longest: int) -> EventText:
    return EventText(_speaker(payload), body=bounded(_text(payload, "text"), longest), tone="agent")


def _thinking(payload: dict[str, Any], longest: int) -> EventText:
    return EventText(f"{_speaker(payload)} thinks", body=bounded(_text(payload, "text"), longest))


def _tool_use(payload: dict[str, Any], longest: int) -> EventText:
    name, arguments = str(payload.get("name") or "tool"), json.dumps(payload.get("input"))
    who = "tool" if _speaker(payload) == "agent" else "sub-agent's tool"
    return EventText(who, title_for(name, arguments), summary_for(name, arguments), "tool")


def _tool_result(payload: dict[str, Any], longest: int) -> EventText:
    failed = bool(payload.get("is_error"))
    body = bounded(_content(payload.get("content")).strip("\n"), longest)
    return EventText("failed" if failed else "result", body=body or "(nothing)", tone="bad" if failed else "quiet")


def _approval(payload: dict[str, Any], longest: int) -> EventText:
    status = _text(payload, "status") or "asked"
    who = _text(payload, "by") or _text(payload, "decided_by")
    heading = " ".join(part for part in (status, f"by {who}" if who else "", _text(payload, "title")) if part)
    tones = {"approved": "good", "rejected": "bad", "expired": "bad", "pending": "wait", "asked": "wait"}
    tone = tones.get(status, "quiet")
    if status == "note_delivered":
        return EventText("request", "The agent has the note")
    if note := _text(payload, "note"):
        return EventText("request", one_line(f"{heading}, with a note", 300), bounded(note, longest), tone)
    return EventText("request", one_line(heading, 300), bounded(_text(payload, "reason"), longest), tone)


def _background(payload: dict[str, Any], longest: int) -> EventText:
    listed = payload.get("tasks")
    tasks = [one_line(str(task), 200) for task in listed] if isinstance(listed, list) else []
    number = f"{len(tasks)} background task{'' if len(tasks) == 1 else 's'}"
    if payload.get("status") == "background_stopped":
        why = one_line(_text(payload, "detail"), 200)
        return EventText("background", f"Stopped {number}: {why}", bounded("\n".join(tasks), longest), "bad")
    minutes = payload.get("limit_seconds", 0) / 60
    heading = f"Waiting for {number}, up to {minutes:g} minutes"
    return EventText("background", heading, bounded("\n".join(tasks), longest), "wait")


def _ran_unapproved(payload: dict[str, Any], longest: int) -> EventText:
    heading = f"{_text(payload, 'tool')} ran without approval: {_text(payload, 'reason')}. The agent was stopped."
    return EventText("alarm", one_line(heading, 300), bounded(_text(payload, "input"), longest), "bad")


def _dialog_command(payload: dict[str, Any], longest: int) -> EventText:
    """``/clear`` and ``/model``, which Orchestra carries out itself."""
    what = {"cleared": "Cleared", "model": "Model chosen"}.get(_text(payload, "status"), "")
    by = _text(payload, "by")
    heading = f"{what}{f' by {by}' if by else ''}: {_text(payload, 'detail')}"
    return EventText("conversation", one_line(heading, 300))


def _held(payload: dict[str, Any], longest: int) -> EventText:
    heading = f"{_text(payload, 'tool')} waits: all agents are stopped. It goes on when the stop is lifted."
    return EventText("stopped", one_line(heading, 300), tone="wait")


STATUS_TEXTS: dict[str, Callable[[dict[str, Any], int], EventText]] = {
    "background": _background, "background_stopped": _background, "ran_unapproved": _ran_unapproved,
    "cleared": _dialog_command, "model": _dialog_command,
    "held": _held,
}  # fmt: skip


def _status(payload: dict[str, Any], longest: int) -> EventText:
    status, turn = _text(payload, "status"), payload.get("turn")
    if status in STATUS_TEXTS:
        return STATUS_TEXTS[status](payload, longest)
    by, detail = _text(payload, "by"), _text(payload, "failure_detail") or _text(payload, "detail")
    ended = f", turn {turn}" if isinstance(turn, str) and turn != status else ""
    tone = {"completed": "good", "failed": "bad", "lost": "bad", "waiting": "wait"}.get(status, "quiet")
    return EventText(
        "session", one_line(f"{status}{ended}{f' by {by}' if by else ''}", 300), bounded(detail, longest), tone
    )


def _api_retry(payload: dict[str, Any], longest: int) -> EventText:
    of = f" of {payload['max_retries']}" if payload.get("max_retries") else ""
    status, attempt = payload.get("error_status"), f"attempt {payload.get('attempt', '?')}{of}"
    what = f"answered {status}" if status else f"did not answer ({payload.get('error') or 'no reason given'})"
    delay = payload.get("retry_delay_ms")
    wait = f", the next try in {delay / 1000:.0f} s" if isinstance(delay, int | float) and delay >= 1000 else ""
    return EventText("retry", one_line(f"The model's API {what}; {attempt}{wait}", 300), tone="bad")


def _system(payload: dict[str, Any], longest: int) -> EventText:
    if payload.get("subtype") == "init":
        which = f"model {payload.get('model')}, version {payload.get('claude_code_version')}"
        return EventText("agent starts", one_line(which, 300))
    detail = next((text for name in SYSTEM_TEXTS if (text := _text(payload, name))), "")
    return EventText("system", one_line(" ".join((str(payload.get("subtype") or ""), detail)).strip(), 300))


def _raw(payload: dict[str, Any], longest: int) -> EventText:
    note, text = _text(payload, "note"), _text(payload, "text")
    return EventText("unknown", one_line(note, 300), bounded(text or json.dumps(payload), longest))


def _result(payload: dict[str, Any], longest: int) -> EventText:
    if "tool_deferred" in (payload.get("terminal_reason"), payload.get("stop_reason")):
        return EventText("parked", "No process waits any more; the answer starts one again.")
    if _text(payload, "terminal_reason").startswith("aborted"):
        return EventText("interrupted")
    failed = bool(payload.get("is_error"))
    errors = payload.get("errors")
    detail = _text(payload, "result") if failed else ""
    detail = detail or ("\n".join(str(error) for error in errors) if failed and isinstance(errors, list) else "")
    why = one_line(_text(payload, "terminal_reason") or _text(payload, "subtype"), 100)
    return EventText("turn ends", why, bounded(detail, longest), "bad" if failed else "quiet")


DESCRIBERS: dict[str, Callable[[dict[str, Any], int], EventText]] = {
    Event.Kind.PROMPT: _prompt,
    Event.Kind.TEXT: _agent_text,
    Event.Kind.THINKING: _thinking,
    Event.Kind.TOOL_USE: _tool_use,
    Event.Kind.TOOL_RESULT: _tool_result,
    Event.Kind.APPROVAL: _approval,
    Event.Kind.STATUS: _status,
    Event.Kind.API_RETRY: _api_retry,
    Event.Kind.SYSTEM: _system,
    Event.Kind.RAW: _raw,
    Event.Kind.RESULT: _result,
}


def _speaker(payload: dict[str, Any]) -> str:
    return "sub-agent" if payload.get("parent_tool_use_id") else "agent"


def _text(payload: dict[str, Any], name: str) -> str:
    value = payload.get(name)
    return value if isinstance(value, str) else ""


def _content(content: object) -> str:
    """A tool result's content as text; of blocks without text only the type is named."""
    if isinstance(content, str):
        return content
    if not isinstance(content, list):
        return "" if content is None else json.dumps(content)
    parts = [block for block in content if isinstance(block, dict)]
    return "\n".join(_text(part, "text") if part.get("type") == "text" else f"⟨{part.get('type')}⟩" for part in parts)


def spending_text(row: AgentSession | Turn) -> str:
    """Cost and tokens in one phrase; sums below 10 cents keep four decimals."""
    money = f"${row.cost_usd:.2f}" if row.cost_usd >= 0.1 or not row.cost_usd else f"${row.cost_usd:.4f}"
    return f"{money}, {row.input_tokens:,} tokens in, {row.output_tokens:,} out"
