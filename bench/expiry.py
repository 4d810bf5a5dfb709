"""The cost of expiry: many overdue approvals at once, and many agents with the same deadline.

    python -m bench.expiry [--overdue 10000] [--live 100] [--rounds 3]

  sweep    all overdue approvals closed, with audit, notifications and log,
           ÷ the batched floor (bench/floors/sweep.py)
  decide   a decision while that sweep is running, beside one without a sweep
  refusal  the deadline of an approval -> the CLI that waits for it has read the refusal

PostgreSQL and Valkey are started privately, with the durability of production.
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
import threading
import time
from pathlib import Path
from typing import Any

import psycopg

from bench.child import Child
from bench.decision_latency import ROOT
from bench.floors import sweep
from tests import servers

TIMEOUT_MINUTES = 0.2
MUST_SWEEP, MUST_REFUSAL_S = 15.0, 1.0


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--overdue", type=int, default=10_000)
    parser.add_argument("--live", type=int, default=100)
    parser.add_argument("--rounds", type=int, default=3)
    options = parser.parse_args()
    with contextlib.ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="orch-bench-")))
        stack.callback(servers.stop)
        dsn = servers.start_postgres(durable=True)
        env = environment(dsn, folder, options.live)
        subprocess.run([sys.executable, "manage.py", "migrate", "-v", "0"], cwd=ROOT, env=env, check=True)
        os.environ |= env
        with psycopg.connect(dsn, autocommit=True) as db:
            db.execute(sweep.SCHEMA)
            _report_sweeps(db, options.overdue, options.rounds)
            _report_refusals(db, folder, env, options.live)


def environment(dsn: str, folder: Path, live: int) -> dict[str, str]:
    cli = folder / "cli"
    command = shlex.join([sys.executable, "-I", "-S", str(ROOT / "bench" / "stub_cli.py")])
    cli.write_text(f'#!/bin/sh\nexec {command} "$@"\n')
    cli.chmod(0o755)
    return os.environ | {
        "DATABASE_URL": dsn,
        "REDIS_URL": servers.start_redis(),
        "DJANGO_SETTINGS_MODULE": "config.settings",
        "ORCHESTRA_SECRET_KEY": "only-for-the-bench-" + "x" * 50,
        "ORCHESTRA_ENVIRONMENT": "development",
        "ORCHESTRA_ENV_FILE": os.devnull,
        "ORCHESTRA_DATA_DIR": str(folder / "data"),
        "AGENT_WORKING_ROOTS": str(folder / "work"),
        "AGENT_CLI_PATH": str(cli),
        "ANTHROPIC_API_KEY": "none",  # without it discovery reports the CLI as not logged in, and no session starts
        "AGENT_MAX_CONCURRENT_SESSIONS": str(live + 10),
        "APPROVAL_DEFAULT_TIMEOUT_MINUTES": str(TIMEOUT_MINUTES),
        "ANTHROPIC_BENCH_ANSWER": "deny",
        "PYTHONPATH": str(ROOT),
    }


# --- overdue


def _report_sweeps(db: psycopg.Connection, overdue: int, rounds: int) -> None:
    import django

    django.setup()
    _sweep_s(overdue // 10)  # warm-up: the first run loads modules
    ratios, floors, ours, calm, busy = [], [], [], [], []
    for _ in range(rounds):
        floors.append(sweep.sweep_s(db, overdue))
        calm += _decisions_s(stop_after=20)
        took, during = _sweep_s(overdue)
        ours.append(took)
        busy += during
        ratios.append(took / floors[-1])
    median = statistics.median(ratios)
    verdict = "met" if median <= MUST_SWEEP else "MISSED"
    print(
        f"{overdue} overdue at once: {statistics.median(ours):.2f} s, floor {statistics.median(floors):.2f} s, ratio"
        f" {median:.1f} ({min(ratios):.1f} to {max(ratios):.1f}); must {MUST_SWEEP:g}: {verdict}"
    )
    print(f"a decision during the sweep: {_spread(busy)}; without a sweep: {_spread(calm)}", flush=True)


def _sweep_s(overdue: int) -> tuple[float, list[float]]:
    """Return the seconds of the sweep, and of the decisions made while it ran."""
    from django.conf import settings

    from approvals.commands import ApprovalRequest, cancel_approval, expire_due_approvals, request_approval
    from approvals.models import Approval, AuditEntry

    first = request_approval(
        ApprovalRequest(title="Bash: git push", tool_name="Bash", tool_input='{"command":"git push"}')
    )
    template = Approval.objects.get(pk=first)
    fields = {field.attname: getattr(template, field.attname) for field in Approval._meta.concrete_fields}
    cancel_approval(approval_id=first, by="", via="system")
    del fields["id"], fields["expires_at"], fields["created_at"]
    late = template.created_at.replace(year=template.created_at.year - 1)
    rows = [Approval(**fields, expires_at=late) for _ in range(overdue)]
    Approval.objects.bulk_create(rows, batch_size=1000)
    with psycopg.connect(os.environ["DATABASE_URL"], autocommit=True) as db:
        db.execute("vacuum analyze approvals")
    decided: list[float] = []
    over = threading.Event()
    person = threading.Thread(target=lambda: decided.extend(_decisions_s(over)))
    person.start()
    began = time.monotonic()
    closed = expire_due_approvals(batch=settings.APPROVALS.sweep_batch)
    took = time.monotonic() - began
    over.set()
    person.join()
    assert closed == overdue == AuditEntry.objects.filter(approval__in=[row.pk for row in rows]).count()
    return took, decided


def _decisions_s(over: threading.Event | None = None, stop_after: int = 1000) -> list[float]:
    """Decide one approval after the other until ``over`` is set; return the seconds of each
    decision.
    """
    from django.db import connection

    from approvals.commands import ApprovalRequest, decide_approval, request_approval

    took = []
    while len(took) < stop_after and not (over and over.is_set()):
        asked = request_approval(ApprovalRequest(title="Bash: make"))
        began = time.monotonic()
        decide_approval(approval_id=asked, decision="approved", by="anna", via="api")
        took.append(time.monotonic() - began)
    connection.close()
    return took


# --- live


def _report_refusals(db: psycopg.Connection, folder: Path, env: dict[str, str], live: int) -> None:
    worker = Child("bench.orchestra_side", "worker", env=env, log=folder / "worker.log")
    here = folder / "refusals"
    here.mkdir()
    try:
        assert worker.answer() == "ready"
        worker.call("run", sessions=live, asks=1, folder=str(here))
    finally:
        worker.close()
    wall = time.time() - time.monotonic()
    read: dict[str, float] = {}
    for path in here.glob("marks-*"):
        read |= {key: answered + wall for key, (_, answered) in json.loads(path.read_text()).items()}
    rows: list[Any] = db.execute(
        "select subject, extract(epoch from expires_at)::float8 from approvals where subject <> ''"
    ).fetchall()
    deadlines = {subject.rpartition(":")[2]: deadline for subject, deadline in rows}
    late = [read[key] - deadlines[key] for key in read]
    assert len(late) == live, (len(late), live)
    apart = max(deadlines[key] for key in read) - min(deadlines[key] for key in read)
    p99 = sorted(late)[round(0.99 * (len(late) - 1))]
    verdict = "met" if p99 <= MUST_REFUSAL_S else "MISSED"
    print(f"{live} live sessions whose time is up within {apart:.1f} s: deadline -> the CLI has its refusal")
    print(f"  {_spread(late)}; must p99 {MUST_REFUSAL_S:g} s: {verdict}")


def _spread(seconds: list[float]) -> str:
    ordered = sorted(seconds)
    p50, p99 = (ordered[round(part * (len(ordered) - 1))] for part in (0.5, 0.99))
    return f"p50 {p50 * 1e3:.1f} ms, p99 {p99 * 1e3:.1f} ms of {len(ordered)}"


if __name__ == "__main__":
    main()
