"""The cost of parked sessions, and how soon a decision reaches them, on a complete installation
with a scripted CLI.

    python -m bench.parked [--rounds 20] [--parked 1000] [--away 60] [--real]

  resume   a decision for a parked session over REST -> its call runs in the resumed CLI,
           ÷ starting that CLI until its answer to ``initialize``;
           with --real the CLI of the claude-agent-sdk wheel against a scripted model
  many     a session is created -> its request is open, with and without that many parked sessions
           beside it; and how many processes the parked ones keep
  away     Redis is stopped for that many seconds while sessions are created and decisions made;
           it runs again -> all queued work runs

PostgreSQL and Valkey are started privately, with the durability of production.
"""

import argparse
import contextlib
import json
import os
import signal
import statistics
import subprocess
import tempfile
import time
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any
from uuid import uuid4

import psutil
import psycopg

from tests import servers
from tests.chaos.server import redis_server
from tests.fakes.fake_cli import make_fake_cli, read_ledger
from tests.fakes.real_cli import messages_api, real_cli_env, real_cli_path
from tests.stack import Stack, running, until

MUST_RESUME, MUST_RESUME_REAL_S, MUST_RETURN_S = 3.0, 3.0, 15.0
ASK = [{"tool": "Bash", "input": {"command": "date +%s.%N > ran.txt"}}, "done"]
FAKE_ASK = [{"tool": "Bash", "input": {"command": "true"}}, {"text": "done"}]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=20)
    parser.add_argument("--parked", type=int, default=1000)
    parser.add_argument("--away", type=float, default=60)
    parser.add_argument("--real", action="store_true", help="only ``resume``, with the real CLI")
    options = parser.parse_args()
    with contextlib.ExitStack() as exits:
        folder = Path(exits.enter_context(tempfile.TemporaryDirectory(prefix="orch-bench-")))
        exits.callback(servers.stop)
        if options.real:
            stack, start_s = exits.enter_context(_real(folder))
            _report_resume(stack, start_s, options.rounds, real=True)
            return
        stack, start_s = exits.enter_context(_scripted(folder))
        _report_resume(stack, start_s, options.rounds, real=False)
        _report_many(stack, options.parked)
        if options.away:
            _report_away(stack, options.away)


# --- the stacks


@contextlib.contextmanager
def _scripted(folder: Path) -> Iterator[tuple[Stack, list[float]]]:
    cli = make_fake_cli(folder / "stack" / "cli", FAKE_ASK)
    with running(folder / "stack", **_environment(cli), ANTHROPIC_API_KEY="none") as stack:
        yield stack, [_start_s(cli, os.environ | {"ANTHROPIC_API_KEY": "none"}) for _ in range(15)]


@contextlib.contextmanager
def _real(folder: Path) -> Iterator[tuple[Stack, list[float]]]:
    home = folder / "home"
    home.mkdir()
    with messages_api({"named": {"ask": ASK}, "by": "position"}) as api:
        env = real_cli_env(api.url, home)
        with running(folder / "stack", **_environment(real_cli_path()), **env) as stack:
            yield stack, [_start_s(real_cli_path(), os.environ | env) for _ in range(10)]


def _environment(cli: Path) -> dict[str, str]:
    return {
        "DATABASE_URL": servers.start_postgres(durable=True),
        "REDIS_URL": servers.start_redis(),
        "ORCHESTRA_SECRET_KEY": os.urandom(32).hex(),
        "ORCHESTRA_ENVIRONMENT": "development",
        "ORCHESTRA_ENV_FILE": os.devnull,
        "ORCHESTRA_ALLOWED_HOSTS": "127.0.0.1",
        "ORCHESTRA_SELF_APPROVAL": "on",
        "AGENT_CLI_PATH": str(cli),
        "API_WRITES_PER_MINUTE": "0",
        "APPROVAL_HOLD_SECONDS": "0.2",
        "APPROVAL_DEFAULT_TIMEOUT_MINUTES": "110",
    }


def _start_s(cli: Path, env: dict[str, str]) -> float:
    """Return the seconds from the start of a CLI to its answer to ``initialize``."""
    flags = ["--input-format=stream-json", "--output-format=stream-json", "--verbose", "--permission-prompt-tool=stdio"]
    hello = {"type": "control_request", "request_id": "1", "request": {"subtype": "initialize", "hooks": {}}}
    began = time.monotonic()
    with subprocess.Popen(
        [cli, "-p", *flags, f"--session-id={uuid4()}"], env=env, cwd=tempfile.gettempdir(),
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL,
    ) as process:  # fmt: skip
        assert process.stdin and process.stdout
        process.stdin.write(json.dumps(hello).encode() + b"\n")
        process.stdin.flush()
        while b"control_response" not in process.stdout.readline():
            pass
        took = time.monotonic() - began
        process.kill()
    return took


# --- a decision for a parked session


def _report_resume(stack: Stack, start_s: list[float], rounds: int, *, real: bool) -> None:
    prompt = "scenario:ask" if real else "go"
    took = []
    for _ in range(rounds + 1):
        session = _begin(stack, prompt)
        approval = stack.pending(session)["id"]
        until(partial(_is_parked, stack, session), "the session is parked")
        began = time.time()
        stack.call("POST", f"/api/approvals/{approval}/approve", {}, expect=200)
        took.append(_ran_at(stack, session, real=real) - began)
        stack.ended(session)
    took = sorted(took[1:])  # warm-up: the first run loads modules
    p50, p95 = statistics.median(took), took[round(0.95 * (len(took) - 1))]
    start = statistics.median(start_s)
    print(f"an answer to a parked session -> the call runs: p50 {p50:.2f} s, p95 {p95:.2f} s of {len(took)}")
    if real:
        verdict = "met" if p95 <= MUST_RESUME_REAL_S else "MISSED"
        print(f"  the real CLI starts in {start:.2f} s; must p95 {MUST_RESUME_REAL_S:g} s: {verdict}", flush=True)
        return
    verdict = "met" if p50 / start <= MUST_RESUME else "MISSED"
    print(f"  the CLI starts in {start:.3f} s; ratio {p50 / start:.1f}; must {MUST_RESUME:g}: {verdict}", flush=True)


