"""The process runner behind ``manage.py up``: it starts programs, merges their logs, restarts and
stops them.

``up`` builds a `Plan` with Django loaded and then replaces itself by this module, which needs only
the standard library and little memory. The plan is passed through a pipe because it contains a
sign-in link, which other accounts could read in a command line or an environment.

Each program runs in its own session, so Ctrl-C reaches only the runner, which stops the programs in
order. ``setpriv`` makes the kernel send them SIGTERM when the runner is killed. The kernel sends it
when the *thread* that started a process ends, so only the main thread starts processes.
"""

import http.client
import json
import logging
import os
import queue
import select
import signal
import subprocess
import sys
import threading
import time
from collections import deque
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from functools import cache
from pathlib import Path
from types import FrameType
from typing import NoReturn, Self
from urllib.parse import urlsplit

from orchestra.logs.file import LogFile
from orchestra.logs.redaction import learn, scrub, visible
from orchestra.runtime import embedded

TICK_S = 0.5
LONGEST_LINE = 64 * 1024
TERMINAL_QUEUE_LINES = 5000
LONGEST_BACKOFF_S = 30.0
EXITS_TO_GIVE_UP, EXITS_WITHIN_S = 5, 60.0
READY_TIMEOUT_S = 20.0
FINAL_OUTPUT_S = 1.0
JOINED = {"ORCHESTRA_LOG_JOINED": "on"}  # the runner writes the log file, not the programs


@dataclass(frozen=True, slots=True, kw_only=True)
class Program:
    """One process to keep running. Programs stop in the order of ``stops``, equal ones together.

    ``socket`` is a Redis socket and ``url`` an HTTP address that must answer before the next
    program starts: on a small machine the web process is ready in half the time if the others wait
    for it.
    """

    name: str
    command: list[str]
    stops: int
    grace_s: float
    environment: dict[str, str] = field(default_factory=dict)
    socket: str = ""
    url: str = ""
    own_log: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """The input of the runner. ``banner`` is printed to the terminal, not the log, when all
    programs answer.
    """

    programs: list[Program]
    directory: str
    log_file: str
    log_days: int
    log_as_json: bool
    banner: str
    secrets: list[str]

    @classmethod
    def read_from(cls, reading: int) -> Self:
        """Read the plan that `replace_process` wrote into the pipe."""
        with os.fdopen(reading, "rb") as pipe:
            plan = json.load(pipe)
        return cls(**plan | {"programs": [Program(**program) for program in plan["programs"]]})


def replace_process(plan: Plan, *, keep: Iterable[int] = ()) -> NoReturn:
    """Replace this process by the runner, which keeps the descriptors in ``keep`` open; programs do
    not get them.
    """
    reading, writing = os.pipe()
    os.write(writing, json.dumps(asdict(plan)).encode())  # a few KiB, which fit into the pipe's buffer
    os.close(writing)
    for descriptor in (reading, *keep):
        os.set_inheritable(descriptor, True)
    sys.stdout.flush()
    os.chdir(plan.directory)
    os.execv(sys.executable, [sys.executable, "-m", "orchestra.runtime.runner", str(reading)])


class Output:
    """Merges the programs' output: the log file gets every line, the terminal as many as it can
    read.

    A stopped terminal (Ctrl-S, a pager) must not block the programs, so it has a bounded queue.
    """

    def __init__(self, log: LogFile, *, as_json: bool) -> None:
        self._log = log
        self._as_json = as_json
        self._colours = sys.stdout.isatty() and "NO_COLOR" not in os.environ
        self._queue: queue.Queue[str | None] = queue.Queue(TERMINAL_QUEUE_LINES)
        self._thread = threading.Thread(target=self._show_all, daemon=True)
        self._thread.start()

    def line(self, name: str, text: str) -> None:
        """Write a line of a program: JSON goes to the file unchanged, other text with the program's
        name before it.
        """
        text = visible(scrub(text))
        self._log.write(text if text.startswith("{") else f"{name:<8} | {text}")
        colour = 31 + sum(name.encode()) % 6
        self.show(f"\x1b[{colour}m{name:<8} |\x1b[0m {text}" if self._colours else f"{name:<8} | {text}")

    def log(self, level: int, text: str) -> None:
        """Write a line of the runner itself, in the format of the other log lines."""
        now, name = datetime.now(UTC), logging.getLevelName(level)
        if self._as_json:
            facts = {"event": text, "level": name.lower(), "logger": "runner", "timestamp": now.isoformat()}
            self.line("runner", json.dumps(facts))
        else:
            self.line("runner", f"{now:%H:%M:%S}.{now.microsecond // 1000:03} {name:<8} runner: {text}")

    def show(self, text: str) -> None:
        """Print ``text`` to the terminal only; drop it if the terminal's queue is full."""
        with suppress(queue.Full):
            self._queue.put_nowait(text)

    def close(self) -> None:
        """Wait for at most `FINAL_OUTPUT_S` until the terminal has the last lines."""
        self.show("")
        with suppress(queue.Full):
            self._queue.put_nowait(None)
        self._thread.join(FINAL_OUTPUT_S)

    def _show_all(self) -> None:
        while (text := self._queue.get()) is not None:
            with suppress(OSError, ValueError):  # the terminal was closed; the programs keep running
                sys.stdout.write(f"{text}\n" if text else "")
                sys.stdout.flush()


