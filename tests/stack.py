"""The whole of Orchestra as processes, as ``make run`` starts it, for tests that use it like a person would."""

import contextlib
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

import psutil
import requests

ROOT = Path(__file__).resolve().parent.parent
PATIENCE_S = 90.0
# A test run that is killed takes its stacks along.
ENDS_WITH_US = ["setpriv", "--pdeathsig", "TERM", "--"] if shutil.which("setpriv") else []
T = TypeVar("T")


def free_port() -> int:
    """A port nobody listens on right now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def until(what: Callable[[], T | None], why: str | Callable[[], str], patience_s: float = PATIENCE_S) -> T:
    """The first true answer of ``what``; fails the test with ``why``, as it is then, when patience is over."""
    end = time.monotonic() + patience_s
    while time.monotonic() < end:
        answer = what()
        if answer:
            return answer
        time.sleep(0.1)
    raise AssertionError(f"not within {patience_s:g} s: {why() if callable(why) else why}")


@dataclass
class Stack:
    """A running Orchestra with its own data folder and port."""

    folder: Path
    env: Mapping[str, str] = field(default_factory=dict)
    port: int = field(default_factory=free_port)
    token: str = ""
    process: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    @property
    def console_url(self) -> str:
        """Where a browser may be signed in, as it is printed: a private host of its own, if the console has one."""
        found = until(lambda: re.findall(r"^\s*Open\s+(http\S+)/$", self.log, re.MULTILINE), "the address is printed")
        return str(found[-1])

    @property
    def log(self) -> str:
        return (self.folder / "up.log").read_text(errors="replace")

    def environment(self) -> dict[str, str]:
        """A newcomer's environment: nothing of the test run's own database and broker."""
        foreign = ("DATABASE_URL", "REDIS_URL", "ORCHESTRA_", "DJANGO_", "APPROVAL_", "AGENT_", "TELEGRAM_", "PYTEST_")
        inherited = {k: v for k, v in os.environ.items() if not k.startswith(foreign)}
        own = {
            "ORCHESTRA_DATA_DIR": str(self.folder / "var"),
            "ORCHESTRA_PORT": str(self.port),
            "ORCHESTRA_ENV_FILE": "/dev/null",
            "AGENT_WORKING_ROOTS": str(self.folder / "workspaces"),
        }
        return inherited | own | dict(self.env)

    def start(self) -> "Stack":
        """Start everything and wait until the doors answer."""
        self.folder.mkdir(parents=True, exist_ok=True)
        (self.folder / "workspaces").mkdir(exist_ok=True)
        with (self.folder / "up.log").open("ab") as log:
            self.process = subprocess.Popen(
                [*ENDS_WITH_US, sys.executable, "manage.py", "up"], cwd=ROOT, env=self.environment(),
                stdout=log, stderr=subprocess.STDOUT, start_new_session=True,
            )  # fmt: skip
        until(self._healthy, lambda: f"the web process answers; log:\n{self.log[-3000:]}")
        if not self.token:
            self.token = (
                self.manage("create_token", "tester", "--create", "--group", "Administrator").strip().splitlines()[-1]
            )
        return self

    def _healthy(self) -> bool:
        assert self.process
        if self.process.poll() is not None:
            raise AssertionError(f"`manage.py up` ended with {self.process.returncode}:\n{self.log[-3000:]}")
        with contextlib.suppress(requests.RequestException):
            return requests.get(f"{self.url}/health", timeout=5).status_code == 200
        return False

    def stop(self, sig: int = signal.SIGINT) -> int:
        """Ctrl-C; the exit code of the runner."""
        assert self.process
        if self.process.poll() is None:
            self.process.send_signal(sig)
        return self.process.wait(60)

    def manage(self, *arguments: str, check: bool = True) -> str:
        """What a management command prints on stdout."""
        done = subprocess.run(
            [sys.executable, "manage.py", *arguments], cwd=ROOT, env=self.environment(),
            capture_output=True, text=True, timeout=PATIENCE_S, check=False, stdin=subprocess.DEVNULL,
        )  # fmt: skip
        assert not check or done.returncode == 0, done.stderr
        return done.stdout

    def call(self, method: str, path: str, body: Any = None, *, expect: int | None = None) -> Any:
        """One REST request as the administrator; the parsed answer."""
        headers = {"Authorization": f"Token {self.token}"}
        answer = requests.request(method, self.url + path, json=body, headers=headers, timeout=30)
        assert expect is None or answer.status_code == expect, f"{answer.status_code}: {answer.text[:500]}"
        return answer.json()

    def pending(self, session: str) -> dict[str, Any]:
        """The one open approval of a session, as soon as there is one."""
        path = f"/api/approvals?status=pending&session={session}"
        return until(lambda: next(iter(self.call("GET", path)["results"]), None), "an approval opens")

    def ended(self, session: str, turn: int = 1) -> dict[str, Any]:
        """The session once its turn with that number has ended."""

        def look() -> dict[str, Any] | None:
            detail = self.call("GET", f"/api/sessions/{session}", expect=200)
            at_rest = detail["status"] not in ("queued", "running", "waiting")  # read a moment before its turns
            done = [t for t in detail["turns"] if t["number"] == turn and t["status"] not in ("queued", "running")]
            return detail if done and at_rest else None

        return until(look, lambda: f"turn {turn} ends; log:\n{self.log[-3000:]}")

    def processes(self) -> list[psutil.Process]:
        """Everything that carries this installation's data folder or an agent's marker of it."""
        found = []
        mark = str(self.folder)
        for process in psutil.process_iter():
            with contextlib.suppress(psutil.Error, OSError):
                if process.pid != os.getpid() and (
                    mark in process.environ().get("ORCHESTRA_DATA_DIR", "") or mark in process.cwd()
                ):
                    found.append(process)
        return found

    def worker(self, name: str) -> psutil.Process:
        """The Celery worker process whose node name starts with ``name``."""
        found = self.worker_or_none(name)
        assert found, f"no worker {name}"
        return found

    def worker_or_none(self, name: str, *, not_pid: int = 0) -> psutil.Process | None:
        """The same, if there is one, and if it is not the process ``not_pid``."""
        for process in self.processes():
            with contextlib.suppress(psutil.Error):
                if process.pid != not_pid and any(word.startswith(f"{name}@") for word in process.cmdline()):
                    return process
        return None


@contextlib.contextmanager
def running(folder: Path, **env: str) -> Iterator[Stack]:
    """A stack for the length of a ``with``; whatever happens, none of its processes stays."""
    stack = Stack(folder, env)
    try:
        yield stack.start()
    finally:
        with contextlib.suppress(subprocess.TimeoutExpired):
            stack.stop()
        for process in stack.processes():
            with contextlib.suppress(psutil.Error):
                process.kill()
