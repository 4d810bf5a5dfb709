"""How long a decision takes to reach the agent, compared with a floor without a framework in one
interleaved run.

    python -m bench.decision_latency [--rounds 5] [--sessions 1,50] [--json FILE]

Per round and number of live sessions the floor D and Orchestra do the same work with the same stub
CLI on the same PostgreSQL, one after the other, the order changing from round to round. Only ratios
of the same round count:

  act          a decision starts in one process -> the CLI has read the answer on its stdin
  visible      the CLI requests permission -> another process has read the row
  approvals/s  request -> decision -> next request, with decisions that take no time

PostgreSQL and Valkey are started privately with the durability of production; ``--dsn`` names a
server of yours instead, on which two databases are made and dropped.
"""

import argparse
import contextlib
import json
import os
import shlex
import statistics
import subprocess
import sys
import tempfile
import uuid
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit, urlunsplit

import psycopg

from bench.child import Child
from bench.floors.live_path import SCHEMA
from tests import servers

ROOT = Path(__file__).resolve().parent.parent
FLOOR, ORCHESTRA = "floor", "orchestra"
FEWEST_ASKS = 3

Figures = dict[str, float]


@dataclass(frozen=True, slots=True)
class Goal:
    """A bound on a ratio Orchestra ÷ floor: a lower bound for rates, an upper one for times.

    ``must`` is required, ``aim`` is desired.
    """

    figure: str
    must: float
    aim: float

    def verdict(self, ratios: list[float]) -> str:
        """Return the result as text; a miss within the spread of the rounds is "not shown", not a
        pass.
        """
        rate = self.figure.endswith("_s")
        median, best = statistics.median(ratios), (max if rate else min)(ratios)

        def holds(value: float, bound: float) -> bool:
            return value >= bound if rate else value <= bound

        if holds(median, self.aim):
            return "aim met"
        if holds(median, self.must):
            return "met"
        return "not shown" if holds(best, self.must) else "MISSED"


ONE = {"act_p50_ms": Goal("act_p50_ms", 2.5, 1.6), "visible_p50_ms": Goal("visible_p50_ms", 2.5, 1.6)}
MANY = {"act_p99_ms": Goal("act_p99_ms", 3.0, 1.5), "approvals_s": Goal("approvals_s", 0.40, 0.60)}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--sessions", default="1,50", help="numbers of live sessions, joined by commas")
    parser.add_argument(
        "--asks", type=int, default=200, help="asks of a single session; several ask a tenth of it each"
    )
    parser.add_argument(
        "--dsn", default="", help="postgres:// URL of a server to use, by a role that may create databases"
    )
    parser.add_argument("--json", type=Path, help="write all rounds there")
    options = parser.parse_args()
    counts = [int(number) for number in options.sessions.split(",")]
    with contextlib.ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="orch-bench-")))
        stack.callback(servers.stop)
        dsn = options.dsn or servers.start_postgres(durable=True)
        durable = _durable(dsn)
        sides = stack.enter_context(_sides(dsn, folder, max(counts)))
        rounds = _measure(sides, folder, rounds=options.rounds, counts=counts, asks=options.asks)
    _print_table(rounds, durable=durable)
    if options.json:
        options.json.write_text(
            json.dumps({"durable": durable, "cores": os.cpu_count(), "rounds": rounds}, indent=1) + "\n"
        )


# --- the processes


def _durable(dsn: str) -> bool:
    with psycopg.connect(dsn) as db:
        shown = [db.execute(f"show {name}").fetchone() for name in ("fsync", "synchronous_commit")]
    return shown == [("on",), ("on",)]


@contextlib.contextmanager
def _sides(dsn: str, folder: Path, most: int) -> Iterator[dict[str, tuple[Child, Child]]]:
    """Start the supervising and the deciding process of both sides, each side on a temporary
    database.
    """
    suffix = uuid.uuid4().hex[:8]
    names = {side: f"bench_{side}_{suffix}" for side in (FLOOR, ORCHESTRA)}
    dsns = {side: urlunsplit(urlsplit(dsn)._replace(path=f"/{name}")) for side, name in names.items()}
    with psycopg.connect(dsn, autocommit=True) as server, contextlib.ExitStack() as stack:
        for name in names.values():
            server.execute(f"create database {name}")
            stack.callback(server.execute, f"drop database {name} with (force)")
        with psycopg.connect(dsns[FLOOR]) as db:
            db.execute(SCHEMA)
        env = _environment(dsns, folder, most)
        subprocess.run([sys.executable, "manage.py", "migrate", "-v", "0"], cwd=ROOT, env=env, check=True)
        modules = {FLOOR: ("bench.floors.live_path", "supervisor"), ORCHESTRA: ("bench.orchestra_side", "worker")}
        children = {}
        for side, (module, first) in modules.items():
            pair = [Child(module, role, env=env, log=folder / f"{side}-{role}.log") for role in (first, "decider")]
            for child in pair:
                stack.callback(child.close)
                assert child.answer() == "ready"
            children[side] = (pair[0], pair[1])
        yield children


