"""Lines of the transcript: from the CLI's messages, and about its tool calls. Pure."""

from typing import Any

from sessions_app.models import Event
from sessions_app.supervisor.cli.api_failures import shown_time
from sessions_app.supervisor.cli.protocol import OutputMessage, ToolRequest
from sessions_app.supervisor.permission_outcome import PermissionOutcome
from sessions_app.supervisor.reconciliation import RAN_UNAPPROVED, Violation
from sessions_app.transcript.writer import Line, line, payload_text

K = Event.Kind

# Bookkeeping of the CLI that is of no use to a reader.
SILENT_SYSTEM = frozenset({"status", "session_state_changed", "hook_started", "hook_response", "ui_invalidate"})
SILENT_TYPES = frozenset({"tool_progress", "command_lifecycle", "keep_alive"})
INIT_FIELDS = ("model", "cwd", "permissionMode", "claude_code_version", "tools", "mcp_servers", "apiKeySource")


def transcript_lines(message: OutputMessage) -> list[Line]:
    """Return the events of one message; several blocks become several events, in order."""
    if message.type == "assistant":
        return _assistant(message.body)
    if message.type == "user":
        return _user(message.body)
    if message.type == "system":
        return _system(message)
    if message.type == "rate_limit_event":
        return _rate_limit(message.body)
    if message.type in SILENT_TYPES:
        return []
    return [(K.RAW, payload_text(message.body))]


def resets_at(message: OutputMessage) -> float | None:
    """Return when the account may go on, in seconds since the epoch, if the message says that it
    may not now.
    """
    info = _limit(message.body) if message.type == "rate_limit_event" else {}
    moment = info.get("resetsAt")
    return moment if info.get("status") == "rejected" and shown_time(moment) else None


def request_line(request: ToolRequest, outcome: PermissionOutcome) -> Line:
    """An approval was requested for this call."""
    return line(
        K.APPROVAL, approval=str(outcome.approval_id), status=outcome.status,
        tool=request.tool_name, tool_use_id=request.tool_use_id,
    )  # fmt: skip


def policy_line(request: ToolRequest, outcome: PermissionOutcome) -> Line:
    """The policy decided this call."""
    return line(
        K.APPROVAL, approval=None, status=outcome.status, tool=request.tool_name,
        tool_use_id=request.tool_use_id, by="policy", reason=outcome.by,
    )  # fmt: skip


def decision_line(request: ToolRequest, outcome: PermissionOutcome) -> Line:
    """The approval request of this call was decided or closed."""
    note = {"note": outcome.note} if outcome.note else {}
    return line(
        K.APPROVAL, approval=str(outcome.approval_id), status=outcome.status, tool=request.tool_name,
        tool_use_id=request.tool_use_id, by=outcome.by, message=outcome.message, **note,
    )  # fmt: skip


def held_line(request: ToolRequest) -> Line:
    """This call waits until the stop of all agents is lifted."""
    return line(K.STATUS, status="held", tool=request.tool_name, tool_use_id=request.tool_use_id)


def violation_line(violation: Violation) -> Line:
    """A tool ran without a decision."""
    return line(
        K.STATUS, status=RAN_UNAPPROVED, tool=violation.tool_name, tool_use_id=violation.tool_use_id,
        input=violation.tool_input, reason=violation.reason,
    )  # fmt: skip


def _rate_limit(body: dict[str, Any]) -> list[Line]:
    """Return a line about a limit of the account that was reached or is near."""
    info = _limit(body)
    status, moment = info.get("status"), shown_time(info.get("resetsAt"))
    if status not in ("rejected", "allowed_warning"):
        return []
    which = str(info.get("rateLimitType") or "").replace("_", " ")
    state = "is used up" if status == "rejected" else "is nearly used up"
    until = f"; it begins anew at {moment}" if moment else ""
    words = f"The account's limit{f' ({which})' if which else ''} {state}{until}."
    return [(K.SYSTEM, payload_text({"subtype": "rate_limit", "message": words, "rate_limit_info": info}))]


def _limit(body: dict[str, Any]) -> dict[str, Any]:
    info = body.get("rate_limit_info")
    return info if isinstance(info, dict) else {}


def _assistant(body: dict[str, Any]) -> list[Line]:
    common = {
        k: body[k] for k in ("parent_tool_use_id", "agent_id", "subagent_type", "aborted", "error") if body.get(k)
    }
    lines: list[Line] = []
    for block in _blocks(body):
        kind = block.get("type")
        if kind == "text":
            lines.append((K.TEXT, payload_text({"text": block.get("text", ""), **common})))
        elif kind == "thinking":
            lines.append((K.THINKING, payload_text({"text": block.get("thinking", ""), **common})))
        elif kind == "tool_use":
            call = {"id": block.get("id"), "name": block.get("name"), "input": block.get("input")}
            lines.append((K.TOOL_USE, payload_text({**call, **common})))
        else:
            lines.append((K.RAW, payload_text({"role": "assistant", "block": block, **common})))
    return lines


def _user(body: dict[str, Any]) -> list[Line]:
    if body.get("isReplay"):
        return []
    parent = body.get("parent_tool_use_id")
    common = {"parent_tool_use_id": parent} if parent else {}
    meta = [entry for entry in _list(body.get("tool_result_meta")) if isinstance(entry, dict)]
    lines: list[Line] = []
    for block in _blocks(body):
        if block.get("type") == "tool_result":
            tool_use_id = block.get("tool_use_id")
            result = {
                "tool_use_id": tool_use_id,
                "content": block.get("content"),
                "is_error": bool(block.get("is_error")),
                "decision": next((m.get("permission_decision") for m in meta if m.get("id") == tool_use_id), None),
            }
            lines.append((K.TOOL_RESULT, payload_text({**result, **common})))
        else:
            lines.append((K.SYSTEM, payload_text({"subtype": "note_to_model", "block": block, **common})))
    return lines


def _system(message: OutputMessage) -> list[Line]:
    if message.subtype in SILENT_SYSTEM:
        return []
    if message.subtype == "init":
        short = {name: message.body.get(name) for name in INIT_FIELDS}
        return [(K.SYSTEM, payload_text({"subtype": "init", **short}))]
    body = {k: v for k, v in message.body.items() if k not in ("type", "uuid", "session_id", "timestamp")}
    return [(K.SYSTEM, payload_text(body))]


def _blocks(body: dict[str, Any]) -> list[dict[str, Any]]:
    message = body.get("message")
    content = message.get("content") if isinstance(message, dict) else None
    if isinstance(content, str):
        return [{"type": "text", "text": content}]
    return [block for block in _list(content) if isinstance(block, dict)]


def _list(value: object) -> list[Any]:
    return value if isinstance(value, list) else []
