from datetime import timedelta

import pytest
from django.conf import settings
from django.db import connection
from django.test.utils import CaptureQueriesContext
from django.utils import timezone
from prometheus_client.parser import text_string_to_metric_families

from approvals import tasks
from approvals.commands import ApprovalRequest, cancel_approval, decide_approval, record_policy_decision
from approvals.metrics import count_closed, families, read_snapshot
from approvals.models import Approval
from orchestra.db import leases
from orchestra.db.counters import add_to_tallies
from orchestra.metrics import exposition
from orchestra.models import Tally
from tests.factories import make_approval, make_session
from tests.threads import at_once

PROMISED = {
    "escalation_queue_size": "gauge",
    "escalation_queue_enqueue": "counter",
    "escalation_queue_dequeue": "counter",
    "escalation_approvals_accepted": "counter",
    "escalation_approvals_rejected": "counter",
    "escalation_approvals_timeout": "counter",
    "escalation_response_time_seconds": "histogram",
    "telegram_api_requests": "counter",
    "telegram_api_failures": "counter",
    "telegram_api_retry_attempts": "counter",
    "telegram_api_duration_seconds": "histogram",
    "approval_timeout_service_health": "gauge",
    "telegram_service_health": "gauge",
    "telegram_enabled": "gauge",
}


def scrape(client):
    answer = client.get("/metrics")
    assert answer.status_code == 200
    return {family.name: family for family in text_string_to_metric_families(answer.content.decode())}


def values(client):
    return {
        sample.name if not sample.labels else (sample.name, *sample.labels.values()): sample.value
        for family in scrape(client).values()
        for sample in family.samples
    }


def steady(now):
    """Those about approvals, without what changes by itself."""
    ours = ("escalation_", "policy_", "approvals_open")
    return {series: value for series, value in now.items() if "".join(series).startswith(ours)}


def close_one_of_each():
    for verdict in ("approved", "rejected"):
        decide_approval(approval_id=make_approval().pk, decision=verdict, by="anna", via="api")
    make_approval(expires_at=timezone.now() - timedelta(minutes=1))
    tasks.expire_due()
    cancel_approval(approval_id=make_approval().pk, by="olga", via="api")
    make_approval(risk="high")


def test_every_promised_name_is_there_at_zero_from_the_first_scrape(client, db):
    found = scrape(client)
    assert {name: found[name].type for name in PROMISED} == PROMISED
    assert {sample.value for name in PROMISED for sample in found[name].samples} == {0}


def test_the_families_of_the_runbook_come_first_and_in_its_order(client, db):
    families_of_page = [
        family.name for family in text_string_to_metric_families(client.get("/metrics").content.decode())
    ]
    wanted = [name for name in PROMISED if name != "telegram_enabled"]
    assert families_of_page[: len(wanted)] == wanted
    assert len(families_of_page) > len(wanted) + 20


def test_each_end_of_an_approval_is_counted_as_itself(client, db):
    close_one_of_each()
    now = values(client)
    assert now["escalation_queue_size"] == 1
    assert now["approvals_open", "0-1m", "high"] == 1
    assert now["escalation_queue_enqueue_total"] == 5
    assert now["escalation_queue_dequeue_total"] == 4
    assert now["escalation_approvals_accepted_total"] == 1
    assert now["escalation_approvals_rejected_total"] == 1
    assert now["escalation_approvals_timeout_total"] == 1
    assert now["escalation_response_time_seconds_count"] == 2


def test_counting_changes_no_figure_and_counts_each_approval_once(client, db):
    close_one_of_each()
    before = steady(values(client))
    assert count_closed() == 4
    assert count_closed() == 0
    assert steady(values(client)) == before
    assert not Approval.objects.exclude(status="pending").filter(counted=False).exists()


def test_counters_do_not_shrink_when_closed_approvals_are_deleted(client, db):
    close_one_of_each()
    count_closed()
    before = steady(values(client))
    from approvals.models import AuditEntry

    AuditEntry.objects.all().delete()
    Approval.objects.exclude(status="pending").delete()
    assert steady(values(client)) == before