def _environment(dsns: dict[str, str], folder: Path, most: int) -> dict[str, str]:
    cli = folder / "cli"
    command = shlex.join([sys.executable, "-I", "-S", str(ROOT / "bench" / "stub_cli.py")])
    cli.write_text(f'#!/bin/sh\nexec {command} "$@"\n')
    cli.chmod(0o755)
    return os.environ | {
        "BENCH_FLOOR_DSN": dsns[FLOOR],
        "DATABASE_URL": dsns[ORCHESTRA],
        "REDIS_URL": os.environ.get("REDIS_URL") or servers.start_redis(),
        "DJANGO_SETTINGS_MODULE": "config.settings",
        "ORCHESTRA_SECRET_KEY": "only-for-the-bench-" + "x" * 50,
        "ORCHESTRA_ENVIRONMENT": "development",
        "ORCHESTRA_DATA_DIR": str(folder / "data"),
        "AGENT_WORKING_ROOTS": str(folder / "work"),
        "AGENT_CLI_PATH": str(cli),
        "ANTHROPIC_API_KEY": "none",  # without it discovery reports the CLI as not logged in, and no session starts
        "AGENT_MAX_CONCURRENT_SESSIONS": str(max(50, most)),
        "PYTHONPATH": str(ROOT),
    }


# --- the rounds


def _measure(
    sides: dict[str, tuple[Child, Child]], folder: Path, *, rounds: int, counts: list[int], asks: int
) -> list[dict[str, Any]]:
    for side in sides.values():  # warm-up: the first run loads modules
        once(side, folder, sessions=min(8, max(counts)), asks=10)
    measured: list[dict[str, Any]] = []
    for number in range(rounds):
        for sessions in counts:
            each = asks if sessions == 1 else max(FEWEST_ASKS, asks // 10)
            order = (FLOOR, ORCHESTRA) if number % 2 == 0 else (ORCHESTRA, FLOOR)
            figures = {side: once(sides[side], folder, sessions=sessions, asks=each) for side in order}
            measured.append({"round": number + 1, "sessions": sessions, **figures})
            print(f"round {number + 1}, {sessions} live: {_short(figures)}", file=sys.stderr, flush=True)
    return measured


def once(side: tuple[Child, Child], folder: Path, *, sessions: int, asks: int) -> Figures:
    """Let the sessions send their requests at the same time, and return how long the decisions
    took.
    """
    supervising, deciding = side
    here = folder / uuid.uuid4().hex[:8]
    here.mkdir()
    ended = supervising.call("run", sessions=sessions, asks=asks, folder=str(here))
    assert ended == {"completed": sessions}, ended
    marks: dict[str, tuple[float, float]] = {}
    for path in here.glob("marks-*"):
        marks |= json.loads(path.read_text())
    times: dict[str, tuple[float, float, float]] = deciding.call("report")
    assert marks.keys() == times.keys() and len(marks) == sessions * asks, (len(marks), len(times))
    return _figures(marks, times)


def _figures(marks: dict[str, tuple[float, float]], times: dict[str, tuple[float, float, float]]) -> Figures:
    spans: dict[str, list[float]] = {"visible": [], "act": [], "cont": [], "total": []}
    for key, (asked, answered) in marks.items():
        seen, began, decided = times[key]
        spans["visible"].append(seen - asked)
        spans["act"].append(answered - began)
        spans["cont"].append(answered - decided)
        spans["total"].append(answered - asked)
    figures = {"n": float(len(marks))}
    for name, seconds in spans.items():
        figures |= {f"{name}_p50_ms": _percentile(seconds, 50) * 1e3, f"{name}_p99_ms": _percentile(seconds, 99) * 1e3}
    duration = max(answered for _, answered in marks.values()) - min(asked for asked, _ in marks.values())
    return figures | {"approvals_s": len(marks) / duration}


def _percentile(values: list[float], percent: int) -> float:
    return sorted(values)[round(percent / 100 * (len(values) - 1))]


# --- what people read


def _short(figures: dict[str, Figures]) -> str:
    names = ("visible_p50_ms", "act_p50_ms", "act_p99_ms", "approvals_s")
    return "; ".join(f"{name} {figures[FLOOR][name]:.3g} / {figures[ORCHESTRA][name]:.3g}" for name in names)


def _print_table(rounds: list[dict[str, Any]], *, durable: bool) -> None:
    if not durable:
        print("fsync or synchronous_commit is off on this server: these ratios do not apply to production")
    heads = f"{'floor D':>10}{'Orchestra':>11}{'ratio':>7} {'(rounds)':<14}{'must':>6}{'aim':>6}"
    print(f"{'live':>4} {'figure':<16}{heads}  verdict")
    for sessions in sorted({row["sessions"] for row in rounds}):
        rows = [row for row in rounds if row["sessions"] == sessions]
        goals = ONE if sessions == 1 else MANY
        for name in ("visible_p50_ms", "visible_p99_ms", "act_p50_ms", "act_p99_ms", "total_p50_ms", "approvals_s"):
            medians = [statistics.median(row[side][name] for row in rows) for side in (FLOOR, ORCHESTRA)]
            ratios = [row[ORCHESTRA][name] / row[FLOOR][name] for row in rows]
            spread = f"({min(ratios):.2f}-{max(ratios):.2f})"
            summary = f"{medians[0]:>10.3g}{medians[1]:>11.3g}{statistics.median(ratios):>7.2f} {spread:<14}"
            goal = goals.get(name)
            judged = f"{goal.must:>6g}{goal.aim:>6g}  {goal.verdict(ratios)}" if goal else ""
            print(f"{sessions:>4} {name:<16}{summary}{judged}".rstrip())


if __name__ == "__main__":
    main()
