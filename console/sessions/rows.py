"""A transcript as rows of a page: texts, and each tool call together with its request and its
result.
"""

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime
from functools import reduce
from operator import or_
from typing import Any

from django.db.models import Q

from approvals.models import Approval, DecisionSource
from approvals.policy.tool_call import parsed_arguments, telling_argument
from approvals.presentation.render import Block, diff_block, one_line, pretty, title_for, visible
from approvals.reopening import newest_of
from console.approvals.cards import Card, Outcome, card_for, outcome_of
from sessions_app.models import AgentSession, Event, PermissionRequest
from sessions_app.supervisor.permissions import KINDS
from sessions_app.transcript import ansi
from sessions_app.transcript.render import attachment_labels, describe_event

SUB_AGENT = "Sub-agent"
LAUNCHED = "Async agent launched"  # CLI 2.1.330: the rest is for the model; texts of the sub-agent are rows
OPEN_BOXES = 3
TAIL_LINES = 40  # of an output; the rest is loaded on request
LONGEST_LINE = 2_000  # characters of one line of an output
LONGEST_TEXT = 20_000
LOOK_BACK = 5_000  # events that are searched for the call of a late result
PLAIN = frozenset({"Read", "Glob", "Grep", "LS", "WebSearch", "ToolSearch", "TodoWrite", "ListAgents", "BashOutput"})
ICONS = {
    "Bash": "terminal", "BashOutput": "terminal", "Write": "file-edit", "Edit": "file-edit", "MultiEdit": "file-edit",
    "NotebookEdit": "file-edit", "Read": "eye", "Glob": "search", "Grep": "search", "LS": "folder", "Task": "branch",
    "Agent": "branch", "WebSearch": "search", "ExitPlanMode": "plan", "AskUserQuestion": "question",
}  # fmt: skip
# Other rows, or the page, show this: the CLI's messages about its start and its sub-agents.
SILENT_SYSTEM = frozenset(
    {"init", "note_to_model", "thinking_tokens", "background_tasks_changed"}
    | {"task_started", "task_progress", "task_updated", "task_notification"}
)
SILENT_STATUS = frozenset({"queued", "running", "waiting"})


@dataclass(frozen=True, slots=True)
class Output:
    """The last lines of a call's output; ``hidden`` is the number of lines before them."""

    pieces: list[ansi.Piece]
    hidden: int = 0
    lines: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """A row. ``kind`` selects its markup; ``key`` stays the same when the row is drawn again."""

    kind: str
    seq: int
    at: datetime
    text: str = ""
    heading: str = ""
    tone: str = ""
    icon: str = ""
    sub: str = ""
    """The id of the call that started the sub-agent, for a row of a sub-agent."""
    update: bool = False
    """The row only replaces a row that the page already has."""
    name: str = ""
    argument: str = ""
    tool: str = ""
    blocks: list[Block] = field(default_factory=list)
    output: Output | None = None
    failed: bool = False
    done: bool = False
    outcome: Outcome | None = None
    approval: Approval | None = None
    card: Card | None = None
    rule: str = ""
    facts: Mapping[str, Any] = field(default_factory=dict)
    is_open: bool = False

    @property
    def key(self) -> str:
        """The row's id in the page."""
        return f"e{self.seq}"


Payload = dict[str, Any]


@dataclass(slots=True)
class _CallFacts:
    """Calls, results, requests and rules' decisions of a page, each by tool-use id."""

    uses: dict[str, tuple[Event, Payload]] = field(default_factory=dict)
    results: dict[str, tuple[Event, Payload]] = field(default_factory=dict)
    approvals: dict[str, Approval] = field(default_factory=dict)
    rules: dict[str, Payload] = field(default_factory=dict)


def rows_of(session: AgentSession, events: list[Event], user: Any, *, live: bool = False) -> list[Row]:
    """The rows of ``events``, in order.

    ``live``: the events are the newest, and results and decisions of earlier calls come as updates
    of the rows of these calls. This takes at most four queries, for any number of events.
    """
    read = [(event, payload_of(event)) for event in events]
    known = _gather(session, read, live=live)
    here = {event.seq for event in events}
    rows: list[Row] = []
    drawn: set[str] = set()
    for event, payload in read:
        if event.kind == Event.Kind.TOOL_USE:
            drawn.add(_id(payload, "id"))
            rows.append(_call(event, payload, known, user, live=live))
        elif event.kind in (Event.Kind.TOOL_RESULT, Event.Kind.APPROVAL):
            use = known.uses.get(_id(payload, "tool_use_id"))
            if live and use and use[0].seq not in here and _id(use[1], "id") not in drawn:
                drawn.add(_id(use[1], "id"))
                rows.append(_call(*use, known, user, live=True, update=True))
        elif (row := _plain_row(event, payload)) is not None:
            rows.append(row)
    return rows


