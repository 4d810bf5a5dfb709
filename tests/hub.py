"""A client of ``/ws/hub`` made of an independent library, for tests."""

import contextlib
import json
from collections.abc import Callable, Iterator
from typing import Any

from websockets.exceptions import ConnectionClosed
from websockets.sync.client import ClientConnection, connect

PATIENCE_S = 60.0
Message = dict[str, Any]


class Client:
    """One socket; ``kept`` holds what was heard while something else was waited for."""

    def __init__(self, socket: ClientConnection) -> None:
        self.socket = socket
        self.kept: list[Message] = []
        self._refs = 0

    def say(self, kind: str, **fields: Any) -> None:
        self.socket.send(json.dumps({"type": kind, **fields}))

    def hear(self, timeout_s: float = PATIENCE_S) -> Message:
        """The next message, in the order they came."""
        return self.kept.pop(0) if self.kept else self._next(timeout_s)

    def until(self, fits: Callable[[Message], Any], timeout_s: float = PATIENCE_S) -> Message:
        """The first message that fits; the others stay to be heard."""
        for number, message in enumerate(self.kept):
            if fits(message):
                return self.kept.pop(number)
        while not fits(message := self._next(timeout_s)):
            self.kept.append(message)
        return message

    def ask(self, kind: str, **fields: Any) -> Message:
        """Send a request and return its answer, found by its ``ref``."""
        self._refs += 1
        self.say(kind, ref=self._refs, **fields)
        return self.until(lambda message: message.get("ref") == self._refs)

    def subscribe(self, topic: str, **fields: Any) -> Message:
        answer = self.ask("subscribe", topic=topic, **fields)
        assert answer["type"] == "snapshot", answer
        return answer

    def event(self, kind: str, topic: str | None = None, **payload: Any) -> Message:
        """The next event of that kind whose payload has these values."""
        return self.until(
            lambda message: (
                message.get("kind") == kind
                and topic in (None, message["topic"])
                and payload.items() <= message["payload"].items()
            )
        )

    def events(self, topic: str, count: int) -> list[Message]:
        """That many events of a topic, in order."""
        return [self.until(lambda m: m["type"] == "event" and m["topic"] == topic) for _ in range(count)]

    def silence(self, seconds: float) -> list[Message]:
        """What else is heard until nothing was said for that long."""
        with contextlib.suppress(TimeoutError):
            while True:
                self.kept.append(self._next(seconds))
        heard, self.kept = self.kept, []
        return heard

    def closed(self, timeout_s: float = PATIENCE_S) -> int:
        """The code the server closes with; whatever it says before stays to be heard."""
        try:
            while True:
                self.kept.append(self._next(timeout_s))
        except ConnectionClosed as end:
            return end.rcvd.code if end.rcvd else 1006

    def _next(self, timeout_s: float) -> Message:
        message: Message = json.loads(self.socket.recv(timeout_s))
        return message


@contextlib.contextmanager
def client(port: int, token: str = "", *, path: str = "/ws/hub", **options: Any) -> Iterator[Client]:
    """A socket, signed in if a token is given; ``options`` as for ``websockets.sync.client.connect``."""
    options = {"max_size": None, "compression": None, "open_timeout": PATIENCE_S, "close_timeout": 5} | options
    with connect(f"ws://127.0.0.1:{port}{path}", **options) as socket:
        mine = Client(socket)
        if token:
            assert mine.ask("authenticate", token=token)["type"] == "authenticated"
        yield mine
