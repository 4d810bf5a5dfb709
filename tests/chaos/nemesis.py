"""What goes wrong, on purpose: processes killed or frozen, servers stopped, connections cut, messages doubled.

A program that dies five times within a minute is given up by the runner, on purpose, so each kind of fault has its own
shortest distance; the nemesis takes a random one of those that may happen again.
"""

import contextlib
import random
import signal
import time
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

import psutil
import psycopg
import redis
from django.db import DatabaseError

from sessions_app.dispatch import dispatch
from sessions_app.models import Turn
from sessions_app.supervisor import orphan_reaper
from tests.chaos.checker import Outage
from tests.chaos.clients import patiently
from tests.chaos.proxy import Proxy
from tests.chaos.server import Server
from tests.stack import Stack

MOST_CUTS = 6  # connections that are cut at once
WEB_DOWN_S = 20.0  # a killed web process answers again within this, back-off included


@dataclass
class Nemesis:
    """Injects a fault every ``every_s`` seconds; the slow kinds wait ``rest_s`` between two of a kind."""

    stack: Stack
    redis: Server
    redis_url: str
    postgres: Server | None
    postgres_url: str
    proxy: Proxy | None
    every_s: float
    redis_away_s: float
    postgres_away_s: float
    frozen_s: float
    rest_s: float
    seed: int
    only: frozenset[str] = frozenset()  # all if empty
    injected: Counter[str] = field(default_factory=Counter)
    outages: list[Outage] = field(default_factory=list)
    worker_kills: list[float] = field(default_factory=list)
    frozen: list[tuple[float, float]] = field(default_factory=list)
    _later: list[tuple[float, Callable[[], None]]] = field(default_factory=list)
    _free_at: dict[str, float] = field(default_factory=dict)
    _chance: random.Random = field(default_factory=random.Random)

    def faults(self) -> Iterator[tuple[str, float, Callable[[], bool]]]:
        """Name, shortest distance in seconds, and how; a fault says whether it happened."""
        return (fault for fault in self._all_faults() if not self.only or fault[0] in self.only)

    def _all_faults(self) -> Iterator[tuple[str, float, Callable[[], bool]]]:
        yield "kill sessions worker", 22, lambda: self._kill_worker("sessions")
        yield "kill default worker", 22, lambda: self._kill_worker("default")
        yield "kill web", 22, self._kill_web
        yield "kill beat", 22, lambda: self._kill("beat", "--pidfile")
        yield "kill an agent", 9, self._kill_agent
        yield "FLUSHALL", 15, self._flush
        yield "repeat messages", 6, self._repeat_messages
        yield "redis away", self.rest_s, self._redis_away
        if self.frozen_s:
            yield "freeze sessions worker", self.rest_s, self._freeze
        if self.postgres:
            yield "cut connections", 20, self._cut_connections
        if self.proxy:
            yield "cut through statements", 6, self._cut_statements
        if self.postgres:
            yield "postgresql away", self.rest_s, self._postgres_away

    def rage(self, until: float) -> None:
        """Until that moment of the monotonic clock; then everything that was taken away is given back."""
        chance = self._chance = random.Random(self.seed)
        strike_at = time.monotonic() + self.every_s
        # the slow ones come soon, so that there is time to see what follows from them
        slow = [name for name, distance, _ in self.faults() if distance == self.rest_s]
        self._free_at = {name: time.monotonic() + 2 + 0.25 * self.rest_s * place for place, name in enumerate(slow)}
        while time.monotonic() < until:
            self._give_back(time.monotonic())
            if time.monotonic() >= strike_at:
                strike_at += self.every_s
                self._strike(chance)
            time.sleep(0.1)
        self._give_back(float("inf"))
        self.redis.make_sure()
        if self.postgres:
            self.postgres.make_sure()

    def janitor_is_off(self) -> bool:
        """Whether a fault is on, or was a moment ago, which keeps Orchestra itself from cleaning up."""
        frozen = bool(self.frozen) and time.time() < self.frozen[-1][1] + 6
        return frozen or (self.postgres is not None and self._away("postgresql"))

    def _strike(self, chance: random.Random) -> None:
        now = time.monotonic()
        able = [fault for fault in self.faults() if self._free_at.get(fault[0], 0.0) <= now]
        rare = [fault for fault in able if fault[1] == self.rest_s and fault[0] in self._free_at]
        chance.shuffle(able)
        for name, distance, inject in [*rare, *able]:
            if inject():
                self._free_at[name] = time.monotonic() + distance
                self.injected[name] += 1
                return

    def _give_back(self, now: float) -> None:
        due = [entry for entry in self._later if entry[0] <= now]
        self._later = [entry for entry in self._later if entry[0] > now]
        for _, give in due:
            give()

    # --- processes

    def _kill(self, *words: str) -> bool:
        for process in self.stack.processes():
            with contextlib.suppress(psutil.Error):
                line = process.cmdline()
                if all(any(word in part for part in line) for word in words):
                    process.kill()
                    return True
        return False

    def _kill_worker(self, name: str) -> bool:
        if self.frozen and self.frozen[-1][1] > time.time() and name == "sessions":
            return False
        try:
            victim = self.stack.worker(name)
            at = time.time()
            victim.kill()
        except (AssertionError, psutil.Error):
            return False
        if name == "sessions":
            self.worker_kills.append(at)
        return True

    def _kill_web(self) -> bool:
        at = time.time()
        if not self._kill("daphne"):
            return False
        self.outages.append(Outage("web", at, at + WEB_DOWN_S))
        return True

    def _kill_agent(self) -> bool:
        for process, _ in orphan_reaper.marked_processes():
            with contextlib.suppress(psutil.Error):
                process.kill()
                return True
        return False

    def _freeze(self) -> bool:
        """Longer than the lease: it wakes up to find that nothing it does counts any more."""
        try:
            victim = self.stack.worker("sessions")
            victim.suspend()
        except (AssertionError, psutil.Error):
            return False
        self.frozen.append((time.time(), time.time() + self.frozen_s))

        def thaw() -> None:
            with contextlib.suppress(psutil.Error):
                victim.resume()

        self._later.append((time.monotonic() + self.frozen_s, thaw))
        return True

    # --- servers and messages

    def _flush(self) -> bool:
        try:
            redis.Redis.from_url(self.redis_url, socket_timeout=2).flushall()
        except redis.RedisError:
            return False
        return True

    def _repeat_messages(self) -> bool:
        turns = Turn.objects.order_by("-created_at").values_list("pk", "session__host")
        try:
            recent = patiently(lambda: list(turns[:10]), 5) if not self._away("postgresql") else []
        except DatabaseError:  # its last connection was cut as well
            return False
        return sum(dispatch(turn_id, host) for turn_id, host in recent) > 0

    def _cut_connections(self) -> bool:
        if self._away("postgresql"):
            return False
        with psycopg.connect(self.postgres_url, autocommit=True) as own:
            own.execute(
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
                " WHERE pid <> pg_backend_pid() AND backend_type = 'client backend'"
            )
        at = time.time()
        self.outages.append(Outage("connections", at - 1, at + 5))
        return True

    def _cut_statements(self) -> bool:
        if self.proxy is None or self._away("postgresql"):
            return False
        self.proxy.cut(self._chance, MOST_CUTS)
        at = time.time()
        self.outages.append(Outage("connections", at - 1, at + 5))
        return True

    def _redis_away(self) -> bool:
        return self._take_away("redis", self.redis, signal.SIGTERM, self.redis_away_s)

    def _postgres_away(self) -> bool:
        assert self.postgres
        # SIGQUIT: an immediate stop, as a crash of the server, with recovery from its log
        return self._take_away("postgresql", self.postgres, signal.SIGQUIT, self.postgres_away_s)

    def _take_away(self, part: str, server: Server, number: signal.Signals, away_s: float) -> bool:
        if self._away(part):
            return False
        at = time.time()
        server.stop(number)

        def give_back() -> None:
            gone_until = time.time()
            server.start()
            # until it answers for Redis, and a little longer for those that still hold dead connections to a database
            self.outages.append(Outage(part, at, gone_until if part == "redis" else time.time() + 10))

        self._later.append((time.monotonic() + away_s, give_back))
        return True

    def _away(self, part: str) -> bool:
        server = self.redis if part == "redis" else self.postgres
        return server is None or server.process.poll() is not None
