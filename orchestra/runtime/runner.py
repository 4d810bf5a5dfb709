"""The process runner behind ``manage.py up``: starts programs, joins their logs, restarts and stops them.

``up`` works out a `Plan` with all of Django at hand and then *becomes* this module, which needs the standard
library only and stays small. The plan arrives through a pipe, since it holds a sign-in link, and neither
a command line nor an environment is a place for one.

Each program runs in a session of its own: Ctrl-C reaches the runner alone, which stops the programs in order.
``setpriv`` has the kernel send them SIGTERM when the runner dies without a word. That signal follows the
*thread* that started a process, so only the main thread starts any.
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
JOINED = {"ORCHESTRA_LOG_JOINED": "on"}  # the programs leave the log file to us


@dataclass(frozen=True, slots=True, kw_only=True)
class Program:
    """One process to keep running. Those with the lowest ``stops`` are stopped first, equal ones together.

    ``socket`` names a Redis socket and ``url`` an address that must answer before the next program starts: on a
    small machine the web process is ready in half the time if the others wait for it.
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
    """All the runner has to know. ``banner`` goes to the terminal alone, once every address has answered."""

    programs: list[Program]
    directory: str
    log_file: str
    log_days: int
    log_as_json: bool
    banner: str
    secrets: list[str]

    @classmethod
    def read_from(cls, reading: int) -> Self:
        """The plan that `become` put into that pipe."""
        with os.fdopen(reading, "rb") as pipe:
            plan = json.load(pipe)
        return cls(**plan | {"programs": [Program(**program) for program in plan["programs"]]})


def replace_process(plan: Plan, *, keep: Iterable[int] = ()) -> NoReturn:
    """Replace this process by the runner; the descriptors of ``keep`` stay open in it, and in no program."""
    reading, writing = os.pipe()
    os.write(writing, json.dumps(asdict(plan)).encode())  # a few KiB, which every pipe holds
    os.close(writing)
    for descriptor in (reading, *keep):
        os.set_inheritable(descriptor, True)
    sys.stdout.flush()
    os.chdir(plan.directory)
    os.execv(sys.executable, [sys.executable, "-m", "orchestra.runtime.runner", str(reading)])


class Output:
    """Joins all lines: the log file gets every one, the terminal as many as it can read.

    A terminal that was stopped (Ctrl-S, a pager) must not stop the programs, so it has a queue of its own.
    """

    def __init__(self, log: LogFile, *, as_json: bool) -> None:
        self._log = log
        self._as_json = as_json
        self._colours = sys.stdout.isatty() and "NO_COLOR" not in os.environ
        self._queue: queue.Queue[str | None] = queue.Queue(TERMINAL_QUEUE_LINES)
        self._thread = threading.Thread(target=self._show_all, daemon=True)
        self._thread.start()

    def line(self, name: str, text: str) -> None:
        """One line of a program: JSON goes to the file as it is, all else with the program's name before it."""
        text = visible(scrub(text))
        self._log.write(text if text.startswith("{") else f"{name:<8} | {text}")
        colour = 31 + sum(name.encode()) % 6
        self.show(f"\x1b[{colour}m{name:<8} |\x1b[0m {text}" if self._colours else f"{name:<8} | {text}")

    def log(self, level: int, text: str) -> None:
        """A line of the runner's own, in the form of everybody else's."""
        now, name = datetime.now(UTC), logging.getLevelName(level)
        if self._as_json:
            facts = {"event": text, "level": name.lower(), "logger": "runner", "timestamp": now.isoformat()}
            self.line("runner", json.dumps(facts))
        else:
            self.line("runner", f"{now:%H:%M:%S}.{now.microsecond // 1000:03} {name:<8} runner: {text}")

    def show(self, text: str) -> None:
        """Something for the terminal alone; dropped if the terminal is too far behind."""
        with suppress(queue.Full):
            self._queue.put_nowait(text)

    def close(self) -> None:
        """Give the terminal a moment to take the last lines."""
        self.show("")
        with suppress(queue.Full):
            self._queue.put_nowait(None)
        self._thread.join(FINAL_OUTPUT_S)

    def _show_all(self) -> None:
        while (text := self._queue.get()) is not None:
            with suppress(OSError, ValueError):  # the terminal is gone, the programs are not
                sys.stdout.write(f"{text}\n" if text else "")
                sys.stdout.flush()


class Child:
    """A program and its present process."""

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
        """Start it; from the main thread only."""
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
        """Note a death nobody asked for and when to try again; False if there were too many."""
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
            self.process.send_signal(signal.SIGTERM)  # the leader alone: it winds up its own children

    def finish(self) -> None:
        """End whatever is left of its group, and take its last words."""
        if self.process is None:
            return
        if self.is_alive:
            self._output.log(logging.WARNING, f"{self.name} did not stop in time and was killed")
        self.kill_group()
        self.process.wait()
        if self._pump is not None:
            self._pump.join(FINAL_OUTPUT_S)

    def kill_group(self) -> None:
        """Nothing of its process group outlives it; the group's number is its leader's id."""
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
    """Keeps the programs of a plan running until somebody asks it to stop, or one of them keeps dying."""

    def __init__(self, plan: Plan) -> None:
        self._plan = plan
        self._output = Output(LogFile(Path(plan.log_file), days=plan.log_days), as_json=plan.log_as_json)
        self._children: list[Child] = []
        self._is_stopping = False
        self._kills_now = False
        self._awake, self._wake = os.pipe()

    def run(self) -> int:
        """Run until told to stop; return the exit code."""
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
        signal.signal(signal.SIGCHLD, lambda *_: None)  # only to wake up

    def _on_stop(self, _number: int, _frame: FrameType | None) -> None:
        self._kills_now = self._is_stopping
        self._is_stopping = True

    def _start_all(self) -> bool:
        """Start one after the other; False if one keeps dying meanwhile."""
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
        """An event that is set, and wakes the main thread, once the program answers; at once if nobody can ask it."""
        answered = threading.Event()

        def ask() -> None:
            while not _answers(program):
                time.sleep(0.05)
            answered.set()
            os.write(self._wake, b"\0")

        threading.Thread(target=ask, daemon=True).start()
        return answered

    def _keep_running(self) -> bool:
        """True when asked to stop, False when a program keeps dying."""
        while not self._is_stopping:
            self._sleep(TICK_S)
            if not self._restart_exited():
                return False
        return True

    def _restart_exited(self) -> bool:
        """Start again what died, each in its time; False if one died too often."""
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
        """Wait, but not past a signal, the end of a child or an answer."""
        if select.select([self._awake], [], [], seconds)[0]:
            os.read(self._awake, 512)


@cache
def _end_with_parent() -> tuple[str, ...]:
    """The words before a command that end it with the runner; none where the system cannot."""
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
    """Whether a program is up: its Redis socket answers, its address does with anything but an error of its own."""
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
