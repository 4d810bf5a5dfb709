"""The CLI's stream-json protocol: bytes to lines to typed messages, and back. Pure.

Facts about the protocol were measured on CLI 2.1.330. What the CLI sends that is not known here
passes through as ``Spoken`` or ``Garbage``; new message types appear with every release.
"""

import json
import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from json.decoder import JSONDecoder
from typing import Any

import orjson

HOOK_TIMEOUT_S = 2_000_000  # the CLI's own limit on a held callback; its default would be 600
CALLBACK_ID = "orch_0"
ENDED_CALLBACK_ID = "orch_ended"
ENDED_EVENTS = ("PostToolUse", "PostToolUseFailure")
INITIALIZE_ID = "orch_init"
HEAD_BYTES = 4096
LONGEST_NAME = 200


@dataclass(frozen=True, slots=True)
class OversizedLine:
    """A line longer than the cap: its first bytes and its whole size."""

    head: bytes
    size: int


class LineFramer:
    """Cuts a stream into lines; a line over ``cap`` bytes is dropped up to its newline and
    reported.

    Memory is bounded by the cap and one chunk.
    """

    def __init__(self, cap: int) -> None:
        self._cap = cap
        self._line = bytearray()  # not a list of pieces: a child may write byte by byte
        self._size = 0
        self._head: bytes | None = None  # set while a too long line is being skipped

    def feed(self, chunk: bytes) -> Iterator[bytes | OversizedLine]:
        """Yield every line that ``chunk`` completes, without its newline; blank lines are left out."""
        first, *rest = chunk.split(b"\n")
        if not rest:
            self._keep(first)
            return
        yield from self._complete(first)
        for line in rest[:-1]:  # whole lines are the most frequent, and need no joining
            if len(line) > self._cap:
                yield OversizedLine(line[:HEAD_BYTES], len(line))
            elif line.strip():
                yield line
        self._keep(rest[-1])

    def rest(self) -> Iterator[bytes | OversizedLine]:
        """Yield what followed the last newline when the stream ended."""
        yield from self._complete(b"")

    def _keep(self, part: bytes) -> None:
        self._size += len(part)
        if self._head is None:
            self._line += part
            if self._size > self._cap:
                self._head = bytes(self._line[:HEAD_BYTES])
                self._line = bytearray()

    def _complete(self, part: bytes) -> Iterator[bytes | OversizedLine]:
        self._keep(part)
        line: bytes | OversizedLine = bytes(self._line) if self._head is None else OversizedLine(self._head, self._size)
        self._line = bytearray()
        self._size, self._head = 0, None
        if isinstance(line, OversizedLine) or line.strip():
            yield line


@dataclass(frozen=True, slots=True, kw_only=True)
class ToolRequest:
    """The CLI requests permission for a tool call. ``tool_input`` is the JSON text as it was sent,
    in ASCII.

    ``is_callback`` tells two kinds apart: a PreToolUse callback (which can also be deferred), or
    the permission prompt that stands behind it as a net. ``folder`` is where the call would run, a
    path as the CLI gives it; it is empty for the prompt, and then the session's folder counts.
    """

    request_id: str
    tool_use_id: str
    tool_name: str
    tool_input: str
    agent_id: str
    is_callback: bool
    folder: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class ToolEnded:
    """The CLI reports a tool that ran, with or without success; the model has not read its result
    yet. ``tool_input`` is JSON.
    """

    request_id: str
    tool_use_id: str
    tool_name: str
    tool_input: str
    event: str = "PostToolUse"


@dataclass(frozen=True, slots=True)
class OtherRequest:
    """A request that Orchestra does not serve, or could not read; it is answered with an error."""

    request_id: str
    subtype: str


@dataclass(frozen=True, slots=True)
class Withdrawn:
    """The CLI withdraws a request of its own."""

    request_id: str


@dataclass(frozen=True, slots=True)
class Reply:
    """The CLI's response to a request of Orchestra."""

    request_id: str
    error: str


@dataclass(frozen=True, slots=True)
class Delta:
    """A piece of text while the model writes it; the complete text follows as ``Spoken``."""

    text: str


@dataclass(frozen=True, slots=True)
class OutputMessage:
    """Any other line: text, tool calls, results of tools, system notes."""

    type: str
    subtype: str
    body: dict[str, Any]