def _ran_at(stack: Stack, session: str, *, real: bool) -> float:
    """Return when the call ran, as a Unix timestamp."""
    if real:
        folder = Path(stack.call("GET", f"/api/sessions/{session}")["working_directory"])
        until(lambda: (folder / "ran.txt").exists() and (folder / "ran.txt").read_text(), "the call runs")
        return float((folder / "ran.txt").read_text())

    def look() -> float:
        return next((entry["at"] for entry in read_ledger(stack.folder / "cli") if entry["session"] == session), 0.0)

    return until(look, "the call runs")


def _begin(stack: Stack, prompt: str = "go") -> str:
    return str(stack.call("POST", "/api/sessions", {"prompt": prompt}, expect=201)["id"])


def _is_parked(stack: Stack, session: str) -> bool:
    with psycopg.connect(stack.env["DATABASE_URL"]) as db:
        row = db.execute(
            "select status = 'waiting' and not exists (select from runs where session_id = s.id and ended_at is null)"
            " from agent_sessions s where id = %s",
            [session],
        ).fetchone()
    return bool(row and row[0])


# --- many parked sessions


def _report_many(stack: Stack, count: int) -> None:
    alone = sorted(_until_asked_s(stack) for _ in range(10))
    _make_parked(stack, count)
    beside = sorted(_until_asked_s(stack) for _ in range(10))
    time.sleep(2)
    agents = _agents(stack)
    ratio = statistics.median(beside) / statistics.median(alone)
    print(
        f"a new session asks after p50 {statistics.median(alone):.2f} s alone, {statistics.median(beside):.2f} s beside"
        f" {count} parked ones: ratio {ratio:.2f}; processes of the parked ones: {agents}",
        flush=True,
    )


def _until_asked_s(stack: Stack) -> float:
    began = time.monotonic()
    session = _begin(stack)
    stack.pending(session)
    return time.monotonic() - began


def _make_parked(stack: Stack, count: int) -> None:
    """Copy a session that a worker has parked, with all its rows."""
    session = _begin(stack)
    stack.pending(session)
    until(lambda: _is_parked(stack, session), "the session is parked")
    tables = {
        "agent_sessions": "id",
        "turns": "session_id",
        "approvals": "session",
        "permission_requests": "session_id",
    }
    with psycopg.connect(stack.env["DATABASE_URL"], autocommit=True) as db:
        for _ in range(count):
            fresh = {session: str(uuid4())}
            for table, key in tables.items():
                _copy(db, table, key, session, fresh)
        db.execute("analyze")


def _copy(db: Any, table: str, key: str, session: str, fresh: dict[str, str]) -> None:
    """Copy the session's rows of ``table``; every id is replaced by a new one, the same in all
    tables.
    """
    cursor = db.execute(f"select * from {table} where {key} = %s", [session])
    names = [column.name for column in cursor.description]
    for row in cursor.fetchall():
        values = dict(zip(names, row, strict=True))
        fresh.setdefault(str(values["id"]), str(uuid4()))
        for name, value in values.items():
            if str(value) in fresh:
                values[name] = fresh[str(value)]
            elif isinstance(value, str) and session in value:
                values[name] = value.replace(session, fresh[session])
            elif isinstance(value, (dict, list)):
                values[name] = json.dumps(value)
        marks = ", ".join(["%s"] * len(values))
        db.execute(f"insert into {table} ({', '.join(names)}) values ({marks})", list(values.values()))


def _agents(stack: Stack) -> int:
    """Return the processes of agents and their descendants."""
    found = 0
    for process in stack.processes():
        with contextlib.suppress(psutil.Error):
            found += "ORCHESTRA_RUN" in process.environ()
    return found


# --- Redis goes away


def _report_away(stack: Stack, seconds: float) -> None:
    [redis] = [process for process, _ in servers._servers if "valkey" in str(process.args)]
    server = redis_server(redis, stack.env["REDIS_URL"])
    waiting = [_begin(stack) for _ in range(5)]
    approvals = [stack.pending(session)["id"] for session in waiting]
    server.stop(signal.SIGTERM)
    gone = time.monotonic()
    asked = [_begin(stack) for _ in range(5)]
    took = []
    for approval in approvals:
        began = time.monotonic()
        stack.call("POST", f"/api/approvals/{approval}/approve", {}, expect=200)
        took.append(time.monotonic() - began)
    time.sleep(max(0.0, seconds - (time.monotonic() - gone)))
    server.start()
    back = time.monotonic()
    for session in asked:
        stack.pending(session)
    for session in waiting:
        stack.ended(session)
    returned = time.monotonic() - back
    verdict = "met" if returned <= MUST_RETURN_S else "MISSED"
    print(
        f"Redis away for {seconds:g} s: 5 of 5 decisions over REST committed, slowest {max(took):.2f} s; all queued"
        f" work ran {returned:.1f} s after it was back; must {MUST_RETURN_S:g} s: {verdict}",
        flush=True,
    )


if __name__ == "__main__":
    main()
