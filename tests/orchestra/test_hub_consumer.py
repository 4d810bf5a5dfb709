"""The hub's consumer and middleware by themselves, without a server: what does not depend on one."""

import asyncio
import json
from collections.abc import Awaitable, Callable
from typing import Any

import pytest
from channels.testing import WebsocketCommunicator

from config.asgi import application
from orchestra.realtime import consumers
from orchestra.realtime.limits import BURST_BEFORE_SIGN_IN, LARGEST_MESSAGE_BEFORE_SIGN_IN

OWN_PAGE = [(b"host", b"localhost:5284"), (b"origin", b"http://localhost:5284")]
Socket = WebsocketCommunicator
PATIENCE_S = 30.0


def on_socket(work: Callable[[Socket], Awaitable[None]], headers: Any = (), path: str = "/ws/hub") -> None:
    """Run ``work`` with a socket that has not been connected yet."""

    async def main() -> None:
        socket = Socket(application, path, headers=list(headers))
        try:
            await work(socket)
        finally:
            await socket.disconnect(timeout=PATIENCE_S)

    asyncio.run(main())


async def connected(socket: Socket) -> None:
    assert await socket.connect(PATIENCE_S) == (True, None)


async def code_of(socket: Socket) -> Any:
    """Return the code with which the server closes; messages before it are dropped."""
    while (message := await socket.receive_output(PATIENCE_S))["type"] != "websocket.close":
        assert message["type"] == "websocket.send"
    return message["code"]


def test_a_foreign_page_is_closed_with_its_code() -> None:
    async def work(socket: Socket) -> None:
        await connected(socket)
        assert await code_of(socket) == 4403

    on_socket(work, [(b"host", b"localhost:5284"), (b"origin", b"http://evil.example")])


def test_an_address_without_a_consumer_refuses_the_handshake() -> None:
    async def work() -> None:
        socket = Socket(application, "/ws/other")
        assert (await socket.connect(PATIENCE_S))[0] is False

    asyncio.run(work())


@pytest.mark.parametrize("headers", [(), OWN_PAGE], ids=["program", "page without a session"])
def test_a_request_before_the_sign_in_gets_an_error_with_its_ref(headers: Any) -> None:
    async def work(socket: Socket) -> None:
        await connected(socket)
        await socket.send_json_to({"type": "ping", "ref": 7})
        answer = await socket.receive_json_from(PATIENCE_S)
        assert (answer["type"], answer["ref"], answer["code"]) == ("error", 7, "not_authenticated")
        await socket.send_to(bytes_data=b"{}")
        assert (await socket.receive_json_from(PATIENCE_S))["code"] == "invalid"

    on_socket(work, headers)


def test_a_long_message_before_the_sign_in_closes_the_socket_under_any_server() -> None:
    async def work(socket: Socket) -> None:
        await connected(socket)
        await socket.send_to(text_data="x" * (LARGEST_MESSAGE_BEFORE_SIGN_IN + 1))
        assert await code_of(socket) == 1009

    on_socket(work)


def test_messages_above_the_allowed_rate_close_the_socket_before_the_sign_in() -> None:
    async def work(socket: Socket) -> None:
        await connected(socket)
        for _ in range(BURST_BEFORE_SIGN_IN + 1):
            await socket.send_to(text_data="[]")
        assert await code_of(socket) == 4429

    on_socket(work)


def test_the_deadline_of_the_sign_in_closes_the_socket(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(consumers, "SIGN_IN_S", 0.05)

    async def work(socket: Socket) -> None:
        await connected(socket)
        assert await code_of(socket) == 4401
        await socket.send_json_to({"type": "ping"})
        assert await socket.receive_nothing(0.2), "a closing socket does not answer"

    on_socket(work)


def test_a_client_that_does_not_read_is_closed(monkeypatch: pytest.MonkeyPatch) -> None:
    """The server's ``send`` waits for ever here, as a server with back-pressure does then."""
    monkeypatch.setattr(consumers, "SLOW_S", 0.05)
    sent: list[Any] = []

    async def main() -> None:
        requests: asyncio.Queue[Any] = asyncio.Queue()
        closed = asyncio.Event()

        async def send(message: Any) -> None:
            sent.append(message)
            if message["type"] == "websocket.close":
                closed.set()
            if message["type"] == "websocket.send":
                await asyncio.Event().wait()

        scope = {"type": "websocket", "path": "/ws/hub", "headers": []}
        serving = asyncio.create_task(application(scope, requests.get, send))
        requests.put_nowait({"type": "websocket.connect"})
        requests.put_nowait({"type": "websocket.receive", "text": json.dumps({"type": "ping"})})
        await asyncio.wait_for(closed.wait(), PATIENCE_S)
        requests.put_nowait({"type": "websocket.disconnect", "code": 1013})
        await asyncio.wait_for(serving, PATIENCE_S)

    asyncio.run(main())
    assert sent[-1] == {"type": "websocket.close", "code": 1013}
