"""While the database is out every page says so, at once or soon; afterwards no request meets a dead connection."""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import psycopg
import pytest
from django.db import connection

from tests.web import Web, running, until

pytestmark = pytest.mark.django_db(transaction=True)

READING = ("/api/approvals", "/admin/", "/health", "/metrics", "/api/diagnostics/database")


@pytest.fixture
def web(tmp_path: Path) -> Iterator[Web]:
    with running(tmp_path) as web:
        yield web


def cut(web: Web) -> int:
    """End every connection of the web process, as a restarted server or a firewall does; return how many."""
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity WHERE application_name = %s", [web.name]
        )
        return int(cursor.fetchone()[0])


def admit(allowed: bool) -> None:
    """Whether the database takes new connections."""
    known = connection.settings_dict
    host = known["HOST"] or known["OPTIONS"].get("host", "")
    with psycopg.connect(host=host, user=known["USER"], dbname="postgres", autocommit=True) as other:
        other.execute(f'ALTER DATABASE "{known["NAME"]}" ALLOW_CONNECTIONS {allowed}')


def all_at_once(web: Web, paths: tuple[str, ...]) -> dict[str, tuple[int, str | None]]:
    def ask(path: str) -> tuple[int, str | None]:
        answer = web.ask("GET", path, Cookie=f"sessionid={'x' * 32}")  # the session is looked up, too
        return answer.status, answer.getheader("Retry-After")

    with ThreadPoolExecutor(len(paths)) as threads:
        return dict(zip(paths, threads.map(ask, paths), strict=True))


def test_every_page_says_503_during_an_outage_and_no_request_meets_a_dead_connection_afterwards(web: Web) -> None:
    all_at_once(web, ("/api/approvals",) * 8)  # several connections are in the pool now
    assert cut(web) > 0
    until(lambda: web.connections() == 0)
    assert [web.ask("GET", "/api/approvals").status for _ in range(8)] == [200] * 8
    admit(False)
    try:
        cut(web)
        assert all_at_once(web, READING) == dict.fromkeys(READING, (503, "5"))
        assert web.ask("GET", "/health/live").status == 200
    finally:
        admit(True)
    until(lambda: web.ask("GET", "/api/approvals").status == 200)
    assert {web.ask("GET", path).status for path in READING * 3} <= {200, 302}


def test_a_frozen_process_does_not_keep_its_rows_locked_for_ever() -> None:
    with connection.cursor() as cursor:
        cursor.execute("SHOW idle_in_transaction_session_timeout")
        assert cursor.fetchone() == ("30s",)
