"""One child process: spawn, read, write, end."""

import contextlib
import os
import selectors
import signal
import subprocess
import time
from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import IO

import psutil

READ_BYTES = 256 * 1024
STDERR_KEPT = 8 * 1024
STDERR_READS = 16
REAP_S = 2.0
CHILD_UMASK = 0o022  # files of the agent are the user's own, unlike Orchestra's


@dataclass(slots=True)
class ProcessEvents:
    """What happened during one wait. ``is_woken`` says that a watched descriptor became readable."""

    output: bytes = b""
    is_woken: bool = False
    is_stdout_closed: bool = False
    has_exited: bool = False


@dataclass(slots=True)
class CliProcess:
    """A running child with non-blocking pipes. It is used by one thread only."""

    child: subprocess.Popen[bytes]
    started: float
    _stdin: IO[bytes]
    _stdout: IO[bytes]
    _stderr_pipe: IO[bytes]
    _selector: selectors.BaseSelector = field(default_factory=selectors.DefaultSelector)
    _unsent: deque[memoryview] = field(default_factory=deque)
    _stderr: bytearray = field(default_factory=bytearray)
    _close_when_sent: bool = False
    _stdin_open: bool = True
    _stdout_open: bool = True
    _reading: bool = True
    _pidfd: int = -1

    @classmethod
    def spawn(cls, command: Sequence[str], env: Mapping[str, str], directory: str) -> "CliProcess":
        """Start ``command`` in a session and process group of its own.

        Never with ``preexec_fn``: it is slow from a large worker and unsafe with threads.

        Raises:
            OSError: the program or the directory cannot be used.
        """
        child = subprocess.Popen(
            list(command), env=dict(env), cwd=directory, start_new_session=True, umask=CHILD_UMASK, bufsize=0,
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
        )  # fmt: skip
        try:
            started = psutil.Process(child.pid).create_time()
        except psutil.NoSuchProcess:
            started = time.time()
        if not (child.stdin and child.stdout and child.stderr):
            raise OSError("a child without pipes")
        process = cls(child, started, child.stdin, child.stdout, child.stderr)
        for pipe in (child.stdin, child.stdout, child.stderr):
            os.set_blocking(pipe.fileno(), False)
        process._selector.register(child.stdout, selectors.EVENT_READ)
        process._selector.register(child.stderr, selectors.EVENT_READ)
        if hasattr(os, "pidfd_open"):  # Linux; elsewhere the end shows at the next timeout
            with contextlib.suppress(OSError):
                process._pidfd = os.pidfd_open(child.pid)
                process._selector.register(process._pidfd, selectors.EVENT_READ)
        return process

    @property
    def pid(self) -> int:
        return self.child.pid

    def watch(self, fd: int) -> None:
        """Let ``wait`` return as soon as ``fd`` is readable; the caller reads it."""
        self._selector.register(fd, selectors.EVENT_READ)

    def write(self, data: bytes) -> None:
        """Queue bytes for stdin; they go out as the child reads them."""
        if not self._stdin_open or self._close_when_sent:
            return
        if not self._unsent:
            self._selector.register(self._stdin, selectors.EVENT_WRITE)
        self._unsent.append(memoryview(data))
        self._flush()

    def close_input(self) -> None:
        """Close stdin once everything queued is out."""
        self._close_when_sent = True
        self._flush()

    def pause_reading(self, paused: bool) -> None:
        """Back-pressure: while paused the child blocks on its full pipe."""
        if self._stdout_open and paused == self._reading:
            self._reading = not paused
            if paused:
                self._selector.unregister(self._stdout)
            else:
                self._selector.register(self._stdout, selectors.EVENT_READ)

    def wait(self, timeout_s: float) -> ProcessEvents:
        """Sleep until something happens or ``timeout_s`` is over."""
        events = ProcessEvents()
        for key, _ in self._selector.select(max(0.0, timeout_s)):
            if key.fileobj is self._stdout:
                events.output = self._read_stdout()
            elif key.fileobj is self._stderr_pipe:
                self._read_stderr()
            elif key.fileobj is self._stdin:
                self._flush()
            elif key.fd == self._pidfd:
                self._selector.unregister(self._pidfd)
            else:
                events.is_woken = True
        events.is_stdout_closed, events.has_exited = not self._stdout_open, self.child.poll() is not None
        return events

    def signal(self, *, hard: bool) -> None:
        """TERM or KILL to the whole process group; a child that is gone is fine."""
        if self.child.returncode is None:
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.killpg(self.child.pid, signal.SIGKILL if hard else signal.SIGTERM)

    def end(self) -> int:
        """Kill the group if its leader still lives, close the pipes, reap; returns the exit code
        (negative: signal).

        A process that outlived a leader which ended by itself is left to the orphan reaper: the
        number of its group may be reused by now.
        """
        if self.child.poll() is None:
            self.signal(hard=True)
        with contextlib.suppress(subprocess.TimeoutExpired):
            self.child.wait(REAP_S)
        self._read_stderr()
        self._selector.close()
        if self._pidfd >= 0:
            os.close(self._pidfd)
        for pipe in (self._stdin, self._stdout, self._stderr_pipe):
            with contextlib.suppress(OSError):
                pipe.close()
        return self.child.returncode if self.child.returncode is not None else -signal.SIGKILL

    def stderr(self) -> str:
        """The end of what the child wrote to stderr."""
        return self._stderr.decode(errors="replace")

    def _read_stdout(self) -> bytes:
        try:
            data = os.read(self._stdout.fileno(), READ_BYTES)
        except BlockingIOError:
            return b""
        if not data:
            self._stdout_open = False
            self._selector.unregister(self._stdout)
        return data

    def _read_stderr(self) -> None:
        try:
            for _ in range(STDERR_READS):  # a flood of errors must not block the supervisor
                data = os.read(self._stderr_pipe.fileno(), READ_BYTES)
                if not data:
                    break
                self._stderr = (self._stderr + data)[-STDERR_KEPT:]
            else:
                return
        except (BlockingIOError, ValueError, OSError):
            return
        with contextlib.suppress(KeyError, ValueError):
            self._selector.unregister(self._stderr_pipe)

    def _flush(self) -> None:
        stdin = self._stdin
        try:
            while self._stdin_open and self._unsent:
                sent = os.write(stdin.fileno(), self._unsent[0][:READ_BYTES])
                rest = self._unsent[0][sent:]
                if rest:
                    self._unsent[0] = rest
                else:
                    self._unsent.popleft()
        except BlockingIOError:
            return
        except (BrokenPipeError, OSError):
            self._unsent.clear()
            self._close_stdin()
            return
        with contextlib.suppress(KeyError, ValueError):
            self._selector.unregister(stdin)
        if self._close_when_sent:
            self._close_stdin()

    def _close_stdin(self) -> None:
        stdin = self._stdin
        if self._stdin_open:
            self._stdin_open = False
            with contextlib.suppress(KeyError, ValueError):
                self._selector.unregister(stdin)
            with contextlib.suppress(OSError):
                stdin.close()
