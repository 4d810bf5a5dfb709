"""The diagnostics say what the database, the broker and the processes know about themselves."""

import threading
import time
from datetime import timedelta
from typing import Any

import pytest
from django.conf import settings
from django.db import connection
from django.db.models.functions import Now

from approvals.commands import decide_approval
from orchestra.db import leases
from orchestra.db.notify import redis_client
from orchestra.models import Lease
from orchestra.runtime import heartbeats
from tests.factories import client_of, make_approval, make_user


@pytest.fixture
def viewer(db: None) -> Any:
    return client_of(make_user(group="Viewer"))


def asked(client: Any, path: str) -> Any:
    answer = client.get(f"/api/diagnostics/{path}")
    assert answer.status_code == 200, answer.content
    return answer.json()


def test_the_database_says_what_it_is_and_what_is_in_it(viewer: Any) -> None:
    make_approval()
    found = asked(viewer, "database")
    assert (found["status"], found["engine"]) == ("ok", "postgresql")
    assert found["version"].startswith("1")
    assert found["latency_ms"] > 0
    assert found["counts"]["approvals"] == 1
    assert "agent_sessions" in found["counts"]
    assert found["migrations"]["missing"] == []
    assert found["migrations"]["applied"] > 20


def test_its_performance_names_sizes_indexes_pool_and_server(viewer: Any) -> None:
    found = asked(viewer, "database/performance")
    assert 0 < found["latency_ms"]["median"] <= found["latency_ms"]["p95"]
    assert found["size_bytes"] > 1_000_000
    assert {"approvals", "events"} <= {table["name"] for table in found["tables"]}
    index = next(index for index in found["indexes"] if index["name"] == "approvals_due")
    assert (index["table"], index["used"] >= 0, index["size_bytes"] > 0) == ("approvals", True, True)
    assert found["slow_statements"] is None  # the extension is not there
    assert found["pool"]["most"] == settings.DATABASES["default"]["OPTIONS"]["pool"]["max_size"]
    assert 0 < found["server"]["connections"] <= found["server"]["most_connections"]


@pytest.mark.django_db(transaction=True)
def test_a_statement_that_runs_long_is_shown_without_its_secrets() -> None:
    client = client_of(make_user(group="Viewer"))
    secret = "Bearer 0123456789abcdef0123456789abcdef"

    def sleep() -> None:
        with connection.cursor() as cursor:
            cursor.execute(f"SELECT pg_sleep(4) /* {secret} */")
        connection.close()

    thread = threading.Thread(target=sleep)
    thread.start()
    time.sleep(1.5)
    try:
        running = asked(client, "database/performance")["running_statements"]
    finally:
        thread.join()
    shown = next(found for found in running if "pg_sleep" in found["statement"])
    assert shown["seconds"] >= 1
    assert "***" in shown["statement"]
    assert "0123456789abcdef" not in shown["statement"]


def test_figures_are_those_of_the_metrics_page_in_the_runbook_s_spelling(viewer: Any) -> None:
    make_approval()
    decide_approval(approval_id=make_approval().pk, decision="approved", by="anna", via="api")
    found = asked(viewer, "metrics")
    assert found["QueueSize"] == 1
    assert (found["EnqueueTotal"], found["DequeueTotal"]) == (2, 1)
    assert (found["ApprovalsAccepted"], found["ApprovalsRejected"], found["ApprovalsTimeout"]) == (1, 0, 0)
    assert found["AverageResponseTimeSeconds"] >= 0
    assert found["AverageTelegramDurationSeconds"] is None
    assert found["TelegramServiceHealthy"] is False
    assert found["ApprovalTimeoutServiceHealthy"] is False
    leases.touch("approval_timeout_service")
    assert asked(viewer, "metrics")["ApprovalTimeoutServiceHealthy"] is True


def test_workers_queues_and_beat_are_shown_as_they_were_last_heard_of(viewer: Any) -> None:
    assert asked(viewer, "workers")["beat_age_seconds"] is None
    leases.touch("beat")
    heartbeats.write()
    heartbeats.add_facts(
        lambda: {"queues": ["default", "sessions.here"], "worker": "w@here", "canary_age_seconds": 3.0}
    )
    try:
        heartbeats.write()
    finally:
        heartbeats._fact_sources.pop()
    key = f"orchestra-{settings.ORCHESTRA.instance}:default"
    redis_client().rpush(key, "message")
    try:
        found = asked(viewer, "workers")
    finally:
        redis_client().delete(key)
    assert found["broker"] == "ok"
    assert found["beat_age_seconds"] < 60
    assert {queue["name"]: (queue["depth"], queue["workers"]) for queue in found["queues"]} == {
        "default": (1, 1), "sessions": (0, 0), "sessions.here": (0, 1),
    }  # fmt: skip
    (process,) = found["processes"]
    assert (process["worker"], process["lives"]) == ("w@here", True)
    assert process["canary_age_seconds"] >= 3
    assert process["memory_bytes"] > 10_000_000


def test_a_process_that_fell_silent_is_shown_as_such_and_then_forgotten(viewer: Any) -> None:
    heartbeats.write()
    Lease.objects.filter(name__startswith="process:").update(updated_at=Now() - timedelta(minutes=1))
    assert [process["lives"] for process in asked(viewer, "workers")["processes"]] == [False]
    Lease.objects.filter(name__startswith="process:").update(
        name="process:old@elsewhere/1", updated_at=Now() - timedelta(minutes=10)
    )
    heartbeats.write()
    assert not Lease.objects.filter(name="process:old@elsewhere/1").exists()


def test_a_process_that_was_replaced_is_not_held_against_anybody(viewer: Any) -> None:
    heartbeats.add_facts(lambda: {"queues": ["default"], "pid": 1})
    try:
        heartbeats.write()
    finally:
        heartbeats._fact_sources.pop()
    row = Lease.objects.filter(name__startswith="process:")
    row.update(name="process:old", updated_at=Now() - timedelta(minutes=1))
    found = asked(viewer, "workers")
    assert [process["pid"] for process in found["processes"]] == [1]
    assert [queue["workers"] for queue in found["queues"] if queue["name"] == "default"] == [0]
    heartbeats.add_facts(lambda: {"pid": 2, "started_at": time.time() - 30})
    try:
        heartbeats.write()
    finally:
        heartbeats._fact_sources.pop()
    assert [process["pid"] for process in asked(viewer, "workers")["processes"]] == [2]


def test_without_a_broker_the_page_says_so(viewer: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    import redis

    from orchestra.runtime import queues

    nobody = redis.Redis.from_url("unix:///tmp/nobody-listens-here.sock", retry=None)
    monkeypatch.setattr(queues, "redis_client", lambda: nobody)
    found = asked(viewer, "workers")
    assert found["broker"] == "down"
    assert {queue["depth"] for queue in found["queues"]} == {None}
    assert "broker_up 0.0" in viewer.get("/metrics").content.decode()