class Child:
    """A program and its current process."""

    def __init__(self, program: Program, output: Output) -> None:
        self.program = program
        self.name = program.name
        self._output = output
        self._exits: deque[float] = deque(maxlen=EXITS_TO_GIVE_UP)
        self._log = f" (its own log: {program.own_log})" if program.own_log else ""
        self._pump: threading.Thread | None = None
        self.process: subprocess.Popen[bytes] | None = None
        self.start_at = 0.0

    def start(self) -> None:
        """Start the process. Only the main thread may call this (see the module's docstring)."""
        self.process = subprocess.Popen(
            [*_end_with_parent(), *self.program.command],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            start_new_session=True,
            env=os.environ | JOINED | self.program.environment,
        )
        self._pump = threading.Thread(target=self._read_all, args=(self.process,), daemon=True)
        self._pump.start()

    @property
    def is_alive(self) -> bool:
        return self.process is not None and self.process.poll() is None

    def handle_exit(self, now: float) -> bool:
        """Record an unexpected exit and schedule the restart; return False after too many exits."""
        if self.process is None:
            return True
        self.kill_group()
        code, self.process = self.process.returncode, None
        self._exits.append(now)
        recent = sum(1 for death in self._exits if now - death < EXITS_WITHIN_S)
        self.start_at = now + min(2.0 ** (recent - 1), LONGEST_BACKOFF_S)
        given_up = recent >= EXITS_TO_GIVE_UP
        then = "it keeps dying, giving up" if given_up else f"starting it again in {self.start_at - now:.0f} s"
        self._output.log(logging.ERROR, f"{self.name} ended {_describe_exit(code)}{self._log}; {then}")
        return not given_up

    def terminate(self) -> None:
        if self.process is not None and self.is_alive:
            self.process.send_signal(signal.SIGTERM)  # only to the group's leader, which stops its own children

    def finish(self) -> None:
        """Kill what is left of the process group, and read the rest of its output."""
        if self.process is None:
            return
        if self.is_alive:
            self._output.log(logging.WARNING, f"{self.name} did not stop in time and was killed")
        self.kill_group()
        self.process.wait()
        if self._pump is not None:
            self._pump.join(FINAL_OUTPUT_S)

    def kill_group(self) -> None:
        """Kill the process group, whose id is the pid of its leader."""
        if self.process is not None:
            with suppress(ProcessLookupError, PermissionError):
                os.killpg(self.process.pid, signal.SIGKILL)

    def _read_all(self, process: subprocess.Popen[bytes]) -> None:
        if process.stdout is None:
            return
        while line := process.stdout.readline(LONGEST_LINE):
            if text := line.decode(errors="replace").rstrip():
                self._output.line(self.name, text)


