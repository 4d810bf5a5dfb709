"""The cost of live updates: the hub compared with two floors in one interleaved run.

    python -m bench.hub [--rounds 5] [--clients 100] [--viewers 450] [--stuck 50] [--json FILE]

In each round the bare bridge (one Redis subscription and a loop over the sockets), Django Channels'
group_send and Orchestra send the same number of events to the same number of clients. Only ratios
of the same round count:

  latency   an event begins to commit (is published) in one process -> a client has its frame
  push      what publishing costs the process that publishes
  burst     events as fast as they come: how many a client never receives

Then, once: many viewers of one streaming session, some of whom never read. The servers are private,
and PostgreSQL does not wait for the disk, because the duration of a commit is not a property of the
hub (bench/decision_latency.py measures it).
"""

import argparse
import contextlib
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit, urlunsplit

import psutil
import psycopg

from bench.child import Child
from tests import servers
from tests.stack import free_port

ROOT = Path(__file__).resolve().parent.parent
RATE = 20.0  # events a second
SPOKEN = 50.0  # lines a second of the session that all viewers subscribe to
SIDES = ("bridge", "group_send", "orchestra")
PATIENCE_S = 60.0
MANAGER = "Administrator"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--clients", type=int, default=100)
    parser.add_argument("--events", type=int, default=100, help="of one round and side, 20 a second")
    parser.add_argument("--burst", type=int, default=200)
    parser.add_argument("--viewers", type=int, default=450, help="of one session, who read")
    parser.add_argument("--stuck", type=int, default=50, help="of the same session, who never read")
    parser.add_argument("--seconds", type=float, default=30, help="how long that session streams")
    parser.add_argument("--dsn", default="", help="postgres:// URL of a server to use")
    parser.add_argument("--json", type=Path, help="write everything there")
    options = parser.parse_args()
    with contextlib.ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="orch-bench-")))
        stack.callback(servers.stop)
        bench = stack.enter_context(_started(options.dsn or servers.start_postgres(), folder))
        rounds = [bench.round(number, options) for number in range(options.rounds)]
        crowd = bench.crowd(options)
    _print(rounds, crowd)
    if options.json:
        options.json.write_text(json.dumps({"rounds": rounds, "crowd": crowd}, indent=1) + "\n")


