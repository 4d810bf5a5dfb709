"""The pool on PostgreSQL: never more connections than its maximum, and none is lost; and a page that needs none."""

import http.client
import json
import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import pytest
from django.conf import settings
from django.db import connection

from tests.web import Web, running, until

AT_ONCE, LARGEST, OUTSIDE = 200, 8, 2
"""Requests, the pool's maximum, and what a web process holds besides: its doorbell and its hub."""

PATHS = ("/api/approvals", "/api/sessions", "/api/agents", "/api/schedules")
PATIENCE_S = 120


def get(web: Web, path: str) -> int:
    wire = http.client.HTTPConnection("127.0.0.1", web.port, timeout=PATIENCE_S)
    wire.request("GET", path, headers={"Authorization": f"Token {web.token}"})
    answer = wire.getresponse()
    answer.read()
    wire.close()
    return answer.status


@contextmanager
def watched(web: Web) -> Iterator[list[int]]:
    """How many connections the process had, looked at all the time."""
    seen: list[int] = []
    over = threading.Event()

    def look() -> None:
        while not over.wait(0.01):
            seen.append(web.connections())
        connection.close()

    thread = threading.Thread(target=look)
    thread.start()
    try:
        yield seen
    finally:
        over.set()
        thread.join()


def in_transaction(web: Web) -> int:
    with connection.cursor() as cursor:
        state = "application_name = %s AND state LIKE 'idle in transaction%%'"
        cursor.execute(f"SELECT count(*) FROM pg_stat_activity WHERE {state}", [web.name])
        return int(cursor.fetchone()[0])


@pytest.mark.django_db(transaction=True)
@pytest.mark.timeout(400)
def test_two_hundred_requests_at_once_stay_within_the_pool_and_leave_nothing_behind(tmp_path: Path) -> None:
    with running(tmp_path, DB_POOL_MAX_SIZE=str(LARGEST)) as web, ThreadPoolExecutor(AT_ONCE) as clients:
        with watched(web) as seen:
            asked = [PATHS[number % len(PATHS)] for number in range(AT_ONCE)]
            assert set(clients.map(lambda path: get(web, path), asked)) == {200}
        assert 1 < max(seen) <= LARGEST + OUTSIDE
        until(lambda: in_transaction(web) == 0)
        # each of them can still be had: none is lent to a thread that has forgotten it
        assert set(clients.map(lambda path: get(web, path), PATHS * LARGEST)) == {200}


@pytest.mark.timeout(200)
def test_liveness_needs_neither_database_nor_redis(tmp_path: Path) -> None:
    """A process that never reached either of them answers."""
    code = (
        "import django; django.setup()\n"
        "from django.test import Client\n"
        "answer = Client().get('/health/live')\n"
        "print(answer.status_code, answer.content.decode())\n"
    )
    nowhere = {
        "DATABASE_URL": f"postgres://nobody@/nothing?host={tmp_path}",
        "REDIS_URL": f"unix://{tmp_path}/none.sock",
        "DJANGO_SETTINGS_MODULE": "config.settings",
    }
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=settings.BASE_DIR, env=os.environ | nowhere, capture_output=True, text=True,
        check=False,
    )  # fmt: skip
    status, _, body = done.stdout.strip().partition(" ")
    assert (status, json.loads(body)["status"]) == ("200", "ok"), done.stderr[-2000:]
