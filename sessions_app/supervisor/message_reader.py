"""Reads the messages of one agent's process."""

import time
from collections.abc import Iterator

from sessions_app.supervisor.cli.process import CliProcess, ProcessEvents
from sessions_app.supervisor.cli.protocol import LineFramer, Message, join_deltas, parse

DRAIN_S = 1.0  # how long the stdout of an exited process is still read while a grandchild holds it open
PIPE_BYTES = 64 * 1024  # more than this cannot come from the process itself once it has exited


class MessageReader:
    """Waits for the process, and cuts what it writes into messages."""

    def __init__(self, process: CliProcess, *, line_cap_bytes: int) -> None:
        self._process = process
        self._framer = LineFramer(line_cap_bytes)
        self._events = ProcessEvents()
        self._exited_at: float | None = None
        self._drained_bytes = 0

    def wait(self, until: float) -> ProcessEvents:
        """Sleep until something happens, or until a moment of the monotonic clock; return what
        happened.
        """
        if self._exited_at is not None:
            until = min(until, self._exited_at + DRAIN_S)
        self._events = self._process.wait(until - time.monotonic())
        return self._events

    def messages(self) -> Iterator[Message]:
        """The messages that the output of the last wait completes."""
        return join_deltas(map(parse, self._framer.feed(self._events.output)))

    def has_ended(self, *, is_paused: bool) -> bool:
        """Whether the process has exited and everything it wrote was read; ``is_paused`` says that
        nothing is read.
        """
        if not self._events.has_exited:
            return False
        now = time.monotonic()
        self._exited_at = self._exited_at or now
        self._drained_bytes += len(self._events.output)
        if self._events.is_stdout_closed or self._drained_bytes > PIPE_BYTES:
            return True
        return not (self._events.output or is_paused) and now >= self._exited_at + DRAIN_S

    def last_messages(self) -> Iterator[Message]:
        """What the process wrote without a newline at the end; call it once the process has ended."""
        return map(parse, self._framer.rest())
