"""A TCP proxy before PostgreSQL that cuts connections half-way through what is being said.

The server itself only ever ends a connection between two statements, or with a word of farewell. A network does not:
a request arrives by half, an answer gets lost although its statement was done (and its COMMIT made), or breaks off.
"""

import contextlib
import random
import socket
import threading
from collections import deque
from collections.abc import Iterator
from typing import Literal

Way = Literal["half a request", "no answer", "half an answer"]
WAYS: tuple[Way, ...] = ("half a request", "no answer", "half an answer")
CHUNK_BYTES = 64 * 1024


class Proxy:
    """Forwards each connection to the unix socket ``upstream``; ``cut`` arms cuts that hit whoever speaks next."""

    def __init__(self, upstream: str) -> None:
        self.upstream = upstream
        self.cuts_made = 0
        self._armed: deque[Way] = deque()
        self._listener = socket.create_server(("127.0.0.1", 0), backlog=200)
        self.port = int(self._listener.getsockname()[1])
        threading.Thread(target=self._accept, name="proxy", daemon=True).start()

    def cut(self, chance: random.Random, count: int) -> None:
        """Cut ``count`` connections, each in some way, at the next thing that is said on them."""
        self._armed.extend(chance.choice(WAYS) for _ in range(count))

    def close(self) -> None:
        self._listener.close()

    def _accept(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                client, _ = self._listener.accept()
                threading.Thread(target=self._connect, args=(client,), daemon=True).start()

    def _connect(self, client: socket.socket) -> None:
        server = socket.socket(socket.AF_UNIX)
        try:
            server.connect(self.upstream)
        except OSError:  # the server is away
            client.close()
            return
        client.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        threading.Thread(target=self._pump, args=(client, server, True), daemon=True).start()
        self._pump(server, client, False)

    def _pump(self, source: socket.socket, sink: socket.socket, request: bool) -> None:
        with contextlib.suppress(OSError):
            while data := source.recv(CHUNK_BYTES):
                way = self._take(request)
                if way is not None:
                    self.cuts_made += 1
                    if way != "no answer":
                        sink.sendall(data[: len(data) // 2])
                    break
                sink.sendall(data)
        for end in (source, sink):
            with contextlib.suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)
        if not request:
            source.close()
            sink.close()

    def _take(self, request: bool) -> Way | None:
        """The cut that is next, if it is one of this direction."""
        with contextlib.suppress(IndexError):
            if (self._armed[0] == "half a request") is request:
                return self._armed.popleft()
        return None


@contextlib.contextmanager
def before(upstream: str) -> Iterator[Proxy]:
    """A proxy for the length of a ``with``."""
    proxy = Proxy(upstream)
    try:
        yield proxy
    finally:
        proxy.close()
