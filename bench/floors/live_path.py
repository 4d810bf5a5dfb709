"""Floor D: the complete path of a live approval without a framework.

Stub CLI -> pipe -> thread -> two rows and a NOTIFY in one commit -> another process reads the row,
decides, and commits the decision with its audit row and a NOTIFY -> the thread reads the row -> the
CLI's stdin. Threads, a pool of 8 connections, one listener for all.

Run by bench/decision_latency.py, once as ``supervisor`` and once as ``decider``; BENCH_FLOOR_DSN
names the database.
"""

import json
import os
import queue
import subprocess
import sys
import threading
import time
import uuid
from pathlib import Path
from typing import Any

import psycopg
from psycopg_pool import ConnectionPool

from bench.child import serve, starting_together

DSN = os.environ.get("BENCH_FLOOR_DSN", "")
CONNECTIONS = 8
SCHEMA = """
create table fl_approval(id uuid primary key, session_id uuid not null, tool_use_id text not null, tool text not null,
  input jsonb not null, status text not null default 'pending', decided_by text,
  created_at timestamptz not null default now(),
  expires_at timestamptz not null, decided_at timestamptz);
create index fl_pending on fl_approval(expires_at) where status='pending';
create index fl_session on fl_approval(session_id);
create table fl_outbox(id bigserial primary key, approval_id uuid not null references fl_approval, kind text not null,
  payload jsonb not null, sent_at timestamptz, created_at timestamptz not null default now());
create index fl_unsent on fl_outbox(id) where sent_at is null;
create table fl_audit(id bigserial primary key, approval_id uuid not null, actor text, action text,
  at timestamptz default now(), detail jsonb);
"""
INITIALIZE = {"type": "control_request", "request_id": "init", "request": {"subtype": "initialize", "hooks": {}}}
PROMPT = {"type": "user", "message": {"role": "user", "content": "go"}}


def supervisor() -> None:
    waiting: dict[str, threading.Event] = {}
    pool = ConnectionPool(DSN, min_size=CONNECTIONS, max_size=CONNECTIONS, kwargs={"prepare_threshold": 1}, open=True)
    pool.wait()

    def decided(approval_id: str) -> None:
        if event := waiting.get(approval_id):
            event.set()

    _listen("fl_decided", decided)

    def run(sessions: int, asks: int, folder: str) -> dict[str, Any]:
        threads = [threading.Thread(target=_session, args=(pool, waiting, asks, folder)) for _ in range(sessions)]
        with starting_together(Path(folder), sessions):
            for thread in threads:
                thread.start()
        for thread in threads:
            thread.join()
        return {"completed": sessions}

    serve(run=run)


def _session(pool: ConnectionPool, waiting: dict[str, threading.Event], asks: int, folder: str) -> None:
    env = os.environ | {"ANTHROPIC_BENCH_FOLDER": folder, "ANTHROPIC_BENCH_ASKS": str(asks)}
    cli = subprocess.Popen([os.environ["AGENT_CLI_PATH"]], stdin=subprocess.PIPE, stdout=subprocess.PIPE, env=env)
    assert cli.stdin and cli.stdout
    session = uuid.uuid4()

    def send(message: dict[str, Any]) -> None:
        assert cli.stdin
        cli.stdin.write(json.dumps(message).encode() + b"\n")
        cli.stdin.flush()

    send(INITIALIZE)
    send(PROMPT)
    for line in cli.stdout:
        message = json.loads(line)
        if message["type"] == "control_request":
            send(_asked(pool, waiting, session, message))
        elif message["type"] == "result":
            cli.stdin.close()
    cli.wait()


def _asked(
    pool: ConnectionPool, waiting: dict[str, threading.Event], session: uuid.UUID, message: dict[str, Any]
) -> dict[str, Any]:
    hook = message["request"]["input"]
    given = json.dumps(hook["tool_input"])
    approval = str(uuid.uuid4())
    event = waiting[approval] = threading.Event()
    with pool.connection() as db, db.transaction():
        db.execute(
            "insert into fl_approval(id,session_id,tool_use_id,tool,input,expires_at)"
            " values(%s,%s,%s,'Bash',%s,now()+interval '1 hour')",
            (approval, session, hook["tool_use_id"], given),
        )
        db.execute("insert into fl_outbox(approval_id,kind,payload) values(%s,'telegram',%s)", (approval, given))
        db.execute("select pg_notify('fl_pending',%s)", (approval,))
    event.wait(60)
    with pool.connection() as db:
        row = db.execute("select status from fl_approval where id=%s", (approval,)).fetchone()
    del waiting[approval]
    verdict = "allow" if row and row[0] == "approved" else "deny"
    output = {"hookEventName": "PreToolUse", "permissionDecision": verdict, "updatedInput": hook["tool_input"]}
    response = {"subtype": "success", "request_id": message["request_id"], "response": {"hookSpecificOutput": output}}
    return {"type": "control_response", "response": response}


def decider() -> None:
    pending: queue.Queue[str] = queue.Queue()
    times: dict[str, tuple[float, float, float]] = {}
    now = time.monotonic

    def work() -> None:
        db = psycopg.connect(DSN, prepare_threshold=1)
        while True:
            approval = pending.get()
            with db.transaction():
                row = db.execute("select status, tool_use_id from fl_approval where id=%s", (approval,)).fetchone()
            seen = now()
            assert row and row[0] == "pending"
            began = now()
            with db.transaction():
                won = db.execute(
                    "update fl_approval set status='approved',decided_by='u',decided_at=now()"
                    " where id=%s and status='pending' returning id",
                    (approval,),
                ).fetchone()
                assert won
                db.execute(
                    "insert into fl_audit(approval_id,actor,action,detail) values(%s,'u','approved','{}')", (approval,)
                )
                db.execute("select pg_notify('fl_decided',%s)", (approval,))
            times[row[1]] = (seen, began, now())
            pending.task_done()

    for _ in range(CONNECTIONS):
        threading.Thread(target=work, daemon=True).start()
    _listen("fl_pending", pending.put)

    def report() -> dict[str, tuple[float, float, float]]:
        pending.join()
        collected = dict(times)
        times.clear()
        return collected

    serve(report=report)


def _listen(channel: str, handler: Any) -> None:
    db = psycopg.connect(DSN, autocommit=True)
    db.execute(f"listen {channel}")

    def run() -> None:
        for notify in db.notifies():
            handler(notify.payload)

    threading.Thread(target=run, daemon=True).start()


if __name__ == "__main__":
    {"supervisor": supervisor, "decider": decider}[sys.argv[1]]()
