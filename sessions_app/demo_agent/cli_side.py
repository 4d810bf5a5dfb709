"""The CLI's side of the stream-json protocol, for programs that replace the CLI (the demo agent and
the tests' fake).

``Cli`` reads the host's lines, requests permission before every tool call, runs the allowed calls,
and keeps the conversation on disk so that ``--resume`` works. Its caller provides two functions:
``reply`` prints the next message and returns its tool calls (none ends the turn), ``execute`` runs
one allowed call.

It uses only the standard library, one thread and no Django, and so starts as fast as the
interpreter. Shapes and texts follow recordings of Claude Code 2.1.330.
"""

import contextlib
import json
import os
import select
import signal
import subprocess
import sys
import time
import uuid
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, NoReturn

from sessions_app.demo_agent.conversation import Conversation, ToolUse
from sessions_app.demo_agent.options import BadUsage, Options

Json = dict[str, Any]

STREAM_CLOSED = "Tool permission request failed: AbortError: Tool permission stream closed before response received"
HOOK_TIMED_OUT = (
    "PreToolUse hook did not respond before its timeout (host client may be unreachable). "
    "The tool call was not executed; other configured hooks may not have completed."
)
REJECTED = (
    "The user doesn't want to proceed with this tool use. The tool use was rejected (eg. if it was a file edit, the "
    "new_string was NOT written to the file). STOP what you are doing and wait for the user to tell you how to proceed."
)
OUTCOME_UNKNOWN = (
    "[Tool call interrupted: the session ended before this call's result was recorded, so its outcome is unknown. "
    "Check whether it took effect before relying on it or running it again.]"
)
READ_ONLY_TOOLS = frozenset({"Read", "Glob", "Grep"})
HEARTBEAT_S = 30.0
DEFAULT_HOOK_TIMEOUT_S = 600.0
REPLAY_GRACE_S = 0.5  # after this time a deferred call is repeated even if the host has sent no initialize
POLL_S = 0.02
EXIT_CODES = {signal.SIGTERM: 143, signal.SIGHUP: 129, signal.SIGINT: 0}


class Interrupted(Exception):
    """The host interrupts the current turn."""


@dataclass(frozen=True, slots=True)
class Profile:
    """The identity and the prices of the simulated CLI, as ``init``, ``initialize`` and ``result``
    report them.
    """

    model: str
    version: str
    cost_per_message_usd: float = 0.0
    input_tokens_per_message: int = 0
    output_tokens_per_message: int = 0
    stream_pause_s: float = 0.0


@dataclass(frozen=True, slots=True)
class Outcome:
    """The result of a tool; ``detail`` is the structured ``tool_use_result``."""

    content: str
    is_error: bool = False
    detail: Any = None


@dataclass(frozen=True, slots=True)
class Decision:
    """The host's decision.

    ``kind``: allow, deny, defer, refused (not counted as a denial), stop.
    """

    kind: str
    input: Json
    message: str = ""
    source: str = "hook"


