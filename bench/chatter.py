"""The cost of an agent with much output: lines read and events stored per second, and the effect on
other sessions.

    python -m bench.chatter [--rounds 5] [--lines 100000] [--events 10000]

  heard      streamed text that is not stored, lines/s through the supervisor,
             ÷ json.loads of the lines of the same pipe
  stored     messages that become rows of the transcript, rows/s,
             ÷ batches of 100 rows by executemany
  memory     growth of the supervising process while an agent writes faster than PostgreSQL stores
  neighbour  decision -> the CLI has its answer (bench/decision_latency.py), with such an agent and
             without

PostgreSQL and Valkey are started privately, with the durability of production.
"""

import argparse
import contextlib
import json
import os
import resource
import shlex
import statistics
import subprocess
import sys
import tempfile
import threading
import time
import uuid
from collections.abc import Callable
from pathlib import Path
from typing import Any

import psycopg

from bench.child import Child, serve
from bench.decision_latency import ROOT, once
from bench.expiry import environment
from tests import servers

MUST_HEARD, MUST_STORED, MUST_GROWN_MIB, MUST_NEIGHBOUR = 0.5, 0.25, 64.0, 3.0
ASKS = 100
FLOOR_TABLE = """
create table if not exists floor_events(
    id bigserial primary key, session_id uuid not null, seq int not null, kind text, payload jsonb,
    at timestamptz default now(), unique (session_id, seq))
"""
FLOOR_ROW = "insert into floor_events(session_id, seq, kind, payload) values (%s, %s, 'assistant', %s)"
INIT: dict[str, Any] = {"type": "system", "subtype": "init", "session_id": "", "model": "stub", "cwd": "/", "tools": []}
RESULT: dict[str, Any] = {
    "type": "result", "subtype": "success", "is_error": False, "terminal_reason": "completed", "result": "done",
    "num_turns": 1, "session_id": "", "total_cost_usd": 0.0, "usage": {},
}  # fmt: skip
WORDS = "I will read the file and then run the tests, because the last change touched the parser. " * 5


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--lines", type=int, default=100_000)
    parser.add_argument("--events", type=int, default=10_000)
    options = parser.parse_args()
    with contextlib.ExitStack() as exits:
        folder = Path(exits.enter_context(tempfile.TemporaryDirectory(prefix="orch-bench-")))
        exits.callback(servers.stop)
        dsn = servers.start_postgres(durable=True)
        env = environment(dsn, folder, live=10) | {"ANTHROPIC_BENCH_ANSWER": "allow"}
        _either_cli(Path(env["AGENT_CLI_PATH"]))
        subprocess.run([sys.executable, "manage.py", "migrate", "-v", "0"], cwd=ROOT, env=env, check=True)
        pieces = speech(folder / "pieces", options.lines, _piece)
        messages = speech(folder / "messages", options.events, _message)
        roles = (("bench.chatter", "worker"), ("bench.orchestra_side", "decider"))
        children = [Child(*role, env=env, log=folder / f"{role[1]}.log") for role in roles]
        for child in children:
            exits.callback(child.close)
            assert child.answer() == "ready"
        talker, decider = children
        _report_heard(talker, pieces, options.lines, options.rounds)
        with psycopg.connect(dsn, autocommit=True) as db:
            db.execute(FLOOR_TABLE)
            _report_stored(talker, db, messages, options.events, options.rounds)
        _report_neighbour((talker, decider), folder, options.rounds)


def _either_cli(path: Path) -> None:
    """Start the CLI that writes, if it has a text; otherwise the CLI that requests permission."""
    talks, asks = (
        "exec " + shlex.join([sys.executable, "-I", "-S", str(ROOT / "bench" / f"{name}.py")])
        for name in ("chatty_cli", "stub_cli")
    )
    path.write_text(f'#!/bin/sh\n[ -n "$ANTHROPIC_BENCH_SAYS" ] && {talks} "$@"\n{asks} "$@"\n')


# --- the output of the agent


def speech(path: Path, count: int, line: Callable[[int], dict[str, Any]]) -> Path:
    """Write the output of a turn of ``count`` lines to a file."""
    with path.open("w") as file:
        for message in (INIT, *(line(number) for number in range(count)), RESULT):
            file.write(json.dumps(message) + "\n")
    return path


def _piece(number: int) -> dict[str, Any]:
    delta = {"type": "text_delta", "text": f"hello {number} "}
    return {"type": "stream_event", "event": {"type": "content_block_delta", "index": 0, "delta": delta}}


def _message(number: int) -> dict[str, Any]:
    content = [{"type": "text", "text": f"{number}: {WORDS}"}]
    return {"type": "assistant", "message": {"id": f"msg_{number}", "role": "assistant", "content": content}}


# --- the supervising process