@dataclass(frozen=True, slots=True)
class ApiRetry:
    """A request to the model failed and is tried again; ``status`` is the HTTP status, or None."""

    status: int | None
    body: dict[str, Any]


@dataclass(frozen=True, slots=True)
class Result:
    """The end of a turn."""

    body: dict[str, Any]

    @property
    def is_error(self) -> bool:
        return bool(self.body.get("is_error"))

    @property
    def reason(self) -> str:
        """``completed``, ``tool_deferred``, ``api_error``, ``max_turns`` …; empty if the CLI gave
        none.

        A call that is deferred again after a resume is recognized by ``stop_reason`` alone.
        """
        return _word(self.body.get("terminal_reason")) or _word(self.body.get("stop_reason"))


@dataclass(frozen=True, slots=True)
class UnreadableLine:
    """A line that is not a JSON object; ``text`` is its beginning.

    ``is_request`` says that it looks like a request without a visible id, which therefore cannot be
    refused.
    """

    text: str
    size: int
    is_request: bool = False


@dataclass(frozen=True, slots=True)
class OversizedReport:
    """A line over the cap that reports what a tool did; ``size`` in bytes."""

    size: int


Message = (
    OversizedReport
    | ToolRequest
    | ToolEnded
    | OtherRequest
    | Withdrawn
    | Reply
    | Delta
    | OutputMessage
    | ApiRetry
    | Result
    | UnreadableLine
)


def parse(line: bytes | OversizedLine) -> Message:
    """Return one line as a message. It never raises."""
    if isinstance(line, OversizedLine) and _is_report(line.head):
        return OversizedReport(line.size)
    if isinstance(line, OversizedLine):
        return _unreadable(line.head, line.size)
    if b"control_request" in line:
        request = _parse_request(line)
        if request is not None:
            return request
    body = _loads(line)
    if body is None:
        return _unreadable(line, len(line))
    return _classify(body)


def join_deltas(messages: Iterable[Message]) -> Iterator[Message]:
    """Yield the same messages in the same order, with consecutive pieces of text joined."""
    pieces: list[str] = []
    for message in messages:
        if isinstance(message, Delta):
            pieces.append(message.text)
            continue
        if pieces:
            yield Delta("".join(pieces))
            pieces.clear()
        yield message
    if pieces:
        yield Delta("".join(pieces))


def _loads(line: bytes) -> dict[str, Any] | None:
    """Parse a JSON object. orjson rounds long integers, so lines with tool inputs take the slower
    parser.
    """
    try:
        body = json.loads(line) if b'"tool_use"' in line else orjson.loads(line)
    except ValueError:
        try:
            body = json.loads(line)  # lone surrogates, NaN
        except (ValueError, RecursionError):
            return None
    except RecursionError:
        return None
    return body if isinstance(body, dict) else None


def _classify(body: dict[str, Any]) -> Message:
    kind = _word(body.get("type"))
    if kind == "stream_event":  # by far the most
        return Delta(_delta_text(body))
    subtype, request_id = _word(body.get("subtype")), _word(body.get("request_id"))
    if kind == "control_request":  # readable, but not exactly: an integer longer than Python takes, say
        return OtherRequest(request_id, "unreadable")
    if kind == "result":
        return Result(body)
    if kind == "control_cancel_request":
        return Withdrawn(request_id)
    if kind == "control_response":
        response = body.get("response")
        response = response if isinstance(response, dict) else {}
        failed = response.get("subtype") == "error"
        return Reply(_word(response.get("request_id")), (_word(response.get("error")) or "refused") if failed else "")
    if kind == "system" and subtype == "api_retry":
        status = body.get("error_status")
        return ApiRetry(status if isinstance(status, int) else None, body)
    return OutputMessage(kind, subtype, body)


def _delta_text(body: dict[str, Any]) -> str:
    event = body.get("event")
    delta = event.get("delta") if isinstance(event, dict) and not body.get("parent_tool_use_id") else None
    text = delta.get("text") if isinstance(delta, dict) else None
    return text if isinstance(text, str) else ""


