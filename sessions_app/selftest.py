"""Does this CLI still wait when Orchestra holds a call? Asked offline, of a scripted model that the product brings.

Everything Orchestra promises rests on that: a CLI release whose callback no longer blocks would run tools unasked.
"""

import json
import logging
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from uuid import uuid4

from sessions_app.supervisor import protocol
from sessions_app.supervisor.launch import MARKER, CliMissing, Launch, command_line, environment
from sessions_app.supervisor.process import Bell, CliProcess
from sessions_app.supervisor.protocol import LineFramer, Message, Reply, Result, ToolRequest, parse

logger = logging.getLogger(__name__)

PATIENCE_S = 60.0
HELD_S = 1.0  # how long the call is held; a CLI that does not wait writes at once
LINE_CAP = 1024 * 1024
FORBIDDEN = "must-not-exist.txt"


class Inconclusive(Exception):
    """The test came to no end, for whatever reason; nothing is known about the CLI."""


def fails_open() -> str:
    """Why the configured CLI must not be used, in one sentence; empty if it waited and obeyed.

    Raises:
        Inconclusive: it died, hung, or was killed meanwhile.
    """
    with tempfile.TemporaryDirectory(prefix="orchestra-selftest-") as folder, _scripted_model() as url:
        home = Path(folder, "home")
        home.mkdir()
        work = Path(folder, "work")
        work.mkdir()
        launch = Launch(session_id=uuid4(), run_id=uuid4(), agent="claude", model="", resume=False)
        model = {"ANTHROPIC_BASE_URL": url, "ANTHROPIC_API_KEY": "self-test", "HOME": str(home)}
        env = environment(launch, {"PATH": "/usr/bin:/bin", "LANG": "C.UTF-8", "USER": "self-test", **model})
        del env[MARKER]  # no run is recorded for it, so the janitor would end it, and the CLI would count as unfit
        try:
            command = command_line(launch)
        except (CliMissing, OSError) as error:  # of the settings or this host, and mended there
            raise Inconclusive(f"it cannot be started: {error}") from error
        bell = Bell.make()
        try:
            process = CliProcess.spawn(command, env, str(work), bell)
        except OSError as error:
            bell.close()
            return f"The CLI cannot be started: {error.strerror}."
        try:
            return _Examination(process, work / FORBIDDEN).verdict()
        finally:
            process.end()
            bell.close()


class _Examination:
    """One turn in which the model asks to write a file, and is made to wait, and is refused."""

    def __init__(self, process: CliProcess, forbidden: Path) -> None:
        self._process = process
        self._forbidden = forbidden
        self._asked = self._ended = False

    def verdict(self) -> str:
        self._process.write(protocol.initialize())
        for message in self._messages():
            match message:
                case Reply(protocol.INITIALIZE_ID, error):
                    if error:
                        return "The CLI refuses to be supervised."
                    self._process.write(protocol.user("self-test", str(uuid4())))
                case ToolRequest():
                    self._hold(message)
                case Result():
                    self._ended = True
                    break
        if self._forbidden.exists():
            return "The CLI ran a tool that was held and refused: it fails open."
        if not self._ended:
            raise Inconclusive("the CLI gave no result")
        if not self._asked:
            return "The CLI did not ask before using a tool, or could not be brought to use one."
        return ""

    def _hold(self, request: ToolRequest) -> None:
        time.sleep(HELD_S)
        self._asked = request.held and not self._forbidden.exists()
        self._process.write(protocol.deny(request, "This is a self-test; stop here."))

    def _messages(self) -> Iterator[Message]:
        framer = LineFramer(LINE_CAP)
        end = time.monotonic() + PATIENCE_S
        while time.monotonic() < end:
            heard = self._process.wait(end - time.monotonic())
            yield from map(parse, framer.feed(heard.out))
            if heard.exited and not heard.out:
                return


@contextmanager
def _scripted_model() -> Iterator[str]:
    """A Messages endpoint on loopback: the first answer asks for a Write, every later one says that it is done."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), _Model)
    server.daemon_threads = True
    threading.Thread(target=server.serve_forever, name="self-test model", daemon=True).start()
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}"
    finally:
        server.shutdown()
        server.server_close()


class _Model(BaseHTTPRequestHandler):
    """Just enough of the streaming Messages API (POST /v1/messages) for two turns."""

    def log_message(self, *_: object) -> None:
        """Silent."""

    def do_GET(self) -> None:
        self._send("application/json", b"{}")

    do_HEAD = do_GET

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers.get("content-length") or 0)) or b"{}")
        fresh = body.get("tools") and not any(message["role"] == "assistant" for message in body.get("messages", []))
        block, delta, stop = _write_call() if fresh else _text()
        usage = {"input_tokens": 1, "output_tokens": 1}
        message = {
            "id": f"msg_{uuid4().hex}", "type": "message", "role": "assistant", "model": body.get("model", "self-test"),
            "content": [], "stop_reason": None, "stop_sequence": None, "usage": usage,
        }  # fmt: skip
        events: list[dict[str, Any]] = [
            {"type": "message_start", "message": message},
            {"type": "content_block_start", "index": 0, "content_block": block},
            {"type": "content_block_delta", "index": 0, "delta": delta},
            {"type": "content_block_stop", "index": 0},
            {"type": "message_delta", "delta": {"stop_reason": stop, "stop_sequence": None}, "usage": usage},
            {"type": "message_stop"},
        ]
        stream = "".join(f"event: {event['type']}\ndata: {json.dumps(event)}\n\n" for event in events)
        self._send("text/event-stream", stream.encode())

    def _send(self, kind: str, data: bytes) -> None:
        self.send_response(200)
        self.send_header("content-type", kind)
        self.send_header("content-length", str(len(data)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(data)


def _write_call() -> tuple[dict[str, Any], dict[str, Any], str]:
    block = {"type": "tool_use", "id": f"toolu_{uuid4().hex[:20]}", "name": "Write", "input": {}}
    wanted = json.dumps({"file_path": FORBIDDEN, "content": "written without leave"})
    return block, {"type": "input_json_delta", "partial_json": wanted}, "tool_use"


def _text() -> tuple[dict[str, Any], dict[str, Any], str]:
    return {"type": "text", "text": ""}, {"type": "text_delta", "text": "done"}, "end_turn"
