"""A store that speaks enough of S3 for uploads, whole or in parts; it checks sums as the real one does."""

import base64
import hashlib
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, urlsplit


@dataclass
class FakeS3:
    """``objects`` by path (``/bucket/key``), in the order in which they were completed."""

    url: str = ""
    objects: dict[str, bytes] = field(default_factory=dict)
    parts: dict[str, dict[int, bytes]] = field(default_factory=dict)
    refuse: bool = False


@contextmanager
def fake_s3() -> Iterator[FakeS3]:
    """A server for the length of the ``with``."""
    store = FakeS3()
    server = ThreadingHTTPServer(("127.0.0.1", 0), type("Handler", (_Handler,), {"store": store}))
    store.url = f"http://127.0.0.1:{server.server_port}"
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield store
    finally:
        server.shutdown()
        server.server_close()


class _Handler(BaseHTTPRequestHandler):
    store: FakeS3
    protocol_version = "HTTP/1.1"

    def do_PUT(self) -> None:
        body, where, query = self._body(), urlsplit(self.path).path, parse_qs(urlsplit(self.path).query)
        given = self.headers.get("x-amz-checksum-sha256", "") or self._trailer
        if self.store.refuse:
            return self._answer(403, "<Error><Code>AccessDenied</Code><Message>no</Message></Error>")
        if given != base64.b64encode(hashlib.sha256(body).digest()).decode():
            return self._answer(400, "<Error><Code>BadDigest</Code><Message>no</Message></Error>")
        if "partNumber" in query:
            self.store.parts[where][int(query["partNumber"][0])] = body
        else:
            self.store.objects[where] = body
        return self._answer(200, "", ETag='"x"', **{"x-amz-checksum-sha256": given})

    def do_POST(self) -> None:
        self._body()
        where = urlsplit(self.path).path
        if urlsplit(self.path).query.startswith("uploads"):
            self.store.parts[where] = {}
            return self._answer(200, self._xml("InitiateMultipartUploadResult", UploadId="1"))
        self.store.objects[where] = b"".join(body for _, body in sorted(self.store.parts[where].items()))
        return self._answer(200, self._xml("CompleteMultipartUploadResult", ETag="x"))

    def do_HEAD(self) -> None:
        found = self.store.objects.get(urlsplit(self.path).path)
        self._answer(404 if found is None else 200, "", length=len(found or b""))

    def _body(self) -> bytes:
        self._trailer = ""
        if "aws-chunked" not in self.headers.get("Content-Encoding", ""):
            return self.rfile.read(int(self.headers.get("Content-Length", 0)))
        body = b""
        while size := int(self.rfile.readline().split(b";")[0], 16):
            body += self.rfile.read(size)
            self.rfile.readline()
        while line := self.rfile.readline().strip():
            if line.startswith(b"x-amz-checksum-sha256:"):
                self._trailer = line.partition(b":")[2].decode().strip()
        return body

    def _xml(self, name: str, **values: str) -> str:
        return f"<{name}>{''.join(f'<{key}>{value}</{key}>' for key, value in values.items())}</{name}>"

    def _answer(self, status: int, text: str, length: int | None = None, **headers: str) -> None:
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(text) if length is None else length))
        self.end_headers()
        self.wfile.write(text.encode())

    def log_message(self, *_: Any) -> None:
        """Silence."""