def _parse_request(line: bytes) -> Message | None:
    """Return a control request, or None if the word only occurs inside another line."""
    try:
        text = line.decode()
        body = json.loads(text)
    except (ValueError, RecursionError):
        return None
    if not isinstance(body, dict) or body.get("type") != "control_request":
        return None
    request_id, request = _word(body.get("request_id")), body.get("request")
    if not isinstance(request, dict):
        return OtherRequest(request_id, "")
    subtype = _word(request.get("subtype"))
    try:
        if subtype == "hook_callback":
            return _hook_callback(request_id, request, text)
        if subtype == "can_use_tool":
            return ToolRequest(
                request_id=_name(request_id),
                tool_use_id=_name(request["tool_use_id"]),
                tool_name=_name(request["tool_name"]),
                tool_input=member_text(text, ("request", "input")),
                agent_id=_name(request.get("agent_id") or ""),
                is_callback=False,
            )
    except (KeyError, TypeError, ValueError, AttributeError, RecursionError):
        return OtherRequest(request_id, subtype)
    return OtherRequest(request_id, subtype)


def _hook_callback(request_id: str, request: dict[str, Any], text: str) -> Message:
    hook = request["input"]
    event = hook.get("hook_event_name")
    if event != "PreToolUse" and event not in ENDED_EVENTS:
        return OtherRequest(request_id, "hook_callback")
    call = {
        "request_id": _name(request_id),
        "tool_use_id": _name(hook.get("tool_use_id") or request["tool_use_id"]),
        "tool_name": _name(hook["tool_name"]),
        "tool_input": member_text(text, ("request", "input", "tool_input")),
    }
    if event in ENDED_EVENTS:
        return ToolEnded(**call, event=event)
    return ToolRequest(
        **call, agent_id=_name(hook.get("agent_id") or ""), is_callback=True, folder=_word(hook.get("cwd"))
    )


def _word(value: object) -> str:
    return value if isinstance(value, str) else ""


def _name(value: object) -> str:
    """Return a name or id of the CLI if it is short, printable ASCII.

    Raises:
        ValueError: it is not.
    """
    if isinstance(value, str) and len(value) <= LONGEST_NAME and value.isascii() and value.isprintable():
        return value
    raise ValueError("not a name")


def _is_report(head: bytes) -> bool:
    """Whether a line with this beginning is a tool's result, or the callback after a tool."""
    return b'"tool_result"' in head or f'"{ENDED_CALLBACK_ID}"'.encode() in head


def _unreadable(head: bytes, size: int) -> Message:
    """Fail closed: if the broken line is a request whose id can be seen at either end, it is
    refused by that id.
    """
    seen = head[:HEAD_BYTES] + head[HEAD_BYTES:][-HEAD_BYTES:]
    found = re.search(rb'"request_id"\s*:\s*"([^"\\]{1,200})"', seen)
    asks = re.search(rb'"(control_request|can_use_tool|hook_callback)"', seen) is not None
    if found and asks:
        return OtherRequest(found[1].decode(errors="replace"), "unreadable")
    return UnreadableLine(head[:500].decode(errors="replace"), size, asks)


_decoder = JSONDecoder()
_SPACE = re.compile(r"[ \t\r\n]*")


def member_text(text: str, path: Sequence[str]) -> str:
    """Return the JSON text of a nested member exactly as it was written, but in ASCII.

    Characters beyond ASCII, which JSON has in strings only, become escapes; numbers, key order,
    duplicate keys and existing escapes stay. Of duplicate members on the way the last counts, as
    for every reader.

    Raises:
        KeyError: there is no such member.
    """
    start, end = 0, len(text)
    for name in path:
        start, end = _member_span(text, start, name)
    return text[start:end].translate(_AsciiEscapes())


class _AsciiEscapes(dict[int, str]):
    """str.translate table: a UTF-16 escape (pair) for every character beyond ASCII."""

    def __missing__(self, code: int) -> str:
        self[code] = chr(code) if code < 128 else json.dumps(chr(code))[1:-1]
        return self[code]


def _member_span(text: str, at: int, name: str) -> tuple[int, int]:
    found: tuple[int, int] | None = None
    at = _skip(text, at)
    if text[at] != "{":
        raise KeyError(name)
    at = _skip(text, at + 1)
    while text[at] != "}":
        key, at = _decoder.raw_decode(text, at)
        start = _skip(text, _skip(text, at) + 1)  # behind the colon
        _, at = _decoder.raw_decode(text, start)
        if key == name:
            found = (start, at)
        at = _skip(text, at)
        if text[at] == ",":
            at = _skip(text, at + 1)
    if found is None:
        raise KeyError(name)
    return found