def test_the_response_time_is_sorted_into_buckets_before_and_after_counting(client, db):
    for seconds in (0.5, 45, 7000, 9000):
        now = timezone.now()
        approval = make_approval(status="approved", decided_at=now)
        Approval.objects.filter(pk=approval.pk).update(created_at=now - timedelta(seconds=seconds))
    for _ in range(2):
        found = values(client)
        buckets = [
            found["escalation_response_time_seconds_bucket", edge]
            for edge in ("1.0", "30.0", "60.0", "3600.0", "7200.0", "+Inf")
        ]
        assert buckets == [1, 1, 2, 2, 3, 4]
        assert found["escalation_response_time_seconds_sum"] == pytest.approx(16045.5, abs=1)
        count_closed()


def test_policy_answers_never_enter_the_figures_about_people(client, db):
    record_policy_decision(ApprovalRequest(title="Read x"), decision="approved", reason="a rule", consumed=True)
    for _ in range(2):
        found = values(client)
        assert found["escalation_queue_enqueue_total"] == found["escalation_approvals_accepted_total"] == 0
        assert found["policy_answers_total", "approved"] == 1
        count_closed()


@pytest.mark.django_db(transaction=True)
def test_two_counters_at_once_count_each_approval_once():
    for _ in range(60):
        make_approval(status="approved")
    assert sum(at_once([count_closed] * 4)) == 60
    assert read_snapshot().totals["escalation_approvals_accepted_total", ""] == 60
    assert Tally.objects.get(name="escalation_approvals_accepted_total").value == 60


def test_approval_figures_take_one_statement_and_the_heartbeat_another(db):
    close_one_of_each()
    with CaptureQueriesContext(
        connection,
    ) as statements:
        list(families())
    assert len(statements) == 2


def test_the_expiry_sweep_reports_its_health(client, db):
    assert values(client)["approval_timeout_service_health"] == 0
    tasks.expire_due()
    assert values(client)["approval_timeout_service_health"] == 1


def test_a_sweep_that_stopped_two_intervals_ago_is_not_healthy(client, db):
    from django.db.models.functions import Now

    from orchestra.models import Lease

    tasks.expire_due()
    Lease.objects.filter(name="approval_timeout_service").update(
        updated_at=Now() - 2 * settings.APPROVALS.check_interval - timedelta(seconds=1)
    )
    assert values(client)["approval_timeout_service_health"] == 0


def test_the_first_sweep_of_a_process_says_that_the_service_started(db, caplog):
    tasks._log_start.cache_clear()
    with caplog.at_level("INFO"):
        tasks.expire_due()
        tasks.expire_due()
    assert caplog.text.count("ApprovalTimeoutService started") == 1


def test_sessions_are_counted_by_status(client, db):
    make_session()
    make_session(status="running")
    found = values(client)
    assert found["agent_sessions", "queued"] == found["agent_sessions", "running"] == 1
    assert found["agent_sessions", "failed"] == 0


def test_a_token_is_asked_for_when_one_is_set(client, db, settings):
    from dataclasses import replace

    settings.METRICS = replace(settings.METRICS, token="s3cret-ü")
    assert client.get("/metrics").status_code == 401
    assert client.get("/metrics", headers={"authorization": "Bearer wrong"}).status_code == 401
    assert client.get("/metrics", headers={"authorization": "Token s3cret-ü"}).status_code == 401
    assert client.get("/metrics", headers={"authorization": "Bearer s3cret-ü"}).status_code == 200
    assert "s3cret" not in repr(settings.METRICS)


def test_an_open_metrics_page_warns_in_production(settings):
    from dataclasses import replace

    assert exposition.check_token() == []
    settings.ORCHESTRA = replace(settings.ORCHESTRA, environment="production")
    assert [warning.id for warning in exposition.check_token()] == ["orchestra.W001"]
    settings.METRICS = replace(settings.METRICS, token="x")
    assert exposition.check_token() == []


def test_the_page_is_read_only_and_speaks_openmetrics_to_those_who_ask(client, db):
    assert client.post("/metrics").status_code == 405
    answer = client.get("/metrics", headers={"accept": "application/openmetrics-text; version=1.0.0"})
    assert answer["Content-Type"].startswith("application/openmetrics-text")
    assert answer.content.endswith(b"# EOF\n")


def test_tallies_add_up(db):
    add_to_tallies({("a_total", ""): 2, ("a_total", "x=1"): 1})
    add_to_tallies({("a_total", ""): 3})
    assert dict(Tally.objects.values_list("labels", "value")) == {"": 5, "x=1": 1}
    assert not leases.was_touched_within("nothing", timedelta(hours=1))