class Talkers:
    """Turns of agents with much output in a supervising process, beside agents that request
    permissions.
    """

    def __init__(self) -> None:
        self._thread = threading.Thread()
        self._session: Any = None

    def talk(self, says: str) -> dict[str, float]:
        """Run a turn; return its seconds, its rows, and the growth of the process's peak memory in
        MiB.
        """
        before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        began = time.monotonic()
        self.talk_on(says)
        self._thread.join()
        took = time.monotonic() - began
        grown = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 1024
        self._session.refresh_from_db()
        assert self._session.status == "completed", self._session.failure_detail
        return {"took": took, "grown": grown, "rows": self._session.last_seq}

    def talk_on(self, says: str) -> None:
        """Start a turn that writes until ``hush``."""
        from sessions_app import commands
        from sessions_app.models import Run, Turn
        from sessions_app.supervisor import worker

        os.environ["ANTHROPIC_BENCH_SAYS"] = says
        self._session = commands.start_session(commands.SessionRequest(prompt="go"), by="bench", may_allow=True)
        turn = Turn.objects.get(session=self._session)
        self._thread = threading.Thread(target=worker.take_turn, args=[turn.pk])
        self._thread.start()
        while self._thread.is_alive() and not Run.objects.filter(turn=turn, pid__isnull=False).exists():
            time.sleep(0.01)
        del os.environ["ANTHROPIC_BENCH_SAYS"]

    def hush(self) -> None:
        """Stop the turn that ``talk_on`` started."""
        from sessions_app import commands

        assert self._thread.is_alive()
        commands.cancel_session(session_id=self._session.pk, by="bench")
        self._thread.join()


def worker() -> None:
    from bench.orchestra_side import asking
    from sessions_app.supervisor import worker as sessions_worker

    sessions_worker.shorten_thread_switches()
    talkers = Talkers()
    serve(run=asking(), talk=talkers.talk, talk_on=talkers.talk_on, hush=talkers.hush)


# --- the figures


def _report_heard(talker: Child, pieces: Path, lines: int, rounds: int) -> None:
    nothing = speech(pieces.with_name("nothing"), 0, _piece)
    talker.call("talk", says=str(pieces))  # warm-up: the first run loads modules
    ratios, rates = [], []
    for _ in range(rounds):
        floor = lines / _json_loop_s(pieces)
        empty = talker.call("talk", says=str(nothing))["took"]
        rates.append(lines / (talker.call("talk", says=str(pieces))["took"] - empty))
        ratios.append(rates[-1] / floor)
    _print_row(
        f"heard: {statistics.median(rates):,.0f} lines/s", ratios, f">= {MUST_HEARD:g}", _at_least(ratios, MUST_HEARD)
    )


def _json_loop_s(path: Path) -> float:
    began = time.monotonic()
    with subprocess.Popen(["cat", path], stdout=subprocess.PIPE, text=True, bufsize=1) as cat:
        assert cat.stdout
        for line in cat.stdout:
            json.loads(line)
    return time.monotonic() - began


def _report_stored(talker: Child, db: psycopg.Connection, messages: Path, events: int, rounds: int) -> None:
    talker.call("talk", says=str(messages))
    ratios, rates, grown = [], [], []
    for _ in range(rounds):
        floor = events / _batches_s(db, events)
        result = talker.call("talk", says=str(messages))
        assert result["rows"] >= events
        rates.append(events / result["took"])
        grown.append(result["grown"])
        ratios.append(rates[-1] / floor)
    _print_row(
        f"stored: {statistics.median(rates):,.0f} events/s",
        ratios,
        f">= {MUST_STORED:g}",
        _at_least(ratios, MUST_STORED),
    )
    verdict = "met" if sum(grown) <= MUST_GROWN_MIB else "MISSED"
    print(f"memory: + {sum(grown):.1f} MiB in {rounds} turns; must + {MUST_GROWN_MIB:g} MiB: {verdict}", flush=True)


def _batches_s(db: psycopg.Connection, events: int) -> float:
    payload = json.dumps(_message(1))
    session = uuid.uuid4()
    began = time.monotonic()
    for first in range(0, events, 100):
        with db.transaction():
            db.cursor().executemany(
                FLOOR_ROW, [(session, seq, payload) for seq in range(first, min(first + 100, events))]
            )
    return time.monotonic() - began


def _report_neighbour(sides: tuple[Child, Child], folder: Path, rounds: int) -> None:
    """Measure decisions beside an agent with much output; one process supervises both, as in a
    sessions worker.
    """
    once(sides, folder, sessions=1, asks=ASKS)
    ratios, beside = [], []
    for _ in range(rounds):
        quiet = once(sides, folder, sessions=1, asks=ASKS)["act_p50_ms"]
        sides[0].call("talk_on", says=json.dumps(_piece(0)))
        beside.append(once(sides, folder, sessions=1, asks=ASKS)["act_p50_ms"])
        sides[0].call("hush")
        ratios.append(beside[-1] / quiet)
    median = statistics.median(ratios)
    verdict = "met" if median <= MUST_NEIGHBOUR else "MISSED"
    _print_row(f"neighbour: {statistics.median(beside):.2f} ms", ratios, f"<= {MUST_NEIGHBOUR:g}", verdict)


def _print_row(figure: str, ratios: list[float], must: str, verdict: str) -> None:
    spread = f"{statistics.median(ratios):.2f} ({min(ratios):.2f} to {max(ratios):.2f})"
    print(f"{figure}; ratio {spread}; must {must}: {verdict}", flush=True)


def _at_least(ratios: list[float], must: float) -> str:
    return "met" if statistics.median(ratios) >= must else "MISSED"


if __name__ == "__main__":
    if sys.argv[1:] == ["worker"]:
        import django

        django.setup()
        worker()
    else:
        main()
