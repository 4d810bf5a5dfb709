"""Hundreds of WebSocket clients in one process, which only count: a slow client would hide a slow
server.

Frames are parsed by hand on uvloop. The latency of a frame is computed from ``ts=<monotonic
seconds>`` in it; ``"seq":`` is checked for gaps and repeats. bench/hub.py runs this module.
"""

import asyncio
import base64
import json
import os
import re
import threading
import time
from typing import Any
from urllib.parse import urlsplit

import uvloop

from bench.child import serve

SENT_AT = re.compile(rb"ts=([0-9.]+)")
NUMBER = re.compile(rb'"seq":(\d+)')
OPEN_S = 90.0


class Client(asyncio.Protocol):
    """One socket. It sends the messages ``first`` when it is open, and is ``ready`` when all were
    answered.
    """

    def __init__(self, host: str, path: str, first: list[str]) -> None:
        self.host, self.path, self.first = host, path, first
        self.buffer = b""
        self.shaken = False
        self.answers = 0
        self.spans: list[float] = []
        self.seen: set[bytes] = set()
        self.last = 0
        self.gaps = self.repeats = self.pings = 0
        self.code: int | None = None
        self.lost = False

    @property
    def ready(self) -> bool:
        return self.lost or (self.shaken and self.answers >= len(self.first))

    def connection_made(self, transport: Any) -> None:
        self.transport = transport
        key = base64.b64encode(os.urandom(16)).decode()
        transport.write(
            f"GET {self.path} HTTP/1.1\r\nHost: {self.host}\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
            f"Sec-WebSocket-Key: {key}\r\nSec-WebSocket-Version: 13\r\n\r\n".encode()
        )

    def data_received(self, data: bytes) -> None:
        now = time.monotonic()
        data = self.buffer + data if self.buffer else data
        if not self.shaken:
            head, found, data = data.partition(b"\r\n\r\n")
            if not found:
                self.buffer = head
                return
            assert b" 101 " in head[:20], head
            self.shaken = True
            for text in self.first:
                self.transport.write(masked(1, text.encode()))
        start, end = 0, len(data)
        while end - start >= 2:
            kind, size, head = data[start] & 15, data[start + 1] & 127, 2
            if size > 125:
                head = 4 if size == 126 else 10
                if end - start < head:
                    break
                size = int.from_bytes(data[start + 2 : start + head], "big")
            if end - start < head + size:
                break
            self._frame(kind, data[start + head : start + head + size], now)
            start += head + size
        self.buffer = data[start:]

    def connection_lost(self, error: Exception | None) -> None:
        self.lost = True

    def _frame(self, kind: int, payload: bytes, now: float) -> None:
        if kind == 9:
            self.transport.write(masked(10, payload))
        elif kind == 8:
            self.code = int.from_bytes(payload[:2], "big")
            self.transport.close()
        elif self.answers < len(self.first) and payload.startswith((b'{"type":"authenticated"', b'{"type":"snapshot"')):
            self.answers += 1
        elif sent := SENT_AT.search(payload):
            self.spans.append(now - float(sent[1]))
            self.seen.add(sent[1])
            self._number(payload)

    def _number(self, payload: bytes) -> None:
        if found := NUMBER.search(payload[:120]):
            number = int(found[1])
            self.gaps += number > self.last + 1
            self.repeats += number <= self.last
            self.last = max(self.last, number)


def masked(kind: int, payload: bytes) -> bytes:
    """Return a client's frame, whose mask is zero to save time."""
    size = len(payload)
    head = bytes([0x80 | kind, 0x80 | size]) if size < 126 else bytes([0x80 | kind, 0xFE]) + size.to_bytes(2, "big")
    return head + b"\0\0\0\0" + payload


class Crowd:
    """The groups of sockets of this process, by name."""

    def __init__(self) -> None:
        self.loop = uvloop.new_event_loop()
        self.groups: dict[str, list[Client]] = {}
        threading.Thread(target=self.loop.run_forever, daemon=True).start()

    def run(self, work: Any) -> Any:
        return asyncio.run_coroutine_threadsafe(work, self.loop).result()

    def open(self, group: str, url: str, count: int, first: list[Any], stuck: bool = False) -> int:
        """Open ``count`` sockets and return how many got their answers; ``stuck`` ones stop reading
        then.
        """
        return int(self.run(self._open(group, url, count, [json.dumps(message) for message in first], stuck)))

    async def _open(self, group: str, url: str, count: int, first: list[str], stuck: bool) -> int:
        at = urlsplit(url)
        clients = self.groups.setdefault(group, [])
        fresh = []
        for number in range(count):
            client = Client(at.netloc, at.path, first)
            await self.loop.create_connection(lambda client=client: client, at.hostname, at.port)
            fresh.append(client)
            if number % 20 == 19:
                await asyncio.sleep(0.02)
        end = time.monotonic() + OPEN_S
        while not all(client.ready for client in fresh) and time.monotonic() < end:  # noqa: ASYNC110 - a bench may poll
            await asyncio.sleep(0.02)
        for client in fresh:
            if stuck and not client.lost:
                client.transport.pause_reading()
        clients += fresh
        return sum(client.ready and not client.lost for client in fresh)

    def collect(self, group: str, expected: int, patience_s: float) -> dict[str, Any]:
        """Return what a group has received of ``expected`` messages each, after a pause, and reset
        the counts.
        """
        clients = self.groups[group]
        end = time.monotonic() + patience_s
        while time.monotonic() < end and any(len(client.seen) < expected for client in clients if not client.lost):
            time.sleep(0.05)
        spans = sorted(span for client in clients for span in client.spans)
        alive = [client for client in clients if not client.lost]
        figures = {
            "clients": len(alive),
            "messages": len(spans),
            "p50_ms": _percentile(spans, 50) * 1e3,
            "p99_ms": _percentile(spans, 99) * 1e3,
            "lost": sum(max(0, expected - len(client.seen)) for client in alive),
            "gaps": sum(client.gaps for client in alive),
            "repeats": sum(client.repeats for client in alive),
            "codes": sorted({client.code for client in clients if client.code}),
        }
        for client in clients:
            client.spans.clear()
            client.seen.clear()
        return figures

    def close(self, group: str) -> list[int]:
        """Close a group's connections; return the last number that each has received."""
        clients = self.groups.pop(group)
        for client in clients:
            self.loop.call_soon_threadsafe(client.transport.abort)
        return [client.last for client in clients]


def _percentile(values: list[float], percent: int) -> float:
    return values[round(percent / 100 * (len(values) - 1))] if values else float("nan")


if __name__ == "__main__":
    crowd = Crowd()
    serve(open=crowd.open, collect=crowd.collect, close=crowd.close)