class Bench:
    """The processes of the bench, after they have answered."""

    def __init__(
        self, clients: Child, senders: dict[str, Child], urls: dict[str, str], token: str, web_pid: int
    ) -> None:
        self.clients, self.senders, self.urls, self.token = clients, senders, urls, token
        self.web = psutil.Process(web_pid)

    def first(self, topic: str, **fields: Any) -> list[dict[str, Any]]:
        return [{"type": "authenticate", "token": self.token}, {"type": "subscribe", "topic": topic, **fields}]

    def round(self, number: int, options: argparse.Namespace) -> dict[str, Any]:
        order = SIDES if number % 2 == 0 else SIDES[::-1]
        figures = {side: self.side(side, options) for side in order}
        summary = "; ".join(f"{side} {figures[side]['p50_ms']:.2f} ms" for side in SIDES)
        print(f"round {number + 1}: {summary}", file=sys.stderr, flush=True)
        return {"round": number + 1, **figures}

    def side(self, side: str, options: argparse.Namespace) -> dict[str, Any]:
        orchestra = side == "orchestra"
        first = self.first("approvals") if orchestra else []
        count = self.clients.call("open", group=side, url=self.urls[side], count=options.clients, first=first)
        assert count == options.clients, f"{side}: {count} of {options.clients} sockets opened"
        time.sleep(0.5)
        sender = self.senders[side]
        costs = sender.call("stream", count=options.events, rate=RATE)
        figures = self.clients.call("collect", group=side, expected=options.events, patience_s=PATIENCE_S)
        sender.call("stream", count=options.burst, rate=0)
        burst = self.clients.call("collect", group=side, expected=options.burst, patience_s=10)
        self.clients.call("close", group=side)
        if orchestra:
            pushes = sender.call("push_costs", count=options.events, rate=RATE)
            sender.call("clear")
        else:
            pushes = {"push": costs}
        medians = {f"{name}_us": statistics.median(seconds) * 1e6 for name, seconds in pushes.items()}
        return {"p50_ms": figures["p50_ms"], "p99_ms": figures["p99_ms"], "lost": figures["lost"],
                "burst_lost": burst["lost"], "burst_p99_ms": burst["p99_ms"], **medians}  # fmt: skip

    def crowd(self, options: argparse.Namespace) -> dict[str, Any]:
        """Measure many viewers of one session."""
        url, sender = self.urls["orchestra"], self.senders["orchestra"]
        before = self.web.memory_info().rss
        session = sender.call("session")
        topic = f"session:{session}"
        for group, count, stuck in (("viewers", options.viewers, False), ("stuck", options.stuck, True)):
            opened = self.clients.call("open", group=group, url=url, count=count, first=self.first(topic), stuck=stuck)
            assert opened == count, f"{group}: {opened} of {count} sockets opened"
        lines = int(options.seconds * SPOKEN)
        with _peak(self.web) as peak:
            cpu = _cpu_s(self.web)
            last = sender.call("speak", session=session, count=lines, rate=SPOKEN)
            seen = self.clients.call("collect", group="viewers", expected=lines, patience_s=PATIENCE_S)
            cpu = _cpu_s(self.web) - cpu
        reached = self.clients.call("close", group="stuck")
        back = self.clients.call(
            "open", group="back", url=url, count=len(reached), first=self.first(topic, after=min(reached))
        )
        again = self.clients.call("collect", group="back", expected=last - min(reached), patience_s=PATIENCE_S)
        return {
            "viewers": seen, "stuck_reached": max(reached, default=0), "back": back, "again": again,
            "memory_mib": (max(peak) - before) / 2**20, "cores": cpu / options.seconds, "lines": lines,
        }  # fmt: skip


def _cpu_s(process: psutil.Process) -> float:
    times = process.cpu_times()
    return float(times.user + times.system)


@contextlib.contextmanager
def _peak(process: psutil.Process) -> Iterator[list[int]]:
    """Sample the resident memory of a process, in bytes, during the ``with``."""
    import threading

    samples, done = [process.memory_info().rss], threading.Event()

    def look() -> None:
        while not done.wait(0.2):
            samples.append(process.memory_info().rss)

    thread = threading.Thread(target=look)
    thread.start()
    try:
        yield samples
    finally:
        done.set()
        thread.join()


@contextlib.contextmanager
def _started(dsn: str, folder: Path) -> Iterator[Bench]:
    name = f"bench_hub_{uuid.uuid4().hex[:8]}"
    ports = {side: free_port() for side in SIDES}
    env = os.environ | {
        "DATABASE_URL": urlunsplit(urlsplit(dsn)._replace(path=f"/{name}")),
        "REDIS_URL": os.environ.get("REDIS_URL") or servers.start_redis(),
        "DJANGO_SETTINGS_MODULE": "config.settings",
        "ORCHESTRA_SECRET_KEY": "only-for-the-bench-" + "x" * 50,
        "ORCHESTRA_ENVIRONMENT": "development",
        "ORCHESTRA_ALLOWED_HOSTS": "127.0.0.1",
        "ORCHESTRA_DATA_DIR": str(folder / "data"),
        "HUB_SOCKETS_PER_ACCOUNT": "0",
        "BENCH_BRIDGE_PORT": str(ports["bridge"]),
        "PYTHONPATH": str(ROOT),
    }
    with psycopg.connect(dsn, autocommit=True) as server, contextlib.ExitStack() as stack:
        server.execute(f"create database {name}")
        stack.callback(server.execute, f"drop database {name} with (force)")
        _manage(env, "migrate", "-v", "0")
        token = _manage(env, "create_token", "bench", "--create", "--group", MANAGER).strip().splitlines()[-1]
        ours = ["orchestra.realtime.daphne_server", "-v", "0", "-p", str(ports["orchestra"])]
        commands = {
            "bridge": ["bench.floors.ws_bridge", "serve"],
            "group_send": ["daphne", "-v", "0", "-p", str(ports["group_send"]), "bench.floors.group_send:application"],
            "orchestra": [*ours, "config.asgi:application"],
        }
        running = {side: _server(stack, env, folder, side, command) for side, command in commands.items()}
        modules = {
            "bridge": "bench.floors.ws_bridge",
            "group_send": "bench.floors.group_send",
            "orchestra": "bench.hub_side",
        }
        senders = {side: _child(stack, module, "send", env, folder) for side, module in modules.items()}
        clients = _child(stack, "bench.hub_clients", "", env, folder)
        for port in ports.values():
            _wait_for(port)
        urls = {side: f"ws://127.0.0.1:{port}/ws/hub" for side, port in ports.items()}
        yield Bench(clients, senders, urls, token, running["orchestra"].pid)


