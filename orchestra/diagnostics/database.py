"""State and performance of the database, as far as SQLite or PostgreSQL reports them.

No statement here scans a large table. Texts of statements come from the server, with placeholders,
and are redacted.
"""

import time
from pathlib import Path
from statistics import quantiles
from typing import Any

from django.apps import apps
from django.conf import settings
from django.db import DEFAULT_DB_ALIAS, connection, connections
from django.db.migrations.executor import MigrationExecutor

from orchestra.logs.redaction import scrub, visible

ASKED = 20  # statements that measure the latency
EXACT_UP_TO = 10_000  # rows; above, PostgreSQL's estimate is returned
LONGEST_TEXT = 500
SLOW_S = 1.0
MOST_SLOW = 10

Rows = list[tuple[Any, ...]]


def overview() -> dict[str, Any]:
    """Return engine, version, latency, migrations and numbers of rows."""
    executor = MigrationExecutor(connections[DEFAULT_DB_ALIAS])
    plan = executor.migration_plan(executor.loader.graph.leaf_nodes())
    return {
        "status": "ok",
        "engine": connection.vendor,
        "version": _version(),
        "latency_ms": round(_latencies_ms(1)[0], 3),
        "migrations": {
            "applied": len(executor.loader.applied_migrations),
            "missing": [f"{migration.app_label}.{migration.name}" for migration, _ in plan],
        },
        "counts": dict(sorted(_counts().items())),
    }


def performance() -> dict[str, Any]:
    """Return latency, sizes, indexes, slow statements and the pool.

    Values that the engine does not have are null.
    """
    latencies = _latencies_ms(ASKED)
    postgres = connection.vendor == "postgresql"
    return {
        "engine": connection.vendor,
        "latency_ms": {
            "median": round(quantiles(latencies, n=2)[0], 3),
            "p95": round(quantiles(latencies, n=20)[-1], 3),
            "asked": ASKED,
        },
        "size_bytes": _size_bytes(),
        "tables": _postgres_tables() if postgres else _sqlite_tables(),
        "indexes": _postgres_indexes() if postgres else _sqlite_indexes(),
        "slow_statements": _slow_statements() if postgres else None,
        "running_statements": _running_statements() if postgres else None,
        "pool": pool(),
        "server": _server() if postgres else None,
    }


def pool() -> dict[str, int] | None:
    """Return the state of this process's connection pool; None on SQLite, which has none."""
    own = getattr(connection, "pool", None) if connection.vendor == "postgresql" else None
    if own is None:
        return None
    stats = own.get_stats()
    return {
        "least": stats.get("pool_min", 0),
        "most": stats.get("pool_max", 0),
        "open": stats.get("pool_size", 0),
        "free": stats.get("pool_available", 0),
        "requests_waiting": stats.get("requests_waiting", 0),
        "requests": stats.get("requests_num", 0),
        "requests_that_waited": stats.get("requests_queued", 0),
        "connections_lost": stats.get("connections_lost", 0),
    }


def _rows(statement: str, *values: Any) -> Rows:
    with connection.cursor() as cursor:
        cursor.execute(statement, values)
        return list(cursor.fetchall())


def _latencies_ms(times: int) -> list[float]:
    latencies = []
    for _ in range(times):
        started = time.perf_counter()
        _rows("SELECT 1")
        latencies.append((time.perf_counter() - started) * 1000)
    return latencies


def _version() -> str:
    if connection.vendor == "postgresql":
        return str(_rows("SHOW server_version")[0][0])
    return str(_rows("SELECT sqlite_version()")[0][0])


def _own_tables() -> list[str]:
    """Return the tables of our own apps."""
    own = Path(settings.BASE_DIR)
    return sorted(
        model._meta.db_table
        for config in apps.get_app_configs()
        if Path(config.path).parent == own
        for model in config.get_models()
        if model._meta.managed
    )


def _counts() -> dict[str, int]:
    if connection.vendor != "postgresql":
        return {table: _count(table) for table in _own_tables()}
    estimates = _rows("SELECT relname, reltuples::bigint FROM pg_class WHERE relname = ANY(%s)", _own_tables())
    return {table: rows if rows > EXACT_UP_TO else _count(table) for table, rows in estimates}


