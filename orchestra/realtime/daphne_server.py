"""Daphne with back-pressure: ``python -m orchestra.realtime.daphne_server`` takes the arguments of ``daphne``.

Only the server holds the transport, so these protections cannot live in a consumer:

- ``send`` waits while the far side does not read. Daphne's own ``send`` returns at once and collects
  the unsent bytes in memory, without a limit (django/daphne#170). ASGI servers such as uvicorn wait.
- Nothing is read from a client while ``MOST_WAITING`` of its messages wait for the consumer. Daphne's own
  queue has no limit, so a client that sends faster than it is answered would fill the memory.
- A client that sends frames of any kind far above the allowed rate is cut off. Pings, empty fragments and what
  comes after the close frame never reach a consumer.
- A message that is too long is refused before it is in memory, and with close code 1009.
- A socket may be closed with any registered code. Autobahn's ``sendClose`` refuses 1009, 1011 and 1013.

This module uses Daphne's extension point (``CommandLineInterface.server_class``) and subclasses of its
public classes. The consumer speaks plain ASGI and works under any other server.
"""

import asyncio
from typing import Any

from daphne.server import Server  # first: the import installs Twisted's asyncio reactor

from daphne.cli import CommandLineInterface  # isort: skip
from daphne.ws_protocol import WebSocketProtocol  # isort: skip

from orchestra.realtime.limits import FRAME_BURST, FRAMES_PER_SECOND, LARGEST_MESSAGE_BEFORE_SIGN_IN, RateLimiter

CLOSE_HANDSHAKE_S = 5.0  # for the far side to read what was sent before the close frame, and to answer it
MOST_WAITING = 16  # received messages that wait for the consumer
MESSAGE_LIMIT = "orchestra.message_limit"  # an ASGI extension: the consumer sends {"type": this, "bytes": N}
PROTOCOL = "orchestra.protocol"  # in the scope on its way to ``BackPressureServer._run_application`` only


class BackPressureProtocol(WebSocketProtocol):
    """One socket, as the push producer (Twisted's IPushProducer) of its own transport.

    The transport calls ``pauseProducing`` when more than 64 KiB are unsent, and ``resumeProducing``
    when all of them are gone.
    """

    def onConnect(self, request: Any) -> Any:
        self.writable = asyncio.Event()
        self.writable.set()
        self.has_room = True
        self.frame_limiter = RateLimiter(FRAME_BURST, FRAMES_PER_SECOND)
        return super().onConnect(request)

    def onOpen(self) -> None:
        self.unregisterProducer()  # the HTTP request that became this socket was the producer
        self.registerProducer(self, True)
        super().onOpen()

    def serverSend(self, content: Any, binary: bool = False) -> None:
        """Send a message of any length; ``sendMessage`` would limit it to the size of received ones."""
        if self.state == self.STATE_OPEN:
            payload = content if binary else content.encode()
            self.sendPreparedMessage(self.factory.prepareMessage(payload, binary, doNotCompress=True))

    def sendData(self, data: bytes, sync: bool = False, chopsize: int | None = None) -> None:
        """Write to the transport, without the log line that Autobahn formats and colours even if logging is off.

        That line is most of the cost of a frame; ``sync`` and ``chopsize`` exist for tests of protocols.
        """
        self.transport.write(data)

    def serverClose(self, code: int | None = None) -> None:
        """Start the closing handshake; unlike ``sendClose``, ``sendCloseFrame`` takes every code."""
        self.sendCloseFrame(code=1000 if code is None else code)

    def limit_messages(self, size: int) -> None:
        """Refuse received messages above ``size`` bytes, compressed ones after inflation."""
        self.maxMessagePayloadSize = self.maxFramePayloadSize = size

    # Nothing is read from the far side while it does not read, or while its messages wait for the consumer.

    def pauseProducing(self) -> None:
        self.writable.clear()
        self.transport.pauseProducing()

    def resumeProducing(self) -> None:
        self.writable.set()
        if self.has_room:
            self.transport.resumeProducing()

    def onFrameBegin(self) -> None:
        super().onFrameBegin()
        if not self.frame_limiter.take():
            self.dropConnection(abort=True)

    def onMessage(self, payload: bytes, isBinary: bool) -> None:
        if self.state != self.STATE_OPEN:
            return  # after the close frame
        super().onMessage(payload, isBinary)
        if self.has_room and self.application_queue.qsize() >= MOST_WAITING:
            self.has_room = False
            self.transport.pauseProducing()

    def message_taken(self) -> None:
        """The consumer has taken a message, so there is room for others."""
        if not self.has_room and self.application_queue.qsize() < MOST_WAITING:
            self.has_room = True
            if self.writable.is_set() and self.state != self.STATE_CLOSED:
                self.transport.resumeProducing()

    def stopProducing(self) -> None:
        self.writable.set()


class BackPressureServer(Server):
    """Daphne's server, whose ``send`` waits for the far side, and which reads no faster than the application."""

    def __init__(self, application: Any, *args: Any, **options: Any) -> None:
        super().__init__(self._run_application, *args, **options, ready_callable=self._configure_sockets)
        self._inner = application

    def _configure_sockets(self) -> None:
        """``run`` calls this before the first connection."""
        self.ws_factory.protocol = BackPressureProtocol
        self.ws_factory.setProtocolOptions(
            failByDrop=False,  # send the close code before the connection is cut
            closeHandshakeTimeout=CLOSE_HANDSHAKE_S,
            maxMessagePayloadSize=LARGEST_MESSAGE_BEFORE_SIGN_IN,
            maxFramePayloadSize=LARGEST_MESSAGE_BEFORE_SIGN_IN,
            allowNullOrigin=True,  # as Daphne has it: the consumer checks the origin; left out, this means False
        )

    def create_application(self, protocol: Any, scope: dict[str, Any]) -> Any:
        scope["root_path"] = self.root_path  # Daphne lets any client choose it by the header Daphne-Root-Path
        if scope["type"] == "websocket":
            scope |= {"extensions": {MESSAGE_LIMIT: {}}, PROTOCOL: protocol}
        return super().create_application(protocol, scope)

    async def _run_application(self, scope: dict[str, Any], receive: Any, send: Any) -> Any:
        protocol = scope.pop(PROTOCOL, None)
        if protocol is None:
            return await self._inner(scope, receive, send)

        async def receive_and_make_room() -> Any:
            message = await receive()
            protocol.message_taken()
            return message

        return await self._inner(scope, receive_and_make_room, send)

    async def handle_reply(self, protocol: Any, message: dict[str, Any]) -> None:
        if message["type"] == MESSAGE_LIMIT:
            protocol.limit_messages(message["bytes"])
            return
        if message["type"] == "websocket.send":
            await protocol.writable.wait()
        await super().handle_reply(protocol, message)


class CommandLine(CommandLineInterface):
    """The command line of ``daphne``."""

    server_class = BackPressureServer


if __name__ == "__main__":
    CommandLine.entrypoint()
