"""Daphne with back-pressure: ``python -m orchestra.realtime.daphne_server`` takes the arguments of ``daphne``.

Only the server holds the transport, so three protections cannot live in a consumer:

- ``send`` waits while the far side does not read. Daphne's own ``send`` returns at once and collects
  the unsent bytes in memory, without a limit (django/daphne#170). ASGI servers such as uvicorn wait.
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

from orchestra.realtime.limits import LARGEST_MESSAGE_BEFORE_SIGN_IN

CLOSE_HANDSHAKE_S = 5.0  # for the far side to read what was sent before the close frame, and to answer it
MESSAGE_LIMIT = "orchestra.message_limit"  # an ASGI extension: the consumer sends {"type": this, "bytes": N}


class BackPressureProtocol(WebSocketProtocol):
    """One socket, as the push producer (Twisted's IPushProducer) of its own transport.

    The transport calls ``pauseProducing`` when more than 64 KiB are unsent, and ``resumeProducing``
    when all of them are gone.
    """

    def onConnect(self, request: Any) -> Any:
        self.writable = asyncio.Event()
        self.writable.set()
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

    # While the far side does not read, nothing is read from it either.

    def pauseProducing(self) -> None:
        self.writable.clear()
        self.transport.pauseProducing()

    def resumeProducing(self) -> None:
        self.writable.set()
        self.transport.resumeProducing()

    def stopProducing(self) -> None:
        self.writable.set()


class BackPressureServer(Server):
    """Daphne's server, whose ``send`` waits for the far side."""

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options, ready_callable=self._configure_sockets)

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
        if scope["type"] == "websocket":
            scope["extensions"] = {MESSAGE_LIMIT: {}}
        return super().create_application(protocol, scope)

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