def _count(table: str) -> int:
    return int(_rows(f"SELECT count(*) FROM {connection.ops.quote_name(table)}")[0][0])  # noqa: S608 - our own tables


def _size_bytes() -> int:
    if connection.vendor == "postgresql":
        return int(_rows("SELECT pg_database_size(current_database())")[0][0])
    return int(_rows("SELECT page_count * page_size FROM pragma_page_count(), pragma_page_size()")[0][0])


def _postgres_tables() -> list[dict[str, Any]]:
    found = _rows(
        "SELECT relname, pg_total_relation_size(relid), n_live_tup, n_dead_tup, seq_scan, idx_scan"
        " FROM pg_stat_user_tables WHERE relname = ANY(%s) ORDER BY 2 DESC",
        _own_tables(),
    )
    names = ("name", "size_bytes", "rows", "dead_rows", "scans", "index_scans")
    return [dict(zip(names, row, strict=True)) for row in found]


def _sqlite_tables() -> list[dict[str, Any]]:
    """Sizes of single tables need SQLite's dbstat, which few builds have."""
    unknown = {"size_bytes": None, "dead_rows": None, "scans": None, "index_scans": None}
    return [{"name": table, "rows": rows} | unknown for table, rows in sorted(_counts().items())]


def _postgres_indexes() -> list[dict[str, Any]]:
    found = _rows(
        "SELECT indexrelname, relname, pg_relation_size(indexrelid), idx_scan FROM pg_stat_user_indexes"
        " WHERE relname = ANY(%s) ORDER BY idx_scan DESC, 1",
        _own_tables(),
    )
    return [dict(zip(("name", "table", "size_bytes", "used"), row, strict=True)) for row in found]


def _sqlite_indexes() -> list[dict[str, Any]]:
    """SQLite does not count how often an index was used."""
    found = _rows("SELECT name, tbl_name FROM sqlite_master WHERE type = 'index' ORDER BY tbl_name, name")
    own = set(_own_tables())
    return [{"name": name, "table": table, "size_bytes": None, "used": None} for name, table in found if table in own]


def _slow_statements() -> list[dict[str, Any]] | None:
    """Return the statements with the longest average time; None without the extension
    ``pg_stat_statements``.
    """
    if not _rows("SELECT 1 FROM pg_extension WHERE extname = 'pg_stat_statements'"):
        return None
    found = _rows(
        "SELECT query, calls, mean_exec_time, max_exec_time FROM pg_stat_statements"
        " WHERE dbid = (SELECT oid FROM pg_database WHERE datname = current_database())"
        " ORDER BY mean_exec_time DESC LIMIT %s",
        MOST_SLOW,
    )
    return [
        {"statement": _readable(text), "calls": calls, "mean_ms": round(mean, 3), "longest_ms": round(longest, 3)}
        for text, calls, mean, longest in found
    ]


def _running_statements() -> list[dict[str, Any]]:
    """Return the statements that have been running for more than a second."""
    found = _rows(
        "SELECT query, state, wait_event, EXTRACT(EPOCH FROM now() - query_start) FROM pg_stat_activity"
        " WHERE datname = current_database() AND pid <> pg_backend_pid() AND state <> 'idle'"
        " AND query_start < now() - %s * INTERVAL '1 second' ORDER BY query_start LIMIT %s",
        SLOW_S,
        MOST_SLOW,
    )
    return [
        {"statement": _readable(text), "state": state, "waits_for": waits_for, "seconds": round(float(seconds), 1)}
        for text, state, waits_for, seconds in found
    ]


def _server() -> dict[str, int]:
    most = int(_rows("SHOW max_connections")[0][0])
    taken = int(_rows("SELECT count(*) FROM pg_stat_activity WHERE backend_type = 'client backend'")[0][0])
    return {"most_connections": most, "connections": taken}


def _readable(text: str) -> str:
    return visible(scrub(" ".join(text.split())))[:LONGEST_TEXT]