def _manage(env: dict[str, str], *arguments: str) -> str:
    command = [sys.executable, "manage.py", *arguments]
    return subprocess.run(command, cwd=ROOT, env=env, check=True, stdout=subprocess.PIPE, text=True).stdout


def _server(
    stack: contextlib.ExitStack, env: dict[str, str], folder: Path, name: str, command: list[str]
) -> subprocess.Popen[bytes]:
    log = stack.enter_context((folder / f"{name}.log").open("wb"))
    process = subprocess.Popen([sys.executable, "-m", *command], cwd=ROOT, env=env, stdout=log, stderr=log)
    stack.callback(process.wait)
    stack.callback(process.kill)
    return process


def _child(stack: contextlib.ExitStack, module: str, role: str, env: dict[str, str], folder: Path) -> Child:
    child = Child(module, role, env=env, log=folder / f"{module}.log")
    stack.callback(child.close)
    assert child.answer() == "ready"
    return child


def _wait_for(port: int) -> None:
    import socket

    end = time.monotonic() + PATIENCE_S
    while True:
        try:
            socket.create_connection(("127.0.0.1", port), 1).close()
            return
        except OSError:
            assert time.monotonic() < end, "a server does not listen"
            time.sleep(0.05)


# --- what people read


def _print(rounds: list[dict[str, Any]], crowd: dict[str, Any]) -> None:
    print(f"{'':<34}{'median':>9}{'(rounds)':>18}")
    for side in SIDES:
        _row(f"latency p50 ms, {side}", [row[side]["p50_ms"] for row in rounds])
    _row("latency p50, orchestra / bridge", [row["orchestra"]["p50_ms"] / row["bridge"]["p50_ms"] for row in rounds])
    _row("latency p50, group_send / bridge", [row["group_send"]["p50_ms"] / row["bridge"]["p50_ms"] for row in rounds])
    for name, side, key in (
        ("ring", "orchestra", "ring_us"),
        ("text", "orchestra", "text_us"),
        ("group_send", "group_send", "push_us"),
    ):
        _row(f"push, {name} / PUBLISH", [row[side][key] / row["bridge"]["push_us"] for row in rounds])
    for side in SIDES:
        _row(f"lost of a burst, {side}", [row[side]["burst_lost"] for row in rounds])
    seen, again = crowd["viewers"], crowd["again"]
    print(f"{seen['clients']} viewers, p50 {seen['p50_ms']:.0f} ms, p99 {seen['p99_ms']:.0f} ms, lost {seen['lost']}, "
          f"gaps {seen['gaps']}, repeats {seen['repeats']}; "
          f"web process +{crowd['memory_mib']:.0f} MiB, {crowd['cores']:.0%} of a core")  # fmt: skip
    summary = f"lost {again['lost']}, gaps {again['gaps']}, repeats {again['repeats']}"
    print(f"{crowd['back']} that were stuck came back: {summary}")


def _row(name: str, values: list[float]) -> None:
    print(f"{name:<34}{statistics.median(values):>9.3g}{f'({min(values):.3g}-{max(values):.3g})':>18}")


if __name__ == "__main__":
    main()
