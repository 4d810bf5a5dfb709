"""A Messages API on loopback with a scripted model, so that a CLI can be tested without an account."""

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from uuid import uuid4


@dataclass(frozen=True, slots=True)
class ToolCall:
    """A tool call that the scripted model makes."""

    id: str
    tool: str
    arguments: dict[str, Any]


@dataclass(slots=True)
class ScriptedModel:
    """The model makes one of ``calls`` per message, by the number of messages so far, and then ends
    with a text.
    """

    calls: list[ToolCall]
    url: str = ""
    request_bodies: list[str] = field(default_factory=list)

    def has_received(self, text: str) -> bool:
        """Whether ``text`` reached the model in any request."""
        return any(text in body for body in self.request_bodies)


@contextmanager
def scripted_model() -> Iterator[ScriptedModel]:
    """Serve on a free port until the ``with`` block ends."""
    model = ScriptedModel([])
    server = _Server(("127.0.0.1", 0), _Api)
    server.model = model
    model.url = f"http://127.0.0.1:{server.server_address[1]}"
    threading.Thread(target=server.serve_forever, name="self-test model", daemon=True).start()
    try:
        yield model
    finally:
        server.shutdown()
        server.server_close()


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    model: ScriptedModel


class _Api(BaseHTTPRequestHandler):
    """The part of the streaming Messages API (POST /v1/messages) that the CLI uses."""

    server: _Server

    def log_message(self, *_: object) -> None:
        """Log nothing."""

    def do_GET(self) -> None:
        self._send("application/json", b"{}")

    do_HEAD = do_GET

    def do_POST(self) -> None:
        text = self.rfile.read(int(self.headers.get("content-length") or 0)).decode(errors="replace")
        self.server.model.request_bodies.append(text)
        body = json.loads(text or "{}")
        number = sum(message["role"] == "assistant" for message in body.get("messages", []))
        calls = self.server.model.calls
        call = calls[number] if body.get("tools") and number < len(calls) else None
        self._send("text/event-stream", _stream(body.get("model", "self-test"), call))

    def _send(self, kind: str, data: bytes) -> None:
        self.send_response(200)
        self.send_header("content-type", kind)
        self.send_header("content-length", str(len(data)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(data)


def _stream(model: str, call: ToolCall | None) -> bytes:
    usage = {"input_tokens": 1, "output_tokens": 1}
    message: dict[str, Any] = {
        "id": f"msg_{uuid4().hex}", "type": "message", "role": "assistant", "model": model,
        "content": [], "stop_reason": None, "stop_sequence": None, "usage": usage,
    }  # fmt: skip
    block, delta, stop = _tool_use(call) if call else _text()
    events: list[dict[str, Any]] = [
        {"type": "message_start", "message": message},
        {"type": "content_block_start", "index": 0, "content_block": block},
        {"type": "content_block_delta", "index": 0, "delta": delta},
        {"type": "content_block_stop", "index": 0},
        {"type": "message_delta", "delta": {"stop_reason": stop, "stop_sequence": None}, "usage": usage},
        {"type": "message_stop"},
    ]
    return "".join(f"event: {event['type']}\ndata: {json.dumps(event)}\n\n" for event in events).encode()


def _tool_use(call: ToolCall) -> tuple[dict[str, Any], dict[str, Any], str]:
    block = {"type": "tool_use", "id": call.id, "name": call.tool, "input": {}}
    return block, {"type": "input_json_delta", "partial_json": json.dumps(call.arguments)}, "tool_use"


def _text() -> tuple[dict[str, Any], dict[str, Any], str]:
    return {"type": "text", "text": ""}, {"type": "text_delta", "text": "done"}, "end_turn"
