"""The floor of the expiry sweep on PostgreSQL: batches that skip locked rows and write an audit row
each.
"""

import time

import psycopg

SCHEMA = """
create table floor_approvals(
    id uuid primary key default gen_random_uuid(), session_id uuid not null default gen_random_uuid(), tool text,
    input text, status text not null, expires_at timestamptz not null, decided_at timestamptz);
create index floor_due on floor_approvals(expires_at) where status = 'pending';
create table floor_audit(
    id bigserial primary key, approval_id uuid, actor text, action text, at timestamptz default now())
"""
FILL = """
insert into floor_approvals(tool, input, status, expires_at)
select 'Bash', '{"command": "git push origin main", "description": "push the branch"}', 'pending',
       now() - interval '1 hour' from generate_series(1, %s)
"""
BATCH = """
with due as (select id from floor_approvals where status = 'pending' and expires_at < now()
             order by expires_at limit 500 for update skip locked),
     closed as (update floor_approvals set status = 'expired', decided_at = now() from due
                where floor_approvals.id = due.id returning floor_approvals.id)
insert into floor_audit(approval_id, actor, action) select id, 'system', 'expired' from closed returning approval_id
"""


def sweep_s(db: psycopg.Connection, count: int) -> float:
    """Return the seconds to close ``count`` overdue rows; ``db`` is in autocommit."""
    db.execute(FILL, [count])
    db.execute("vacuum analyze floor_approvals")
    began, closed = time.monotonic(), 0
    while rows := db.execute(BATCH).fetchall():
        closed += len(rows)
    took = time.monotonic() - began
    assert closed == count
    return took
