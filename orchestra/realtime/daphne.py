"""What Daphne does not offer an ASGI application: whether the far side reads, and limits of one socket.

Daphne has no back-pressure (django/daphne#170): its ``send`` returns at once, and what a client does not read piles up
in memory. The transport below knows better, so we ask it, through Twisted's and Autobahn's public interfaces. Under
another server, whose ``send`` waits by itself, all of this does nothing.
"""

import asyncio
from collections.abc import Sequence
from typing import Any

Send = Any

GOODBYE_S = 5.0  # for the far side to read up to our close, and to answer it


def frame_head(size: int) -> bytes:
    """What stands before a server's text message of ``size`` bytes (RFC 6455, 5.2: one unmasked, final frame)."""
    if size <= 125:
        return bytes((0x81, size))
    if size <= 0xFFFF:
        return b"\x81\x7e" + size.to_bytes(2, "big")
    return b"\x81\x7f" + size.to_bytes(8, "big")


class TooSlow(Exception):
    """The far side has not read for too long."""


class Wire:
    """One socket's way out. More than ``bufferSize`` (64 KiB) unsent bytes close the gate until all are gone."""

    def __init__(self, send: Send) -> None:
        self._send = send
        self._open = asyncio.Event()
        self._open.set()
        arguments = getattr(send, "args", ())  # Daphne gives partial(Server.handle_reply, protocol)
        self._protocol: Any = arguments[0] if arguments and hasattr(arguments[0], "transport") else None
        if self._protocol is not None:
            self._protocol.failByDrop = False  # tell the client why (1009) before the line is cut
            self._protocol.closeHandshakeTimeout = GOODBYE_S
            self._protocol.unregisterProducer()  # that of the HTTP request which became this socket
            self._protocol.registerProducer(self, True)

    def take_at_most(self, size: int) -> None:
        """Longer messages (bytes) close the socket with 1009 before they are in memory."""
        if self._protocol is not None:
            self._protocol.maxMessagePayloadSize = self._protocol.maxFramePayloadSize = size

    async def room(self, patience_s: float) -> None:
        """Wait until the far side has read what was sent.

        Raises:
            TooSlow: it did not within ``patience_s``.
        """
        if not self._open.is_set():
            try:
                await asyncio.wait_for(self._open.wait(), patience_s)
            except TimeoutError:
                raise TooSlow from None

    async def send(self, texts: Sequence[str]) -> None:
        """Send text messages, in one write.

        Past Autobahn, which would word two log lines for each (most of what a frame costs) and which takes the limit
        on messages that come in for one on those that go out.
        """
        if self._protocol is None:
            for text in texts:
                await self._send({"type": "websocket.send", "text": text})
        elif self._protocol.state == self._protocol.STATE_OPEN:
            payloads = [text.encode() for text in texts]
            frames = [part for payload in payloads for part in (frame_head(len(payload)), payload)]
            self._protocol.transport.write(b"".join(frames))

    async def close(self, code: int) -> None:
        """Say goodbye; a far side that does not answer in time is cut off, and what it did not read forgotten.

        Not through ``websocket.close``: Autobahn's ``sendClose`` takes 1013 for an invalid code.
        """
        if self._protocol is None:
            await self._send({"type": "websocket.close", "code": code})
        else:
            self._protocol.sendCloseFrame(code=code)

    # Twisted's IPushProducer: the transport calls these. While it cannot write, nothing is read either.

    def pauseProducing(self) -> None:
        self._open.clear()
        self._protocol.transport.pauseProducing()

    def resumeProducing(self) -> None:
        self._open.set()
        self._protocol.transport.resumeProducing()

    def stopProducing(self) -> None:
        self._open.set()