class Runner:
    """Keeps the programs of a plan running until a signal stops it or one of them exits too often."""

    def __init__(self, plan: Plan) -> None:
        self._plan = plan
        self._output = Output(LogFile(Path(plan.log_file), days=plan.log_days), as_json=plan.log_as_json)
        self._children: list[Child] = []
        self._is_stopping = False
        self._kills_now = False
        self._awake, self._wake = os.pipe()

    def run(self) -> int:
        """Run until a signal arrives; return the exit code."""
        self._listen_to_signals()
        fine = self._start_all() and self._keep_running()
        self._stop_all()
        self._output.close()
        return 0 if fine else 1

    def _listen_to_signals(self) -> None:
        os.set_blocking(self._wake, False)
        signal.set_wakeup_fd(self._wake, warn_on_full_buffer=False)
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            signal.signal(number, self._on_stop)
        signal.signal(signal.SIGCHLD, lambda *_: None)  # a handler is needed for the wakeup descriptor

    def _on_stop(self, _number: int, _frame: FrameType | None) -> None:
        self._kills_now = self._is_stopping
        self._is_stopping = True

    def _start_all(self) -> bool:
        """Start the programs one after the other; return False if one exits too often."""
        for program in self._plan.programs:
            child = Child(program, self._output)
            self._children.append(child)
            child.start()
            answered = self._watch_readiness(program)
            deadline = time.monotonic() + READY_TIMEOUT_S
            while not (answered.is_set() or self._is_stopping or time.monotonic() > deadline):
                if not self._restart_exited():
                    return False
                self._sleep(TICK_S)
            if self._is_stopping:
                return True
        self._output.log(logging.INFO, "ready")
        self._output.show(self._plan.banner)
        return True

    def _watch_readiness(self, program: Program) -> threading.Event:
        """Return an event that is set, and wakes the main thread, when the program answers.

        A program without a socket or an address counts as ready at once.
        """
        answered = threading.Event()

        def poll() -> None:
            while not _answers(program):
                time.sleep(0.05)
            answered.set()
            os.write(self._wake, b"\0")

        threading.Thread(target=poll, daemon=True).start()
        return answered

    def _keep_running(self) -> bool:
        """Return True when a signal stops the runner, False when a program exits too often."""
        while not self._is_stopping:
            self._sleep(TICK_S)
            if not self._restart_exited():
                return False
        return True

    def _restart_exited(self) -> bool:
        """Restart exited programs whose delay is over; return False if one exited too often."""
        now = time.monotonic()
        for child in self._children:
            if child.is_alive or self._is_stopping:
                continue
            if child.process is not None and not child.handle_exit(now):
                return False
            if now >= child.start_at:
                child.start()
        return True

    def _stop_all(self) -> None:
        began = time.monotonic()
        self._output.log(logging.INFO, "stopping; once more Ctrl-C kills at once")
        for order in sorted({child.program.stops for child in self._children}):
            together = [child for child in self._children if child.program.stops == order]
            for child in together:
                child.terminate()
            asked = time.monotonic()
            while any(time.monotonic() < asked + child.program.grace_s for child in together if child.is_alive):
                if self._kills_now:
                    break
                self._sleep(TICK_S)
            for child in together:
                child.finish()
        self._output.log(logging.INFO, f"everything stopped in {time.monotonic() - began:.1f} s")

    def _sleep(self, seconds: float) -> None:
        """Wait for ``seconds``, or until a signal, the exit of a child or a program's first answer."""
        if select.select([self._awake], [], [], seconds)[0]:
            os.read(self._awake, 512)


@cache
def _end_with_parent() -> tuple[str, ...]:
    """Return the prefix of a command that ends it with the runner; empty if the system lacks
    ``setpriv``.
    """
    words = ("setpriv", "--pdeathsig", "TERM", "--")
    try:
        able = subprocess.run([*words, "true"], capture_output=True, check=False).returncode == 0
    except FileNotFoundError:
        able = False
    return words if able else ()


def _describe_exit(code: int) -> str:
    if code >= 0:
        return f"with exit code {code}"
    with suppress(ValueError):
        return f"by {signal.Signals(-code).name}"
    return f"by signal {-code}"


def _answers(program: Program) -> bool:
    """Return whether a program is ready: its Redis socket answers PING, or its address with a
    status below 500.
    """
    if program.socket:
        return embedded.answers(Path(program.socket))
    if not program.url:
        return True
    parts = urlsplit(program.url)
    connection = http.client.HTTPConnection(parts.hostname or "", parts.port, timeout=5)
    try:
        connection.request("GET", parts.path)
        return connection.getresponse().status < 500
    except (OSError, http.client.HTTPException):
        return False
    finally:
        connection.close()


def main() -> int:
    os.umask(0o077)
    plan = Plan.read_from(int(sys.argv[1]))
    learn(*plan.secrets)
    return Runner(plan).run()


if __name__ == "__main__":
    sys.exit(main())
