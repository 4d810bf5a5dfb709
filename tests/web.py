"""A real web process over the test database."""

import contextlib
import http.client
import os
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import psutil
from django.db import connection

from tests.factories import make_user, token_for

PATIENCE_S = 90


class Web:
    """A Daphne of our own on a free port, over the test database."""

    def __init__(self, folder: Path, **environment: str) -> None:
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.port = free.getsockname()[1]
        known = connection.settings_dict
        url = f"postgres://{known['USER']}@/{known['NAME']}?host={known['HOST'] or known['OPTIONS'].get('host', '')}"
        server = [sys.executable, "-m", "orchestra.realtime.daphne_server"]
        command = [*server, "-b", "127.0.0.1", "-p", str(self.port), "config.asgi:application"]
        self.name = f"web-{self.port}"
        pool = {"DB_POOL_MIN_SIZE": "1", "DB_POOL_MAX_SIZE": "4"}
        own = {"DATABASE_URL": url, "PGAPPNAME": self.name} | pool | environment
        self.path_of_log = folder / "daphne.log"
        self.log = self.path_of_log.open("wb")
        self.process = subprocess.Popen(command, env=os.environ | own, stdout=self.log, stderr=self.log)
        self.token = token_for(make_user("ada", group="Administrator"))

    def connect(self) -> http.client.HTTPConnection:
        return http.client.HTTPConnection("127.0.0.1", self.port, timeout=PATIENCE_S)

    def ask(self, method: str, path: str, body: Any = None, **headers: str) -> http.client.HTTPResponse:
        own = {"Authorization": f"Token {self.token}", "Content-Type": "application/json"} | headers
        wire = self.connect()
        wire.request(method, path, body, own, encode_chunked="Transfer-Encoding" in own)
        return wire.getresponse()

    def threads(self) -> int:
        return psutil.Process(self.process.pid).num_threads()

    def connections(self) -> int:
        """Its own alone: earlier tests may have left some in this process's pool."""
        with connection.cursor() as cursor:
            cursor.execute("SELECT count(*) FROM pg_stat_activity WHERE application_name = %s", [self.name])
            return int(cursor.fetchone()[0])

    def stop(self) -> None:
        self.process.terminate()
        self.process.wait(PATIENCE_S)
        self.log.close()
        print(self.path_of_log.read_text())  # pytest shows it when the test fails


def until(condition: Callable[[], Any]) -> Any:
    end = time.monotonic() + PATIENCE_S
    while not (found := condition()):
        assert time.monotonic() < end, "it never happened"
        time.sleep(0.05)
    return found


def _answers(web: Web) -> bool:
    try:
        return web.ask("GET", "/api/schema").status == 200
    except OSError:
        return False


@contextlib.contextmanager
def running(folder: Path, **environment: str) -> Iterator[Web]:
    """A web process that answers, until the end of the block; ``environment`` overrides the tests' own."""
    web = Web(folder, **environment)
    try:
        until(lambda: _answers(web))
        yield web
    finally:
        web.stop()