def with_open_end(rows: list[Row]) -> list[Row]:
    """The same rows, of which the last OPEN_BOXES tool calls are unfolded."""
    boxes = [row.key for row in rows if row.kind == "tool" and row.name != SUB_AGENT][-OPEN_BOXES:]
    return [replace(row, is_open=True) if row.key in boxes else row for row in rows]


def _gather(session: AgentSession, read: list[tuple[Event, Payload]], *, live: bool) -> _CallFacts:
    known = _CallFacts()
    wanted: set[str] = set()
    for event, payload in read:
        if event.kind == Event.Kind.TOOL_USE:
            known.uses[_id(payload, "id")] = (event, payload)
        elif event.kind == Event.Kind.TOOL_RESULT:
            known.results[_id(payload, "tool_use_id")] = (event, payload)
        elif event.kind == Event.Kind.APPROVAL and payload.get("by") == "policy":
            known.rules[_id(payload, "tool_use_id")] = payload
        if live and event.kind in (Event.Kind.TOOL_RESULT, Event.Kind.APPROVAL):
            wanted.add(_id(payload, "tool_use_id"))
    first, last = (read[0][0].seq, read[-1][0].seq) if read else (0, 0)
    earlier = wanted - set(known.uses) - {""}
    for event, payload in _about(session, Event.Kind.TOOL_USE, earlier, seq__lt=first, seq__gt=first - LOOK_BACK):
        known.uses[_id(payload, "id")] = (event, payload)
    open_calls = set(known.uses) - set(known.results) - {""}
    for event, payload in _about(session, Event.Kind.TOOL_RESULT, open_calls, seq__gt=first, seq__lt=last + LOOK_BACK):
        known.results.setdefault(_id(payload, "tool_use_id"), (event, payload))
    links = PermissionRequest.objects.filter(session=session, tool_use_id__in=set(known.uses) - {""})
    for link in links.select_related("approval").order_by("created_at"):
        known.approvals[link.tool_use_id] = newest_of(link.approval) if link.approval.reopened_as else link.approval
    return known


def _about(session: AgentSession, kind: str, ids: Iterable[str], **where: int) -> list[tuple[Event, Payload]]:
    """Events of ``kind`` that name one of these tool uses."""
    naming = [Q(payload__contains=json.dumps(tool_use_id)) for tool_use_id in ids]
    if not naming:
        return []
    found = Event.objects.filter(session=session, kind=kind, **where).filter(reduce(or_, naming))
    return [(event, payload_of(event)) for event in found.order_by("seq")]


def _call(event: Event, payload: Payload, known: _CallFacts, user: Any, *, live: bool, update: bool = False) -> Row:
    """The row of a tool call: its arguments, its request or the rule that allowed it, and its
    result.
    """
    tool = _id(payload, "id")
    name = str(payload.get("name") or "tool")
    approval = known.approvals.get(tool)
    ran = _edited_input(approval) or payload.get("input")
    result = known.results.get(tool)
    rule = known.rules.get(tool)
    failed = bool(result and result[1].get("is_error"))
    waiting = approval is not None and approval.is_open
    by_policy = approval is not None and approval.decided_via == DecisionSource.POLICY
    return Row(
        kind="ask" if waiting else "plain" if name in PLAIN and not failed else "tool",
        seq=event.seq, at=event.at, sub=_id(payload, "parent_tool_use_id"), update=update,
        name=_name(name), icon=ICONS.get(name, "out" if name.startswith(("Web", "mcp__")) else "dots"), tool=tool,
        argument=_argument(name, ran),
        blocks=_blocks(name, ran),
        output=_output(name, result[1]) if result else None,
        failed=failed, done=result is not None, approval=approval,
        outcome=outcome_of(approval) if approval and not by_policy else None,
        card=card_for(approval, user) if approval and waiting else None,
        rule=_rule_reason(rule, approval if by_policy else None),
        is_open=failed or (live and not update) or waiting,
    )  # fmt: skip


