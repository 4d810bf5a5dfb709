"""The django_* series are there, count what happens, and no client makes their number grow."""

import asyncio
import re
import threading
from inspect import iscoroutinefunction
from typing import Any

import pytest
from asgiref.sync import async_to_sync
from django.core.cache import caches
from django.db import DatabaseError, connection
from django.db.backends.base.base import BaseDatabaseWrapper
from django.db.migrations.recorder import MigrationRecorder
from django.db.utils import load_backend
from django.http import HttpResponse
from django.test import AsyncClient, AsyncRequestFactory, Client
from prometheus_client import REGISTRY

from orchestra.metrics import migrations
from orchestra.middleware.prometheus import After

VIEWS = "django_http_responses_total_by_status_view_method_total"


def series(client: Client) -> set[str]:
    """Every series of requests on the page, without its value."""
    text = client.get("/metrics").content.decode()
    return set(re.findall(r"(?m)^((?:django_)?http_[^ ]+) ", text))


def count(name: str, **labels: str) -> float:
    return REGISTRY.get_sample_value(name, labels) or 0.0


def send_odd_requests(client: Client, first: int, number: int) -> None:
    for odd in range(first, first + number):
        client.generic(f"ODD{odd}", "/health/live")
        client.generic(f"ODD{odd}", f"/nowhere/{odd}")
        client.get(f"/nowhere/{odd}?{odd}=1", headers={"accept": f"text/x{odd}; charset=odd{odd}"})
        client.get(f"/sign-in/{odd}")
        client.get(f"/api/approvals/{odd}", headers={"accept": f"application/json; charset=odd{odd}"})
        client.generic("POST", "/api/approvals", b"{}", f"application/x{odd}; charset=odd{odd}")
        client.get("/metrics", headers={"accept": f"application/openmetrics-text; version=1.0.0; charset=odd{odd}"})


def test_a_stranger_cannot_make_the_page_grow(client: Client, db: None) -> None:
    send_odd_requests(client, 0, 2)
    before = series(client)
    send_odd_requests(client, 2, 60)
    assert series(client) == before
    assert count(VIEWS, status="404", view="<unnamed view>", method="<invalid method>") > 0
    assert not any("ODD" in name or "odd" in name for name in before)


def test_requests_are_counted_by_status_view_and_method(client: Client, db: None) -> None:
    labels = {"status": "200", "view": "orchestra.diagnostics.probes.live", "method": "GET"}
    before = count(VIEWS, **labels)
    client.get("/health/live")
    assert count(VIEWS, **labels) == before + 1


def test_a_content_length_that_is_no_number_is_no_error(client: Client, db: None) -> None:
    assert client.get("/health/live", CONTENT_LENGTH="many").status_code == 200


def test_the_hooks_run_on_the_event_loop() -> None:
    """In a thread, each would cost every request two changes of threads."""
    threads = set()

    class Seen(After):
        def process_request(self, request: Any) -> None:
            threads.add(threading.get_ident())
            super().process_request(request)

        def process_response(self, request: Any, response: Any) -> Any:
            threads.add(threading.get_ident())
            return super().process_response(request, response)

    async def view(_request: Any) -> HttpResponse:
        return HttpResponse()

    middleware = Seen(view)
    assert iscoroutinefunction(middleware.process_view)
    response = asyncio.run(middleware(AsyncRequestFactory().get("/health/live")))
    assert response.status_code == 200
    assert threads == {threading.get_ident()}


def test_rest_responses_are_counted_under_the_asynchronous_server() -> None:
    """They are template responses, whose hook Django calls as a bound method."""
    response = async_to_sync(AsyncClient().get)("/api/sessions")
    assert response.status_code == 401
    assert count("django_http_responses_total_by_templatename_total", templatename="None") > 0


@pytest.fixture
def counted(db: None) -> Any:
    """A second connection to the database of the test, by the backend of the processes that count."""
    engine = connection.settings_dict["ENGINE"].rpartition(".")[2]
    wanted = connection.settings_dict | {"ENGINE": f"orchestra.db.counted.{engine}"}
    options = {name: value for name, value in wanted["OPTIONS"].items() if name != "pool"}
    other: BaseDatabaseWrapper = load_backend(wanted["ENGINE"]).DatabaseWrapper(
        wanted | {"OPTIONS": options}, "counted"
    )
    yield other
    other.close()


def test_statements_connections_and_errors_are_counted(counted: BaseDatabaseWrapper) -> None:
    labels = {"alias": "counted", "vendor": connection.vendor}
    with counted.cursor() as cursor:
        cursor.execute("SELECT 1")
        before = count("django_db_execute_total", **labels)
        cursor.execute("SELECT %s", [2])
        assert cursor.fetchall() == [(2,)]
        assert count("django_db_execute_total", **labels) == before + 1
        with pytest.raises(DatabaseError):
            cursor.execute("SELECT nothing_of_that_name")
    assert count("django_db_new_connections_total", **labels) == 1
    assert count("django_db_query_duration_seconds_count", **labels) == before + 2
    assert sum(s.value for m in REGISTRY.collect() if m.name == "django_db_errors" for s in m.samples) >= 1


def test_a_cached_value_that_is_false_is_found() -> None:
    cache = caches["throttles"]
    hits = count("django_cache_get_hits_total", backend="locmem")
    cache.set("empty", [])
    assert cache.get("empty", "default") == []
    assert cache.get("missing", "default") == "default"
    assert count("django_cache_get_hits_total", backend="locmem") == hits + 1


def test_migrations_are_counted_at_the_scrape(db: None) -> None:
    def read() -> dict[str, float]:
        return {family.name: family.samples[0].value for family in migrations.families()}

    before = read()
    assert before["django_migrations_unapplied_total"] == 0
    last = (
        MigrationRecorder.Migration.objects.filter(app="console").last() or MigrationRecorder.Migration.objects.last()
    )
    assert last is not None
    last.delete()
    after = read()
    assert after["django_migrations_applied_total"] == before["django_migrations_applied_total"] - 1
    assert after["django_migrations_unapplied_total"] == 1
