"""The cost of many agents that wait at once with their processes running, on a complete
installation.

    python -m bench.crowd [--waiting 100] [--seconds 30]

  memory   private memory of Orchestra's processes for each waiting agent, without the agent's own
  rest     transactions and processor time of all processes of Orchestra while no request is made

PostgreSQL and Valkey are started privately.
"""

import argparse
import contextlib
import os
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import psutil
import psycopg

from tests import servers
from tests.fakes.fake_cli import make_fake_cli
from tests.stack import Stack, running, until

MUST_MIB, MUST_CPU_PERCENT = 1.0, 3.0
MIB = 1024 * 1024
SETTLE_S = 20.0
ASK = [{"tool": "Bash", "input": {"command": "true"}}, {"text": "done"}]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--waiting", type=int, default=100)
    parser.add_argument("--seconds", type=float, default=30)
    options = parser.parse_args()
    with contextlib.ExitStack() as exits:
        folder = Path(exits.enter_context(tempfile.TemporaryDirectory(prefix="orch-bench-")))
        exits.callback(servers.stop)
        stack = exits.enter_context(_stack(folder, options.waiting))
        _wait_for_crowd(stack, 5)  # warm-up: modules that are loaded once are not a cost of the waiting agents
        time.sleep(SETTLE_S)
        alone = _memory_mib(stack)
        _report_rest(stack, 5, options.seconds)
        _wait_for_crowd(stack, options.waiting)
        time.sleep(SETTLE_S)
        crowd = _memory_mib(stack)
        each = (sum(crowd.values()) - sum(alone.values())) / (options.waiting - 5)
        verdict = "met" if each <= MUST_MIB else "MISSED"
        print(f"memory for each of {options.waiting} waiting agents: {each:.2f} MiB; must {MUST_MIB:g}: {verdict}")
        for name, mib in crowd.items():
            print(f"  {name}: {alone.get(name, 0):.0f} -> {mib:.0f} MiB")
        _report_rest(stack, options.waiting, options.seconds)


@contextlib.contextmanager
def _stack(folder: Path, waiting: int) -> Iterator[Stack]:
    cli = make_fake_cli(folder / "stack" / "cli", ASK)
    environment = {
        "DATABASE_URL": servers.start_postgres(durable=True),
        "REDIS_URL": servers.start_redis(),
        "ORCHESTRA_SECRET_KEY": os.urandom(32).hex(),
        "ORCHESTRA_ENVIRONMENT": "development",
        "ORCHESTRA_ALLOWED_HOSTS": "127.0.0.1",
        "ORCHESTRA_SELF_APPROVAL": "on",
        "AGENT_CLI_PATH": str(cli),
        "AGENT_MAX_CONCURRENT_SESSIONS": str(waiting + 10),
        "API_WRITES_PER_MINUTE": "0",
        "APPROVAL_HOLD_SECONDS": "3600",
        "APPROVAL_DEFAULT_TIMEOUT_MINUTES": "110",
        "ANTHROPIC_API_KEY": "none",
    }
    with running(folder / "stack", **environment) as stack:
        yield stack


def _wait_for_crowd(stack: Stack, waiting: int) -> None:
    def asking() -> int:
        with psycopg.connect(stack.env["DATABASE_URL"]) as db:
            row = db.execute("select count(*) from approvals where status = 'pending'").fetchone()
        return row[0] if row else 0

    for _ in range(waiting - asking()):
        stack.call("POST", "/api/sessions", {"prompt": "go"}, expect=201)
    until(lambda: asking() >= waiting, lambda: f"{waiting} ask, only {asking()} do; log:\n{stack.log[-3000:]}", 180)


def _own(stack: Stack) -> Iterator[tuple[str, psutil.Process]]:
    """Return Orchestra's own processes by name, without the agents and the database servers."""
    for process in stack.processes():
        with contextlib.suppress(psutil.Error):
            environment = process.environ()
            if "ORCHESTRA_RUN" not in environment:
                yield environment.get("ORCHESTRA_PROCESS", "runner"), process


def _memory_mib(stack: Stack) -> dict[str, float]:
    found: dict[str, float] = {}
    for name, process in _own(stack):
        found[name] = found.get(name, 0) + process.memory_full_info().uss / MIB
    return found


def _report_rest(stack: Stack, waiting: int, seconds: float) -> None:
    before, began = _spent(stack), time.monotonic()
    time.sleep(seconds)
    after, took = _spent(stack), time.monotonic() - began
    transactions = after["transactions"] - before["transactions"]
    cpu = {name: (after[name] - before.get(name, 0)) / took * 100 for name in after if name != "transactions"}
    total = sum(cpu.values())
    print(
        f"at rest with {waiting} waiting: {transactions / took:.1f} transactions/s, {total:.1f} % of a core: ", end=""
    )
    print(", ".join(f"{name} {percent:.1f}" for name, percent in sorted(cpu.items())), flush=True)


def _spent(stack: Stack) -> dict[str, float]:
    with psycopg.connect(stack.env["DATABASE_URL"]) as db:
        row = db.execute("select sum(xact_commit + xact_rollback)::float8 from pg_stat_database").fetchone()
    found = {"transactions": row[0] if row else 0.0}
    for name, process in _own(stack):
        times = process.cpu_times()
        found[name] = found.get(name, 0) + times.user + times.system
    return found


if __name__ == "__main__":
    main()