class Cli:
    """One process of the CLI, from its first line to its exit code."""

    def __init__(
        self,
        *,
        profile: Profile,
        options: Options,
        state_dir: Path,
        reply: Callable[["Cli"], list[ToolUse]],
        execute: Callable[["Cli", ToolUse], Outcome],
    ) -> None:
        self.profile, self.options = profile, options
        self.reply, self.execute = reply, execute
        self.resumed = "--resume" in options.values
        self.session_id = options.values.get("--resume") or options.values.get("--session-id") or str(uuid.uuid4())
        self.talk = Conversation(state_dir / f"{self.session_id.replace('/', '_')}.jsonl")
        self.mode = options.values.get("--permission-mode", "default")
        self.model = options.values.get("--model", "") or profile.model
        self.cwd = Path.cwd()
        self.child: subprocess.Popen[bytes] | None = None
        self.linger_s = 0.0
        self.replay_grace_s = REPLAY_GRACE_S
        self.eof = False
        self._buffer = bytearray()
        self._prompts: list[Json] = []
        self._hook_id, self._hook_timeout_s = "", DEFAULT_HOOK_TIMEOUT_S
        self._ended_ids: dict[str, str] = {}  # hook event after a call -> id of its callback
        self._initialized = False
        self._always_prompts = options.prompts_for_every_tool
        self._open: dict[str, ToolUse] = {}  # request id -> the call that it is about
        self._hooked: set[str] = set()  # the hook requests among them: they send heartbeats and time out
        self._answers: dict[str, Json] = {}
        self._interrupt_id = ""
        self._in_turn = False
        self._lifecycle_id = ""
        self._results = 0
        self._failed = False
        self._reset_turn_counters()

    # --- the process

    def run(self) -> int:
        """Serve the host until it closes stdin; return the exit code."""
        for number in EXIT_CODES:
            signal.signal(number, self._die_of)
        try:
            self.options.check_streaming()
            self._check_session()
        except BadUsage as error:
            sys.stderr.write(f"{error}\n")
            return 1
        self._continue_conversation()
        while not (self.eof and not self._prompts):
            if self._prompts:
                self._run_prompt(self._prompts.pop(0))
            else:
                self.pump(None)
        time.sleep(self.linger_s)
        return int(self._failed)

    def _die_of(self, number: int, _frame: object) -> None:
        self._die(EXIT_CODES[signal.Signals(number)])

    def _die(self, code: int) -> NoReturn:
        if self.child and self.child.poll() is None:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(self.child.pid, signal.SIGKILL)
        os._exit(code)

    def _check_session(self) -> None:
        if self.resumed and not self.talk.records:
            text = f"No conversation found with session ID: {self.session_id}"
            self._send_result(
                subtype="error_during_execution", is_error=True, num_turns=0, errors=[text], stop_reason=None
            )
            raise BadUsage(text)
        if not self.resumed:
            try:
                uuid.UUID(self.session_id)
            except ValueError:
                raise BadUsage("Error: Invalid session ID. Must be a valid UUID.") from None
            if self.talk.records:
                raise BadUsage(f"Error: Session ID {self.session_id} is already in use.")

    # --- lines in and out

    def emit(self, message: Json) -> None:
        """Print one line and flush it. A closed pipe is no error, as with the real CLI."""
        try:
            data = json.dumps(message, ensure_ascii=False, separators=(",", ":")).encode()
        except UnicodeEncodeError:  # a lone surrogate, which only an escape can carry
            data = json.dumps(message, separators=(",", ":")).encode()
        self.write(data + b"\n")

    def write(self, data: bytes) -> None:
        """Print raw bytes."""
        view = memoryview(data)
        with contextlib.suppress(BrokenPipeError):
            while view:
                view = view[os.write(1, view) :]

    def event(self, kind: str, **fields: Any) -> None:
        """Print a line of type ``kind`` with the fields that every line of this session has."""
        self.emit({"type": kind, **fields, "session_id": self.session_id, "uuid": str(uuid.uuid4())})

    def system(self, subtype: str, **fields: Any) -> None:
        self.event("system", subtype=subtype, **fields)

    def pump(self, timeout_s: float | None) -> None:
        """Read and process the host's lines.

        Wait up to ``timeout_s`` seconds (None: without limit) for the first byte.
        """
        if self.eof:
            time.sleep(timeout_s or 0)
            return
        ready, _, _ = select.select([0], [], [], timeout_s)
        if not ready:
            return
        chunk = os.read(0, 1 << 20)
        if not chunk:
            self.eof = True
            return
        self._buffer += chunk
        if b"\n" in chunk:
            *lines, rest = self._buffer.split(b"\n")
            self._buffer = rest
            for line in lines:
                if line.strip():
                    self._take(bytes(line))

    def pause(self, seconds: float) -> None:
        """Wait, and process the host's lines during that time.

        Raises:
            Interrupted: the host interrupts the turn.
        """
        end = time.monotonic() + seconds
        while True:
            self.pump(0)
            self.check_interrupt()
            left = end - time.monotonic()
            if left <= 0:
                return
            self.pump(left)

    def check_interrupt(self) -> None:
        """Raise ``Interrupted`` if the host has requested an interrupt."""
        if self._interrupt_id:
            raise Interrupted

    def _take(self, line: bytes) -> None:
        try:
            message = json.loads(line)
        except ValueError as error:
            text = f"Error parsing streaming input line (type=unknown, {len(line)} chars): {type(error).__name__}"
            sys.stderr.write(f"{text}\n")
            self._die(1)
        match message.get("type"):
            case "control_request":
                self._handle_control(message["request_id"], message["request"])
            case "control_response":
                response = message["response"]
                if response["request_id"] in self._open:  # the first response counts, unknown ids are ignored
                    self._answers.setdefault(response["request_id"], response)
            case "user":
                if "uuid" in message:
                    self._lifecycle(message["uuid"], "queued")
                self._prompts.append(message)

    def _handle_control(self, request_id: str, request: Json) -> None:
        match request.get("subtype"):
            case "initialize":
                self._initialize(request_id, request.get("hooks") or {})
            case "interrupt":
                if self._in_turn:
                    self._interrupt_id = request_id
                else:
                    self._respond(request_id, {"still_queued": []})
            case "set_permission_mode":
                self.mode = request["mode"]
                self._respond(request_id, {"mode": self.mode})
                self.system("status", status=None, permissionMode=self.mode)
            case "set_model":
                self.model = request["model"]
                self._respond(request_id, {"model": self.model})
            case other:
                error = f"Unsupported control request subtype: {other}"
                response = {
                    "subtype": "error",
                    "request_id": request_id,
                    "error": error,
                    "error_code": "unsupported_request",
                }
                self.emit({"type": "control_response", "response": response})

    def _respond(self, request_id: str, response: Json) -> None:
        self.emit(
            {
                "type": "control_response",
                "response": {"subtype": "success", "request_id": request_id, "response": response},
            }
        )

    def _initialize(self, request_id: str, hooks: Json) -> None:
        for hook in hooks.get("PreToolUse") or []:
            self._hook_id = hook["hookCallbackIds"][0]
            self._hook_timeout_s = float(hook.get("timeout") or DEFAULT_HOOK_TIMEOUT_S)
        for event in ("PostToolUse", "PostToolUseFailure"):
            for hook in hooks.get(event) or []:
                self._ended_ids[event] = hook["hookCallbackIds"][0]
        self._initialized = True
        self._respond(
            request_id,
            {
                "commands": [],
                "agents": [],
                "output_style": "default",
                "models": [{"value": "default", "resolvedModel": self.model, "displayName": self.model}],
                "account": {"tokenSource": "none", "apiKeySource": "none"},
                "pid": os.getpid(),
                "claude_code_version": self.profile.version,
                "current_permission_mode": self.mode,
                "hooks_applied": bool(self._hook_id),
                "session_state": "running" if self.talk.deferred_call() else "idle",
                "capabilities": [],
            },
        )

    def _lifecycle(self, command_id: str, state: str) -> None:
        self.event("command_lifecycle", command_uuid=command_id, state=state)

    # --- turns

    def _continue_conversation(self) -> None:
        """Continue an earlier process: repeat a deferred call, or an interrupted turn if the
        environment says so.
        """
        deferred = self.talk.deferred_call()
        if deferred:
            self._await_host()
            command_id = str(uuid.uuid4())
            self._lifecycle(command_id, "started")
            self._run_turn(replay=deferred)
            self._lifecycle(command_id, "completed")
        elif self.resumed and self.talk.turn_is_open():
            again = bool(os.environ.get("CLAUDE_CODE_RESUME_INTERRUPTED_TURN"))
            for call in self.talk.open_calls():
                if again:
                    self.talk.add("dropped", tool_use_id=call.id)
                else:
                    self.talk.add("tool_result", tool_use_id=call.id, content=OUTCOME_UNKNOWN, is_error=True)
            if again:
                self._await_host()
                self._run_turn()

    def _await_host(self) -> None:
        end = time.monotonic() + self.replay_grace_s
        while not (self._initialized or self._prompts or self.eof) and time.monotonic() < end:
            self.pump(POLL_S)

    def _run_prompt(self, message: Json) -> None:
        content = message["message"]["content"]
        if isinstance(content, list):
            content = "\n".join(block.get("text", "") for block in content)
        command_id = message.get("uuid", "")
        self.talk.add("prompt", text=content, uuid=command_id)
        if command_id:
            self._lifecycle(command_id, "started")
        self._lifecycle_id = command_id
        self._run_turn()
        self._lifecycle_id = ""
        if command_id:
            self._lifecycle(command_id, "completed")

    def _run_turn(self, replay: ToolUse | None = None) -> None:
        self._reset_turn_counters()
        self._in_turn = True
        try:
            if replay:
                self._run_calls([replay])
            if not self._deferred:
                self._send_init()
            while not self._deferred and (calls := self.reply(self)):
                self._run_calls(calls)
            self._end_turn()
        except Interrupted:
            self._end_interrupted()
        finally:
            self._in_turn, self._interrupt_id = False, ""
            self._open.clear()
            self._answers.clear()

    def _reset_turn_counters(self) -> None:
        self._started = time.monotonic()
        self._messages = 0
        self._last_text = ""
        self._denials: list[Json] = []
        self._deferred: ToolUse | None = None
        self._streaming: tuple[str, list[str]] | None = None
        self._override: Json = {}

    def override_result(self, fields: Json) -> None:
        """End this turn with these fields in its ``result`` line."""
        self._override = fields

    def _end_turn(self) -> None:
        if self._deferred:
            self.talk.add("deferred", tool_use_id=self._deferred.id, messages=self._messages)
            call = {"id": self._deferred.id, "name": self._deferred.name, "input": self._deferred.asked_input}
            self._send_result(
                result="", stop_reason="tool_deferred", terminal_reason="tool_deferred", deferred_tool_use=call
            )
            return
        self.talk.add("end", messages=self._messages)
        self._send_result(**{"result": self._last_text, **self._override})

    def _end_interrupted(self) -> None:
        for request_id in self._open:
            self.emit({"type": "control_cancel_request", "request_id": request_id})
        if self._interrupt_id:
            self._respond(self._interrupt_id, {"still_queued": []})
        calls = self.talk.open_calls()
        for call in calls:
            self._denials.append(self._denial(call))
            meta = {"id": call.id, "non_execution_kind": "user-rejected"}
            self._send_tool_result(call, REJECTED, is_error=True, detail="User rejected tool use", meta=meta)
        if self._streaming:
            message_id, pieces = self._streaming
            self._send_assistant(message_id, {"type": "text", "text": "".join(pieces)}, aborted=True)
        text = "[Request interrupted by user for tool use]" if calls else "[Request interrupted by user]"
        self._send_user([{"type": "text", "text": text}], parent=None)
        self.talk.add("end", messages=self._messages)
        self._send_result(
            subtype="error_during_execution",
            is_error=True,
            stop_reason="tool_use" if calls else None,
            terminal_reason="aborted_tools" if calls else "aborted_streaming",
            errors=["[ede_diagnostic] result_type=user last_content_type=n/a"],
        )

    # --- messages

    def say(self, text: str) -> None:
        """Send a message that is text alone."""
        self.message(texts=[text])

    def message(self, texts: list[str], calls: list[ToolUse] | None = None) -> list[ToolUse]:
        """Send one message and store it; return its calls."""
        calls = calls or []
        message_id = f"msg_{uuid.uuid4().hex[:20]}"
        self._messages += 1
        blocks: list[Json] = [{"type": "text", "text": text} for text in texts]
        blocks += [{"type": "tool_use", "id": call.id, "name": call.name, "input": call.input} for call in calls]
        if self.options.partial_messages:
            self.system("status", status="requesting")
            start = self._api_message(message_id, [])
            self._stream(message_id, {"type": "message_start", "message": start}, ttft_ms=1)
        for number, block in enumerate(blocks):
            if self.options.partial_messages:
                self._stream_block(message_id, number, block)
            if number == len(blocks) - 1:
                self.talk.add_message(message_id, texts, calls)
            self._send_assistant(message_id, block)
            if self.options.partial_messages:
                self._stream(message_id, {"type": "content_block_stop", "index": number})
        if self.options.partial_messages:
            delta = {"stop_reason": "tool_use" if calls else "end_turn", "stop_sequence": None}
            self._stream(message_id, {"type": "message_delta", "delta": delta, "usage": {"output_tokens": 1}})
            self._stream(message_id, {"type": "message_stop"})
        if texts:
            self._last_text = texts[-1]
        return calls

    def think(self, text: str) -> None:
        """Send a thinking block, which is not stored."""
        block = {"type": "thinking", "thinking": text, "signature": ""}
        self._send_assistant(f"msg_{uuid.uuid4().hex[:20]}", block)

    def _stream_block(self, message_id: str, number: int, block: Json) -> None:
        if block["type"] == "tool_use":
            start, kind, key, text = (
                {**block, "input": {}},
                "input_json_delta",
                "partial_json",
                json.dumps(block["input"]),
            )
            pieces = [text[at : at + 4096] for at in range(0, len(text), 4096)]
        else:
            start, kind, key, text = {"type": "text", "text": ""}, "text_delta", "text", block["text"]
            pieces = [text[at : at + 24] for at in range(0, len(text), 24)]
        self._stream(message_id, {"type": "content_block_start", "index": number, "content_block": start})
        sent: list[str] = []  # joined only when needed: a text of megabytes has a hundred thousand pieces
        for piece in pieces:
            sent.append(piece)
            self._streaming = (message_id, sent) if kind == "text_delta" else None
            self._stream(
                message_id, {"type": "content_block_delta", "index": number, "delta": {"type": kind, key: piece}}
            )
            self.pause(self.profile.stream_pause_s)
        self._streaming = None

    def _stream(self, message_id: str, event: Json, **fields: Any) -> None:
        self.event("stream_event", event=event, parent_tool_use_id=None, **fields, api_message_id=message_id)

    def _api_message(self, message_id: str, content: list[Json]) -> Json:
        return {
            "id": message_id,
            "type": "message",
            "role": "assistant",
            "model": self.model,
            "stop_reason": None,
            "stop_sequence": None,
            "usage": self._usage(1),
            "content": content,
            "context_management": None,
        }

    def _send_assistant(self, message_id: str, block: Json, call: ToolUse | None = None, **fields: Any) -> None:
        if call:
            fields |= {"agent_id": call.agent_id, "subagent_type": "general-purpose"}
        parent = call.parent if call else None
        message = self._api_message(message_id, [block])
        self.event("assistant", message=message, parent_tool_use_id=parent, timestamp=_now(), **fields)

    def _send_user(self, content: list[Json], *, parent: str | None, **fields: Any) -> None:
        message = {"role": "user", "content": content}
        self.event("user", message=message, parent_tool_use_id=parent, timestamp=_now(), **fields)

    def _send_tool_result(self, call: ToolUse, content: str, *, is_error: bool, detail: Any, meta: Json | None) -> None:
        self.talk.add("tool_result", tool_use_id=call.id, content=content, is_error=is_error)
        block: Json = {"tool_use_id": call.id, "type": "tool_result", "content": content}
        if is_error:
            block["is_error"] = True
        fields: Json = {"tool_use_result": detail if detail is not None else content}
        if meta:
            fields["tool_result_meta"] = [meta]
        if call.agent_id:
            fields["agent_id"] = call.agent_id
        self._send_user([block], parent=call.parent or None, **fields)

    def _send_init(self) -> None:
        self.system(
            "init",
            cwd=str(self.cwd),
            original_cwd=str(self.cwd),
            additional_directories=[],
            tools=["AskUserQuestion", "Bash", "Edit", "ExitPlanMode", "Read", "Write"],
            mcp_servers=[],
            model=self.model,
            permissionMode=self.mode,
            slash_commands=[],
            agents=[],
            skills=[],
            plugins=[],
            apiKeySource="none",
            claude_code_version=self.profile.version,
            output_style="default",
            capabilities=[],
        )

    def _send_result(self, **changes: Any) -> None:
        """Send the ``result`` line.

        Costs add up over turns and resumes, without killed turns; the rest is of this turn.
        """
        line: Json = {
            "subtype": "success",
            "is_error": False,
            "duration_ms": int((time.monotonic() - self._started) * 1000),
            "duration_api_ms": 0,
            "num_turns": self._messages,
            "stop_reason": "end_turn",
            "total_cost_usd": self._model_usage(self.talk.messages_paid())["costUSD"],
            "usage": self._usage(self._messages),
            "modelUsage": {self.model: self._model_usage(self.talk.messages_paid())},
            "model_usage_since_last_result": {self.model: self._model_usage(self._messages)},
            "permission_denials": self._denials,
            "terminal_reason": "completed",
            "queued_turn_count": len(self._prompts),
            "result_index": self._results,
            **changes,
        }
        if line["subtype"] != "success":
            line.pop("result", None)
        if self._lifecycle_id:
            line["user_message_uuids"] = [self._lifecycle_id]
        self._results += 1
        self._failed = bool(line["is_error"])
        self.event("result", **line)

    def _usage(self, messages: int) -> Json:
        return {
            "input_tokens": self.profile.input_tokens_per_message * messages,
            "cache_creation_input_tokens": 0,
            "cache_read_input_tokens": 0,
            "output_tokens": self.profile.output_tokens_per_message * messages,
        }

    def _model_usage(self, messages: int) -> Json:
        return {
            "inputTokens": self.profile.input_tokens_per_message * messages,
            "outputTokens": self.profile.output_tokens_per_message * messages,
            "cacheReadInputTokens": 0,
            "cacheCreationInputTokens": 0,
            "webSearchRequests": 0,
            "costUSD": self.profile.cost_per_message_usd * messages,
            "contextWindow": 200000,
        }

    # --- tool calls

    def _run_calls(self, calls: list[ToolUse]) -> None:
        for group in _groups(calls):
            for call, decision in self._decide(group):
                self._settle(call, decision)

    def run_inside(self, agent_id: str, parent: ToolUse, calls: list[ToolUse]) -> bool:
        """Run calls of a sub-agent; False if one was deferred, which discards the sub-agent's work."""
        inner = [replace(call, agent_id=agent_id, parent=parent.id) for call in calls]
        for call in inner:
            block = {"type": "tool_use", "id": call.id, "name": call.name, "input": call.input}
            self._send_assistant(f"msg_{uuid.uuid4().hex[:20]}", block, call)
            for asked, decision in self._decide([call]):
                if decision.kind == "defer":
                    return False
                self._settle(asked, decision)
        return True

    def _decide(self, calls: list[ToolUse]) -> Iterator[tuple[ToolUse, Decision]]:
        """Request decisions on all of ``calls`` at once; yield each call when its decision arrives."""
        waiting: dict[str, ToolUse] = {}
        for call in calls:
            ask = self._ask_hook if self._hook_id and not call.prompt_only else self._ask_prompt
            waiting[ask(call)] = call
        started, beats = time.monotonic(), 0
        while waiting:
            self.check_interrupt()
            request_id = next((request_id for request_id in self._answers if request_id in waiting), "")
            hooked = [request_id for request_id in waiting if request_id in self._hooked]
            waited = time.monotonic() - started
            if request_id:
                call, response = waiting.pop(request_id), self._answers.pop(request_id)
                del self._open[request_id]
                decision = _parse_decision(call, response)
                if decision and not (decision.kind == "allow" and request_id in hooked and self._always_prompts):
                    yield call, decision
                else:
                    waiting[self._ask_prompt(call, decision)] = call
            elif self.eof:
                request_id = next(iter(waiting))
                del self._open[request_id]
                yield waiting.pop(request_id), Decision("deny", {}, STREAM_CLOSED, "config")
            elif hooked and waited >= self._hook_timeout_s:
                del self._open[hooked[0]]
                self.emit({"type": "control_cancel_request", "request_id": hooked[0]})
                yield waiting.pop(hooked[0]), Decision("refused", {}, HOOK_TIMED_OUT)
            elif hooked and waited >= HEARTBEAT_S * (beats + 1):
                self._send_heartbeats([waiting[request_id] for request_id in hooked], beats)
                beats += 1
            else:
                self.pump(min(HEARTBEAT_S * (beats + 1), self._hook_timeout_s) - waited if hooked else None)

    def _send_heartbeats(self, calls: list[ToolUse], number: int) -> None:
        for call in calls:
            name = f"hook-PreToolUse-{call.id}-heartbeat-{number}"
            fields = {"tool_use_id": name, "tool_name": "PreToolUse", "parent_tool_use_id": call.id}
            self.event("tool_progress", **fields, elapsed_time_seconds=int(HEARTBEAT_S) * (number + 1), heartbeat=True)

    def _ask_hook(self, call: ToolUse) -> str:
        hook_input = self._hook_input(call, "PreToolUse")
        fields: Json = {"callback_id": self._hook_id, "input": hook_input, "tool_use_id": call.id}
        request_id = self._ask(call, {"subtype": "hook_callback", **fields})
        self._hooked.add(request_id)
        return request_id

    def _hook_input(self, call: ToolUse, event: str) -> Json:
        fields: Json = {
            "session_id": self.session_id,
            "transcript_path": str(self.talk.path),
            "cwd": str(self.cwd),
            "permission_mode": self.mode,
            "hook_event_name": event,
            "tool_name": call.name,
            "tool_input": call.asked_input,
            "tool_use_id": call.id,
        }
        if call.agent_id:
            fields |= {"agent_id": call.agent_id, "agent_type": "general-purpose"}
        return fields

    def _ask_prompt(self, call: ToolUse, allowed: Decision | None = None) -> str:
        """Send ``can_use_tool``.

        After a hook's decision ``allowed`` it shows that input, without answers to questions.
        """
        shown = (
            {key: value for key, value in allowed.input.items() if key != "answers"} if allowed else call.asked_input
        )
        fields: Json = {
            "tool_name": call.name,
            "display_name": call.name,
            "input": shown,
            "tool_use_id": call.id,
        }
        if call.name in ("AskUserQuestion", "ExitPlanMode"):
            fields["requires_user_interaction"] = True
        if call.agent_id:
            fields["agent_id"] = call.agent_id
        return self._ask(call, {"subtype": "can_use_tool", **fields})

    def _ask(self, call: ToolUse, request: Json) -> str:
        request_id = str(uuid.uuid4())
        self._open[request_id] = call
        self.emit({"type": "control_request", "request_id": request_id, "request": request})
        return request_id

    def _settle(self, call: ToolUse, decision: Decision) -> None:
        if decision.kind == "stop":
            raise Interrupted
        if decision.kind == "defer":
            if self._deferred:  # the CLI keeps only the last deferred call of a turn (i_defer_parallel_both)
                self.talk.add("dropped", tool_use_id=self._deferred.id)
            self._deferred = call
        elif decision.kind == "allow":
            outcome = self.execute(self, replace(call, input=decision.input))
            self._report_ended(replace(call, input=decision.input), outcome)
            meta = {"id": call.id, "permission_decision": {"decision": "accept", "source": decision.source}}
            self._send_tool_result(call, outcome.content, is_error=outcome.is_error, detail=outcome.detail, meta=meta)
        else:
            if decision.kind == "deny":
                self._denials.append(self._denial(call))
            permission = {"decision": "reject", "source": decision.source}
            meta = {"id": call.id, "non_execution_kind": "permission-rule", "permission_decision": permission}
            self._send_tool_result(
                call, decision.message, is_error=True, detail=f"Error: {decision.message}", meta=meta
            )

    def _report_ended(self, call: ToolUse, outcome: Outcome) -> None:
        """Call the hook for the end of a call, and wait for its response unless the host has closed
        stdin.
        """
        event = "PostToolUseFailure" if outcome.is_error else "PostToolUse"
        if event not in self._ended_ids:
            return
        ended = self._hook_input(call, event) | {"tool_input": call.input, "tool_response": outcome.content}
        fields: Json = {"callback_id": self._ended_ids[event], "input": ended, "tool_use_id": call.id}
        request_id = self._ask(call, {"subtype": "hook_callback", **fields})
        while request_id not in self._answers and not self.eof:
            self.check_interrupt()
            self.pump(None)
        self._answers.pop(request_id, None)
        del self._open[request_id]

    def was_rejected(self, tool_use_id: str) -> bool:
        """Whether the host denied this call; a call that ran and failed is none."""
        return any(denial["tool_use_id"] == tool_use_id for denial in self._denials)

    def _denial(self, call: ToolUse) -> Json:
        return {"tool_name": call.name, "tool_use_id": call.id, "tool_input": call.asked_input}


