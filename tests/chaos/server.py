"""A database or broker that is taken away and given back."""

import contextlib
import os
import signal
import subprocess
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import psutil
import psycopg
import redis


@dataclass
class Server:
    """A database or broker of this campaign, started again exactly as it was."""

    process: subprocess.Popen[bytes]
    is_up: Callable[[], object]

    def __post_init__(self) -> None:
        facts = psutil.Process(self.process.pid)
        self.environ, self.folder = facts.environ(), facts.cwd()
        self.user, self.group = facts.uids().real, facts.gids().real

    def stop(self, number: signal.Signals) -> None:
        self.process.send_signal(number)
        self.process.wait(30)

    def start(self) -> None:
        """From the main thread: the kernel ends it with the thread that started it."""
        options: dict[str, Any] = {
            "stdin": subprocess.DEVNULL,
            "stdout": subprocess.DEVNULL,
            "stderr": subprocess.DEVNULL,
        }
        if os.geteuid() == 0:
            options |= {"user": self.user, "group": self.group, "extra_groups": []}
        self.process = subprocess.Popen(self.process.args, env=self.environ, cwd=self.folder, **options)
        end = time.monotonic() + 60
        while time.monotonic() < end:
            with contextlib.suppress(psycopg.Error, redis.RedisError, OSError):
                self.is_up()
                return
            time.sleep(0.1)
        raise AssertionError(f"{self.process.args!r} did not come up again")

    def make_sure(self) -> None:
        if self.process.poll() is not None:
            self.start()


def postgres_server(process: subprocess.Popen[bytes], url: str) -> Server:
    return Server(process, lambda: psycopg.connect(url, connect_timeout=2).close())


def redis_server(process: subprocess.Popen[bytes], url: str) -> Server:
    return Server(process, lambda: redis.Redis.from_url(url).ping())
