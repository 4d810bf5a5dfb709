"""With a collector a session is one tree of spans across processes, and figures arrive; without one nothing is sent."""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import requests
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily

from orchestra.diagnostics import tracing
from orchestra.metrics import otlp
from tests.factories import make_approval
from tests.fakes.collector import Collector, attributes
from tests.stack import running, until

SECRET = "never-in-a-span"


@pytest.fixture
def collector() -> Iterator[Collector]:
    collector = Collector()
    yield collector
    collector.stop()


@pytest.mark.timeout(300)
def test_a_session_is_one_tree_from_the_request_to_the_end_of_its_process(tmp_path: Path, collector: Collector) -> None:
    env = {
        "OTEL_EXPORTER_OTLP_ENDPOINT": collector.url, "OTEL_BSP_SCHEDULE_DELAY": "500",
        "METRICS_EXPORT_INTERVAL_SECONDS": "2", "SERVICE_NAME": "Orchestra.Test",
    }  # fmt: skip
    with running(tmp_path, **env) as stack:
        trace = "0af7651916cd43dd8448eb211c80319c"
        headers = {"Authorization": f"Token {stack.token}", "traceparent": f"00-{trace}-b7ad6b7169203331-01"}
        wanted = {"prompt": f"Write {SECRET}", "agent": "demo"}
        session = requests.post(f"{stack.url}/api/sessions", json=wanted, headers=headers, timeout=30).json()["id"]
        for _ in range(2):
            asked = stack.pending(session)["id"]
            stack.call("POST", f"/api/approvals/{asked}/reject", {"reason": SECRET}, expect=200)
            until(lambda asked=asked: stack.call("GET", f"/api/approvals/{asked}")["status"] == "rejected", "recorded")
            if stack.call("GET", f"/api/sessions/{session}")["status"] in ("completed", "failed"):
                break
        stack.call("POST", f"/api/sessions/{session}/cancel", {})
        until(lambda: {"turn", "agent process"} <= {span.name for span in collector.spans}, "spans of the worker")
        until(lambda: any("escalation_queue_size" in told for told in collector.metrics), "figures")
    tree = [span for span in collector.spans if span.trace_id.hex() == trace]
    by_name = {span.name: span for span in tree}
    assert set(by_name) == {"POST session-list", "session", "turn", "agent process", "approval"}
    parents = {name: span.parent_span_id for name, span in by_name.items()}
    assert parents["POST session-list"].hex() == "b7ad6b7169203331"
    assert parents["session"] == by_name["POST session-list"].span_id
    assert parents["turn"] == parents["approval"] == by_name["session"].span_id
    assert parents["agent process"] == by_name["turn"].span_id
    assert attributes(by_name["turn"])["session"] == session
    assert attributes(by_name["POST session-list"])["http.response.status_code"] == 201
    answered = by_name["approval"]
    assert attributes(answered)["status"] in ("rejected", "cancelled")
    assert answered.end_time_unix_nano > answered.start_time_unix_nano
    assert collector.services == {"Orchestra.Test"}
    assert SECRET not in str(collector.spans)
    rejected = [told["escalation_approvals_rejected_total"].sum for told in collector.metrics]
    assert rejected[-1].is_monotonic


def test_nothing_is_sent_without_a_collector(db: None) -> None:
    assert not tracing.enabled()
    with tracing.span("nothing") as span:
        assert span is None
    assert tracing.traceparent() == ""
    assert otlp.export() == 0


def test_figures_keep_their_kind_and_their_buckets() -> None:
    buckets = [("1.0", 2), ("5.0", 3), ("+Inf", 7)]
    gauge = GaugeMetricFamily("some", "x", labels=["risk"])
    gauge.add_metric(["low"], 4)
    families = [
        gauge, CounterMetricFamily("asked", "x", value=9), HistogramMetricFamily("took_seconds", "x", buckets, 30.0)
    ]  # fmt: skip
    told = otlp.as_otlp(families).resource_metrics[0].scope_metrics[0].metrics
    by_name = {metric.name: metric.data for metric in told}
    assert by_name["some"].data_points[0].attributes == {"risk": "low"}
    assert (by_name["asked_total"].is_monotonic, by_name["asked_total"].data_points[0].value) == (True, 9)
    point = by_name["took_seconds"].data_points[0]
    assert (point.count, point.sum, point.bucket_counts, point.explicit_bounds) == (7, 30.0, [2, 1, 4], [1.0, 5.0])


def test_no_more_points_than_allowed_are_sent_and_a_refusal_is_no_drama(
    db: None, settings: Any, collector: Collector, caplog: pytest.LogCaptureFixture
) -> None:
    settings.METRICS = replace(settings.METRICS, export_to=collector.url, max_points=5)
    otlp._exporter.cache_clear()
    make_approval()
    assert 0 < otlp.export() <= 5
    assert "METRICS_MAX_POINTS is 5" in caplog.text
    collector.refuse = True
    assert otlp.export() == 0
    assert "the collector did not take the figures" in caplog.text
    otlp._exporter.cache_clear()


def test_an_endpoint_without_the_packages_stops_the_start(settings: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    assert tracing.check_installed() == []
    settings.METRICS = replace(settings.METRICS, export_to="http://localhost:4318")
    assert tracing.check_installed() == []
    monkeypatch.setattr(tracing, "LIBRARY", "not_installed_anywhere.sdk")
    assert [error.id for error in tracing.check_installed()] == ["orchestra.E020"]
    assert not tracing.enabled()