def _groups(calls: list[ToolUse]) -> list[list[ToolUse]]:
    """Group calls by request: adjacent read-only calls together, all others one by one."""
    groups: list[list[ToolUse]] = []
    for call in calls:
        together = call.together or call.name in READ_ONLY_TOOLS
        if together and groups and (groups[-1][0].together or groups[-1][0].name in READ_ONLY_TOOLS):
            groups[-1].append(call)
        else:
            groups.append([call])
    return groups


def _parse_decision(call: ToolUse, response: Json) -> Decision | None:
    """Parse a response; None (a hook's ``{}`` or ``ask``) means that the prompt decides."""
    if response.get("subtype") != "success":
        return Decision("deny", {}, str(response.get("error", "unknown error")), "user_reject")
    body = response.get("response") or {}
    if "behavior" in body:
        return _parse_prompt_response(call, body)
    hook = body.get("hookSpecificOutput") or {}
    reason = str(hook.get("permissionDecisionReason", ""))
    match hook.get("permissionDecision"):
        case "allow":
            given = hook.get("updatedInput")
            return Decision("allow", call.input if given is None else given)
        case "deny":
            return Decision("deny", {}, reason)
        case "defer":
            return Decision("defer", {})
    return None


def _parse_prompt_response(call: ToolUse, body: Json) -> Decision:
    match body["behavior"]:
        case "allow":
            return Decision("allow", body.get("updatedInput") or call.input, source="user_temporary")
        case "deny" if body.get("interrupt"):
            return Decision("stop", {})
        case "deny":
            return Decision("deny", {}, str(body.get("message", "")), "user_reject")
    return Decision("deny", {}, "Tool permission request failed: invalid response", "config")


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