def _skip(text: str, at: int) -> int:
    match = _SPACE.match(text, at)
    return match.end() if match else at


# --- messages to the CLI


def initialize() -> bytes:
    """The first line: registers a callback before every tool call, and one after it."""
    before = {"matcher": "*", "hookCallbackIds": [CALLBACK_ID], "timeout": HOOK_TIMEOUT_S}
    after = {"matcher": "*", "hookCallbackIds": [ENDED_CALLBACK_ID], "timeout": HOOK_TIMEOUT_S}
    hooks = {"PreToolUse": [before], **{event: [after] for event in ENDED_EVENTS}}
    request = {"subtype": "initialize", "hooks": hooks}
    return _line({"type": "control_request", "request_id": INITIALIZE_ID, "request": request})


def user(prompt: str, uuid: str, attached: Sequence[str] = ()) -> bytes:
    """A message of the dialog. Attached texts follow the prompt, each as a block of its own."""
    blocks = [{"type": "text", "text": text} for text in (prompt, *attached)]
    message = {"role": "user", "content": blocks if attached else prompt}
    return _line({"type": "user", "message": message, "parent_tool_use_id": None, "uuid": uuid})


def interrupt(request_id: str) -> bytes:
    """Stop the turn and keep the process."""
    return _line({"type": "control_request", "request_id": request_id, "request": {"subtype": "interrupt"}})


def allow(request: ToolRequest, tool_input: str) -> bytes:
    """Let the call run with exactly ``tool_input``: JSON text, which an approver may have spread
    over lines.
    """
    tool_input = tool_input.replace("\r", " ").replace("\n", " ").translate(_AsciiEscapes())
    if request.is_callback:
        head = '{"hookSpecificOutput":{"hookEventName":"PreToolUse","permissionDecision":"allow","updatedInput":'
        return _response(request.request_id, head + tool_input + "}}")
    return _response(request.request_id, '{"behavior":"allow","updatedInput":' + tool_input + "}")


def deny(request: ToolRequest, message: str) -> bytes:
    """Refuse the call; the model reads ``message``."""
    if request.is_callback:
        return _hook_decision(request.request_id, "deny", message)
    return _response(request.request_id, json.dumps({"behavior": "deny", "message": message}))


def defer(request: ToolRequest) -> bytes:
    """End the turn and keep the call in the conversation, to be replayed on resume.

    At most one per turn, never inside a sub-agent: other deferred calls vanish without a trace.
    """
    return _hook_decision(request.request_id, "defer", "waiting for a person")


def acknowledge(ended: ToolEnded, note: str = "") -> bytes:
    """Respond to a report; the model reads ``note`` together with what the call returned.

    Measured on 2.1.309, 2.1.330 and 2.1.332: in the next request to the model "PostToolUse:Bash
    hook additional context: …" stands once, for calls that succeed and that fail, questions, plans,
    edited and replayed calls. Of more than 10,000 characters it is shown a beginning alone.
    """
    if not note:
        return _response(ended.request_id, "{}")
    output = {"hookEventName": ended.event, "additionalContext": note}
    return _response(ended.request_id, json.dumps({"hookSpecificOutput": output}))


def refuse(request_id: str, error: str) -> bytes:
    """Refuse a request that Orchestra does not serve; the CLI counts it as a denial."""
    response = {"subtype": "error", "request_id": request_id, "error": error}
    return _line({"type": "control_response", "response": response})


def _hook_decision(request_id: str, decision: str, reason: str) -> bytes:
    output = {"hookEventName": "PreToolUse", "permissionDecision": decision, "permissionDecisionReason": reason}
    return _response(request_id, json.dumps({"hookSpecificOutput": output}))


def _response(request_id: str, response: str) -> bytes:
    """``response`` is spliced in as text, so that a tool's input goes back byte for byte."""
    start = '{"type":"control_response","response":{"subtype":"success","request_id":'
    return (start + json.dumps(request_id) + ',"response":' + response + "}}\n").encode("ascii")


def _line(value: dict[str, Any]) -> bytes:
    return json.dumps(value, ensure_ascii=True).encode("ascii") + b"\n"