def _edited_input(approval: Approval | None) -> Payload:
    """The edited input with which a person approved the call; empty if it was not edited."""
    return parsed_arguments(approval.updated_input) if approval and approval.updated_input else {}


def _argument(name: str, given: Any) -> str:
    """The text beside the tool's name: its main argument, or the short description of a sub-agent's
    task.
    """
    if not given:
        return ""
    tool_input = json.dumps(given)
    if _name(name) == SUB_AGENT and isinstance(given, dict) and isinstance(given.get("description"), str):
        return one_line(given["description"], 200)
    if name in KINDS:  # their titles begin with the name that the row already shows
        return title_for(name, tool_input).split(": ", 1)[-1]
    return one_line(telling_argument(name, tool_input), 200)


def _rule_reason(rule: Payload | None, approval: Approval | None) -> str:
    """The reason of the rule that decided the call; empty if a person decides it."""
    if rule is not None:
        return visible(str(rule.get("reason") or "a rule"))
    return visible(approval.reason or "a rule") if approval else ""


def _blocks(name: str, given: Any) -> list[Block]:
    """The arguments of a call, from the call alone: files on disk may have changed since."""
    arguments = given if isinstance(given, dict) else {}
    path = visible(str(arguments.get("file_path") or ""))
    if name == "Bash":
        command = str(arguments.get("command") or "")
        return (
            [Block(kind="command", label="Command", text=visible(command[:LONGEST_TEXT]), cut=_cut(command))]
            if "\n" in command or len(command) > 120
            else []
        )
    if name == "Edit" and isinstance(arguments.get("old_string"), str) and isinstance(arguments.get("new_string"), str):
        return [diff_block(path, arguments["old_string"][:LONGEST_TEXT], arguments["new_string"][:LONGEST_TEXT])]
    if name == "MultiEdit" and isinstance(arguments.get("edits"), list):
        edits = [one for one in arguments["edits"] if isinstance(one, dict)][:20]
        return [
            diff_block(
                path, str(one.get("old_string", ""))[:LONGEST_TEXT], str(one.get("new_string", ""))[:LONGEST_TEXT]
            )
            for one in edits
        ]
    if name == "Write" and isinstance(arguments.get("content"), str):
        return [diff_block(path, "", arguments["content"][:LONGEST_TEXT])]
    if name in ("Task", "Agent"):
        return [Block(kind="plan", label="Task", text=str(arguments.get("prompt") or "")[:LONGEST_TEXT])]
    if name == "ExitPlanMode":
        return [Block(kind="plan", label="Plan", text=str(arguments.get("plan") or "")[:LONGEST_TEXT])]
    if not arguments or name in PLAIN:
        return []
    if name == "AskUserQuestion":
        return []
    text = pretty(json.dumps(arguments))
    return [Block(kind="json", label="Arguments", text=visible(text[:LONGEST_TEXT]), cut=_cut(text))]


def _cut(text: str) -> str:
    return f"{len(text) - LONGEST_TEXT:,} more characters" if len(text) > LONGEST_TEXT else ""


def content_of(result: Payload) -> str:
    """The result of a call as text."""
    content = result.get("content")
    if isinstance(content, str):
        return content
    parts = [part for part in content if isinstance(part, dict)] if isinstance(content, list) else []
    return "\n".join(
        str(part.get("text") or "") if part.get("type") == "text" else f"⟨{part.get('type')}⟩" for part in parts
    )


def _output(name: str, result: Payload) -> Output:
    text = content_of(result)
    return tail_of("" if _name(name) == SUB_AGENT and text.startswith(LAUNCHED) else text, TAIL_LINES)


def tail_of(text: str, most: int) -> Output:
    """The last ``most`` lines of an output; long lines are cut."""
    lines = text.strip("\n").split("\n") if text.strip("\n") else []
    kept = [_short(line) for line in lines[-most:]]
    return Output(ansi.pieces("\n".join(kept)), hidden=max(0, len(lines) - most), lines=len(lines))


