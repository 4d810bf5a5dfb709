"""What is delivered for Prometheus and Grafana says what it means, and speaks of figures that exist."""

import json
import re
from pathlib import Path
from typing import Any

import pytest
import yaml
from django.conf import settings

from tests.promtool import check_metrics, promtool

DEPLOY = Path(settings.BASE_DIR) / "deploy"
RULES = DEPLOY / "prometheus" / "alerts.yml"
RULE_TESTS = DEPLOY / "prometheus" / "alerts_test.yml"
DASHBOARDS = sorted((DEPLOY / "grafana" / "dashboards").glob("*.json"))
DOCS = Path(settings.BASE_DIR) / "docs"
# Words of PromQL and of labels, and what Prometheus makes itself.
NO_FIGURES = {"up", "le", "age", "risk", "ended", "task", "status", "agent", "instance", "job", "verdict", "on"}
RUNBOOK_QUERIES = (
    "escalation_queue_size",
    "rate(escalation_approvals_accepted_total[5m]) * 60",
    "rate(telegram_api_failures_total[5m]) / rate(telegram_api_requests_total[5m]) * 100",
    "histogram_quantile(0.95, rate(escalation_response_time_seconds_bucket[5m]))",
)


def alerts() -> list[dict[str, Any]]:
    return [rule for group in yaml.safe_load(RULES.read_text())["groups"] for rule in group["rules"]]


def panels() -> list[dict[str, Any]]:
    return [panel for path in DASHBOARDS for panel in json.loads(path.read_text())["panels"]]


def queries() -> list[str]:
    return [target["expr"] for panel in panels() for target in panel["targets"]]


def figures_in(expression: str) -> set[str]:
    """The names of figures in a PromQL expression."""
    bare = re.sub(r"\{[^}]*\}|\[[^\]]*\]|\"[^\"]*\"", "", expression)
    words = set(re.findall(r"\b[a-z][a-z0-9_]+\b(?!\s*\()", bare))
    return words - NO_FIGURES - {"sum", "by", "unless", "and", "or"}


def existing(client: Any) -> set[str]:
    """Every sample and family name of a scrape, series of histograms included."""
    text = client.get("/metrics").content.decode()
    names = set(re.findall(r"^# TYPE (\S+)", text, re.MULTILINE)) | set(re.findall(r"^([a-z_]+)", text, re.MULTILINE))
    return names | {f"{name}{part}" for name in names for part in ("_bucket", "_sum", "_count")}


def test_the_configuration_and_the_rules_are_sound() -> None:
    assert "SUCCESS" in promtool("check", "config", str(DEPLOY / "prometheus" / "prometheus.yml"))


def test_every_alert_fires_when_it_should() -> None:
    assert "SUCCESS" in promtool("test", "rules", str(RULE_TESTS))
    fired = {
        sample["labels"].split('alertname="')[1].split('"')[0]
        for case in yaml.safe_load(RULE_TESTS.read_text())["tests"]
        for check in case["promql_expr_test"]
        for sample in check.get("exp_samples", ())
    }
    assert fired == {rule["alert"] for rule in alerts()}


def test_every_alert_says_what_happened_and_what_to_do() -> None:
    for rule in alerts():
        assert rule["labels"]["severity"] in ("warning", "critical")
        assert rule["annotations"]["summary"]
        assert rule["annotations"]["action"]


@pytest.mark.parametrize("query", RUNBOOK_QUERIES)
def test_every_query_of_the_runbook_has_a_panel(query: str) -> None:
    assert query in queries()


def test_every_query_of_a_dashboard_is_sound_promql(tmp_path: Path) -> None:
    rules = [{"record": f"query:{number}", "expr": query} for number, query in enumerate(queries())]
    path = tmp_path / "queries.yml"
    path.write_text(yaml.safe_dump({"groups": [{"name": "queries", "rules": rules}]}))
    assert f"{len(rules)} rules found" in promtool("check", "rules", str(path))


def test_dashboards_use_the_provisioned_source_and_no_name_twice() -> None:
    source = yaml.safe_load((DEPLOY / "grafana/provisioning/datasources/prometheus.yml").read_text())["datasources"][0]
    for panel in panels():
        assert {target["datasource"]["uid"] for target in panel["targets"]} == {source["uid"]}
    for path in DASHBOARDS:
        titles = [panel["title"] for panel in json.loads(path.read_text())["panels"]]
        assert len(titles) == len(set(titles))


def test_rules_and_dashboards_speak_of_figures_that_exist(client: Any, db: None) -> None:
    wanted = {name for rule in alerts() for name in figures_in(rule["expr"])}
    wanted |= {name for query in queries() for name in figures_in(query)}
    assert len(wanted) > 25
    assert wanted - existing(client) == set()


def test_the_docs_speak_of_figures_that_exist_and_of_all_of_them(client: Any, db: None) -> None:
    there = existing(client)
    told = set(
        re.findall(
            r"^\| `([a-z_]+)[`{]|`([a-z_]+)[`{](?=[^|]*\| (?:gauge|counter|histogram))",
            (DOCS / "metrics.md").read_text(),
            re.MULTILINE,
        )
    )
    names = {name for pair in told for name in pair if name}
    assert names - there == set()
    text = client.get("/metrics").content.decode()
    assert set(re.findall(r"^# TYPE (\S+)", text, re.MULTILINE)) - names == set()


def test_every_figure_is_described_once_and_as_promtool_likes_it(client: Any, db: None) -> None:
    text = client.get("/metrics").content.decode()
    check_metrics(text)
    types = re.findall(r"^# TYPE (\S+)", text, re.MULTILINE)
    assert len(types) == len(set(types))


def test_detailed_figures_come_only_when_asked_for(client: Any, db: None, settings: Any) -> None:
    from dataclasses import replace

    from tests.factories import make_approval

    make_approval()
    assert "approvals_open_by_tool" not in client.get("/metrics").content.decode()
    settings.METRICS = replace(settings.METRICS, detailed=True)
    client.get("/health/live")
    text = client.get("/metrics").content.decode()
    assert 'approvals_open_by_tool{tool="Bash"} 1.0' in text
    assert 'http_view_duration_seconds_count{view="orchestra.diagnostics.probes.live"}' in text
    check_metrics(text)
