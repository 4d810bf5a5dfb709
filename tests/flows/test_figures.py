"""One scrape shows all processes of a running Orchestra, and outlives the end of one of them."""

import re
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import requests

from tests.promtool import check_metrics
from tests.stack import Stack, running, until

pytestmark = pytest.mark.timeout(300)


@pytest.fixture(scope="module")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    """With one session behind it: asked, refused, cancelled."""
    with running(tmp_path_factory.mktemp("figures")) as stack:
        session = stack.call("POST", "/api/sessions", {"prompt": "Show me around", "agent": "demo"}, expect=201)["id"]
        refusal = {"reason": "only looking"}
        stack.call("POST", f"/api/approvals/{stack.pending(session)['id']}/reject", refusal, expect=200)
        stack.call("POST", f"/api/sessions/{session}/cancel", {})
        yield stack


def text_of(stack: Stack) -> str:
    answer = requests.get(f"{stack.url}/metrics", timeout=30)
    assert answer.status_code == 200
    return answer.text


def value(text: str, series: str) -> float:
    found = re.search(rf"^{re.escape(series)} (\S+)$", text, re.MULTILINE)
    return float(found[1]) if found else 0.0


def test_requests_of_web_and_tasks_of_workers_are_in_one_scrape(stack: Stack) -> None:
    wanted = (
        'http_requests_total{method="POST",status="201",view="session-list"}',
        'celery_tasks_total{state="success",task="sessions_app.run_turn"}',  # a sessions worker's
        'celery_tasks_total{state="success",task="orchestra.beat"}',  # a worker's
    )
    until(lambda: all(value(text_of(stack), series) for series in wanted), "requests and tasks are counted")
    text = text_of(stack)
    check_metrics(text)
    assert value(text, "escalation_approvals_rejected_total") >= 1
    for process in ("web", "sessions", "worker", "beat"):
        memory = rf'^orchestra_process_memory_bytes{{host="[^"]+",pid="\d+",process="{process}"}} \d'
        until(lambda memory=memory: re.search(memory, text_of(stack), re.MULTILINE), f"{process} says that it lives")
    assert value(text, 'worker_canary_age_seconds{worker="sessions"}') < 60
    assert value(text, "broker_up") == 1


def test_diagnostics_say_on_sqlite_what_it_knows_and_null_for_the_rest(stack: Stack) -> None:
    found = stack.call("GET", "/api/diagnostics/database", expect=200)
    assert (found["engine"], found["migrations"]["missing"]) == ("sqlite", [])
    assert found["counts"]["agent_sessions"] >= 1
    found = stack.call("GET", "/api/diagnostics/database/performance", expect=200)
    assert found["size_bytes"] > 100_000
    assert "approvals_due" in {index["name"] for index in found["indexes"]}
    assert (found["pool"], found["slow_statements"], found["indexes"][0]["used"]) == (None, None, None)
    workers = until(lambda: all_proved(stack), "both workers have proved that they consume")
    assert workers["broker"] == "ok"
    consumed = {queue["name"]: queue["workers"] for queue in workers["queues"]}
    assert (consumed["default"], consumed["sessions"]) == (1, 1)


def all_proved(stack: Stack) -> dict[str, Any] | None:
    found: dict[str, Any] = stack.call("GET", "/api/diagnostics/workers", expect=200)
    ages = [process["canary_age_seconds"] for process in found["processes"] if process["worker"]]
    return found if len(ages) == 2 and all(age is not None and age < 120 for age in ages) else None


def test_ended_runs_are_counted_into_figures_that_outlive_them(stack: Stack) -> None:
    until(lambda: value(text_of(stack), "agent_run_duration_seconds_count") >= 1, "the ended run is counted")
    tallies = "from orchestra.models import Tally; print(Tally.objects.filter(name='agent_runs_total').count())"
    until(
        lambda: stack.manage("shell", "-v", "0", "-c", tallies).strip().splitlines()[-1] >= "1", "the sweep counts it"
    )


def test_no_counter_shrinks_when_a_worker_is_killed_and_started_again(stack: Stack) -> None:
    series = 'celery_tasks_total{state="success",task="approvals.seal_audit"}'
    before = until(lambda: value(text_of(stack), series), "the worker has worked")
    worker = stack.worker("default")
    worker.send_signal(signal.SIGKILL)
    until(lambda: stack.worker_or_none("default", not_pid=worker.pid), "the runner starts another")
    until(lambda: value(text_of(stack), series) > before, "the new one adds to what the old one did")


def test_files_of_an_earlier_start_are_forgotten(stack: Stack) -> None:
    folder = Path(stack.folder) / "var" / "run" / "metrics"
    stale = folder / "counter_elsewhere-1.db"
    stale.write_bytes(b"")
    stack.stop()
    stack.start()
    assert not stale.exists()
    assert value(text_of(stack), "escalation_approvals_rejected_total") >= 1