def _short(line: str) -> str:
    return (
        line if len(line) <= LONGEST_LINE else f"{line[:LONGEST_LINE]} ⟨{len(line) - LONGEST_LINE:,} more characters⟩"
    )


def _name(name: str) -> str:
    if name.startswith("mcp__") and name.count("__") >= 2:
        _, server, tool = name.split("__", 2)
        return one_line(f"{server}: {tool}", 80)
    return {"Task": SUB_AGENT, "Agent": SUB_AGENT, "ExitPlanMode": "Plan", "AskUserQuestion": "Question"}.get(
        name, one_line(name, 80)
    )


# --- rows of a single event


def _plain_row(event: Event, payload: Payload) -> Row | None:
    make_row = PLAIN_ROWS.get(Event.Kind(event.kind))
    return make_row(event, payload) if make_row else _note(event, payload)


def _prompt(event: Event, payload: Payload) -> Row:
    return Row(
        kind="person",
        seq=event.seq,
        at=event.at,
        text=str(payload.get("text") or ""),
        facts={
            "turn": payload.get("turn"),
            "attachments": attachment_labels(payload),
            "by": visible(_id(payload, "by")),
        },
    )


def _agent_text(event: Event, payload: Payload) -> Row | None:
    text = str(payload.get("text") or "")
    return (
        Row(kind="agent", seq=event.seq, at=event.at, text=text, sub=_id(payload, "parent_tool_use_id"))
        if text.strip()
        else None
    )


def _thinking(event: Event, payload: Payload) -> Row | None:
    text = str(payload.get("text") or "")
    if not text.strip():
        return None
    return Row(
        kind="thinking", seq=event.seq, at=event.at, text=text[:LONGEST_TEXT], sub=_id(payload, "parent_tool_use_id")
    )


def _status(event: Event, payload: Payload) -> Row | None:
    """A row for a status that no other row shows; a completed turn already ends with its result."""
    status, turn = payload.get("status"), payload.get("turn")
    silent = status in SILENT_STATUS or (status == "completed" and turn == "completed")
    return None if silent else _note(event, payload)


def _system(event: Event, payload: Payload) -> Row | None:
    return None if payload.get("subtype") in SILENT_SYSTEM else _note(event, payload)


def _raw(event: Event, payload: Payload) -> Row:
    """A folded row for a message of the CLI that Orchestra does not know."""
    text = describe_event(event)
    return Row(kind="raw", seq=event.seq, at=event.at, argument=text.heading or _kind(payload), text=text.body)


def _kind(payload: Payload) -> str:
    inner = payload.get("attachment")
    names = (payload.get("type"), inner.get("type") if isinstance(inner, dict) else "")
    return one_line(", ".join(name for name in names if isinstance(name, str) and name), 80)


def _result(event: Event, payload: Payload) -> Row:
    text = describe_event(event)
    facts = {"cost": payload.get("total_cost_usd"), "seconds": _seconds(payload.get("duration_ms"))}
    return Row(
        kind="end", seq=event.seq, at=event.at, name=ENDS.get(text.speaker, "Turn ended"), heading=text.heading,
        text=text.body, failed=text.tone == "bad", facts=facts,
    )  # fmt: skip


ENDS = {"parked": "Parked, no process waits", "interrupted": "Turn interrupted"}


def _note(event: Event, payload: Payload) -> Row:
    text = describe_event(event)
    return Row(
        kind="note", seq=event.seq, at=event.at, name=text.speaker, heading=text.heading, text=text.body, tone=text.tone
    )


PLAIN_ROWS = {
    Event.Kind.PROMPT: _prompt,
    Event.Kind.TEXT: _agent_text,
    Event.Kind.THINKING: _thinking,
    Event.Kind.STATUS: _status,
    Event.Kind.SYSTEM: _system,
    Event.Kind.RESULT: _result,
    Event.Kind.RAW: _raw,
}


def _seconds(milliseconds: object) -> float | None:
    return milliseconds / 1000 if isinstance(milliseconds, int | float) else None


def payload_of(event: Event) -> Payload:
    """The payload of an event; empty if it is no JSON object."""
    try:
        value = json.loads(event.payload)
    except (ValueError, RecursionError):
        return {}
    return value if isinstance(value, dict) else {}


def _id(payload: Payload, name: str) -> str:
    value = payload.get(name)
    return value if isinstance(value, str) else ""
