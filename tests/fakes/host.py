"""The host's side by hand: starts a CLI, writes and reads raw lines. For tests of what speaks the protocol."""

import contextlib
import json
import os
import queue
import signal
import subprocess
import threading
import uuid
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Self

Line = dict[str, Any]

GUARD_S = 60  # far beyond anything that works
STREAMING = (
    "-p",
    "--input-format=stream-json",
    "--output-format=stream-json",
    "--verbose",
    "--permission-prompt-tool=stdio",
)
HOOKS = {"PreToolUse": [{"matcher": "*", "hookCallbackIds": ["orch_0"], "timeout": 2000000}]}


class Host:
    """One CLI process. ``seen`` holds every line; those that were no JSON as ``{"type": "garbage", "raw": bytes}``."""

    def __init__(self, argv: Sequence[str], *options: str, cwd: Path, env: Mapping[str, str] | None = None) -> None:
        self.session = str(uuid.uuid4())
        if not any(option.startswith(("--session-id", "--resume")) for option in options):
            options = (*options, f"--session-id={self.session}")
        else:
            self.session = next(
                option for option in options if "--session-id=" in option or "--resume=" in option
            ).split("=")[1]
        self.seen: list[Line] = []
        self._asks = 0
        self.process = subprocess.Popen(
            [*argv, *STREAMING, *options],
            cwd=cwd,
            env={"PATH": os.environ["PATH"], **(env or {})},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            start_new_session=True,
        )
        self._lines: queue.Queue[bytes | None] = queue.Queue()
        threading.Thread(target=self._read, daemon=True).start()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait()

    def _read(self) -> None:
        assert self.process.stdout
        for line in self.process.stdout:
            self._lines.put(line)
        self._lines.put(None)

    # --- writing

    def send(self, line: Line) -> None:
        assert self.process.stdin
        self.process.stdin.write(json.dumps(line).encode() + b"\n")
        self.process.stdin.flush()

    def initialize(self, hooks: Line | None = None) -> Line:
        """Register the hook (``{}``: none) and wait for the answer."""
        self.control({"subtype": "initialize", "hooks": HOOKS if hooks is None else hooks})
        return self.until(lambda line: line["type"] == "control_response")

    def control(self, request: Line) -> None:
        self.send({"type": "control_request", "request_id": f"req_{uuid.uuid4().hex[:8]}", "request": request})

    def prompt(self, text: str) -> None:
        self.send({"type": "user", "message": {"role": "user", "content": text}, "parent_tool_use_id": None})

    def answer(self, request: Line, response: Line) -> None:
        body = {"subtype": "success", "request_id": request["request_id"], "response": response}
        self.send({"type": "control_response", "response": body})

    def allow(self, request: Line, updated_input: Line | None = None) -> None:
        given = {} if updated_input is None else {"updatedInput": updated_input}
        if request["request"]["subtype"] == "can_use_tool":
            self.answer(request, {"behavior": "allow", **given})
        else:
            self._hook(request, permissionDecision="allow", **given)

    def deny(self, request: Line, reason: str) -> None:
        if request["request"]["subtype"] == "can_use_tool":
            self.answer(request, {"behavior": "deny", "message": reason})
        else:
            self._hook(request, permissionDecision="deny", permissionDecisionReason=reason)

    def defer(self, request: Line) -> None:
        self._hook(request, permissionDecision="defer", permissionDecisionReason="later")

    def _hook(self, request: Line, **fields: Any) -> None:
        self.answer(request, {"hookSpecificOutput": {"hookEventName": "PreToolUse", **fields}})

    # --- reading

    def next_line(self) -> Line | None:
        """The next line; None once stdout is closed."""
        raw = self._lines.get(timeout=GUARD_S)
        if raw is None:
            self._lines.put(None)
            return None
        try:
            line: Line = json.loads(raw)
        except ValueError:
            line = {"type": "garbage", "raw": raw}
        self.seen.append(line)
        return line

    def until(self, wanted: Callable[[Line], bool]) -> Line:
        """Read on to the first line that ``wanted`` accepts."""
        while (line := self.next_line()) is not None:
            if wanted(line):
                return line
        raise AssertionError(f"stdout ended; stderr: {self.stderr()}; last lines: {self.seen[-3:]}")

    def ask(self) -> Line:
        """The next request, of either kind; a replayed one may have come before the answer to initialize."""
        waiting = [line for line in self.seen if is_ask(line)][self._asks :]
        self._asks += 1
        return waiting[0] if waiting else self.until(is_ask)

    def result(self) -> Line:
        return self.until(lambda line: line["type"] == "result")

    def close(self) -> int:
        """Close stdin, read the rest, return the exit code (negative: the signal)."""
        assert self.process.stdin
        with contextlib.suppress(BrokenPipeError):
            self.process.stdin.close()
        return self.wait()

    def wait(self) -> int:
        """Wait for the process without closing stdin."""
        while self.next_line() is not None:
            pass
        return self.process.wait(GUARD_S)

    def stderr(self) -> str:
        """What it said on stderr; only when it has ended."""
        assert self.process.stderr
        return self.process.stderr.read().decode()

    # --- looking back

    def said(self) -> str:
        """All assistant text so far."""
        blocks = [block for line in self.seen if line["type"] == "assistant" for block in line["message"]["content"]]
        return "\n".join(block["text"] for block in blocks if block["type"] == "text")

    def tool_results(self) -> dict[str, Line]:
        """Tool results so far, by tool use id."""
        users = [line["message"]["content"] for line in self.seen if line["type"] == "user"]
        blocks = [block for content in users for block in content if isinstance(block, dict)]
        return {block["tool_use_id"]: block for block in blocks if block.get("type") == "tool_result"}


def is_ask(line: Line) -> bool:
    """Whether the line asks for permission, through the hook or the prompt."""
    asks = ("hook_callback", "can_use_tool")
    return line["type"] == "control_request" and line["request"]["subtype"] in asks


def asked_name(request: Line) -> str:
    """The tool a question is about."""
    inner = request["request"]
    name: str = inner["input"]["tool_name"] if inner["subtype"] == "hook_callback" else inner["tool_name"]
    return name


def asked_input(request: Line) -> Line:
    """The input a question shows."""
    inner = request["request"]
    given: Line = inner["input"]["tool_input"] if inner["subtype"] == "hook_callback" else inner["input"]
    return given
