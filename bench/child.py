"""Processes of a bench: each reads JSON commands on stdin and writes JSON responses on stdout, one
per line.
"""

import contextlib
import fcntl
import json
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

START_GUARD_S = 120.0


class ChildFailed(Exception):
    """A process of the bench ended without a response; the message is the end of its stderr."""


class Child:
    """A process that runs ``python -m module role`` and serves commands until its stdin is closed."""

    def __init__(self, module: str, role: str, *, env: Mapping[str, str], log: Path) -> None:
        self._log = log
        with log.open("wb") as stderr:
            self._process = subprocess.Popen(
                [sys.executable, "-m", module, role], env=dict(env), text=True,
                stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=stderr,
            )  # fmt: skip

    def call(self, name: str, **arguments: Any) -> Any:
        """Run one command in the child and return its response.

        Raises:
            ChildFailed: the child ended.
        """
        assert self._process.stdin
        with contextlib.suppress(BrokenPipeError):
            self._process.stdin.write(json.dumps([name, arguments]) + "\n")
            self._process.stdin.flush()
        return self.answer()

    def answer(self) -> Any:
        """Return the child's next response; the first one is "ready".

        Raises:
            ChildFailed: the child ended.
        """
        assert self._process.stdout
        answer = self._process.stdout.readline()
        if not answer:
            raise ChildFailed(self._log.read_text(errors="replace")[-4000:])
        return json.loads(answer)

    def close(self) -> None:
        assert self._process.stdin
        self._process.stdin.close()
        try:
            self._process.wait(10)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()


def serve(**commands: Callable[..., Any]) -> None:
    """Serve commands in the child; call it when all listeners are ready."""
    print(json.dumps("ready"), flush=True)
    for line in sys.stdin:
        name, arguments = json.loads(line)
        print(json.dumps(commands[name](**arguments)), flush=True)


@contextmanager
def starting_together(folder: Path, count: int) -> Iterator[None]:
    """Start ``count`` stub CLIs inside the ``with``; at its end all have started and send requests
    at once.
    """
    with (folder / "gate").open("w") as gate:
        fcntl.flock(gate, fcntl.LOCK_EX)
        yield
        until = time.monotonic() + START_GUARD_S
        while len(list(folder.glob("ready-*"))) < count:
            if time.monotonic() > until:
                raise ChildFailed("the stub CLIs did not start")
            time.sleep(0.02)
        time.sleep(0.3)  # by then the supervisor has written the rows of the start
