"""The counters say what the audit says, whatever happened and wherever the rows are now."""

import gzip
import json
from collections import Counter
from collections.abc import Callable, Iterable
from datetime import timedelta
from pathlib import Path

import pytest
from django.core.management import call_command
from django.test import Client
from django.utils import timezone
from prometheus_client.parser import text_string_to_metric_families

from approvals import metrics, tasks
from approvals.commands import (
    ApprovalRequest,
    cancel_approval,
    decide_approval,
    extend_approval,
    record_policy_decision,
    request_approval,
)
from approvals.errors import ApprovalClosed, ApprovalExpired
from approvals.models import Approval, AuditEntry, DecisionSource
from approvals.queries import find_approval
from orchestra.archive.commands import archive
from orchestra.db.counters import Totals
from tests.factories import client_of, make_user
from tests.threads import at_once

COUNTED = {  # what the audit calls it: Prometheus, the diagnostics
    "approved": ("escalation_approvals_accepted_total", "ApprovalsAccepted"),
    "rejected": ("escalation_approvals_rejected_total", "ApprovalsRejected"),
    "expired": ("escalation_approvals_timeout_total", "ApprovalsTimeout"),
    "closed": ("escalation_queue_dequeue_total", "DequeueTotal"),
    "requested": ("escalation_queue_enqueue_total", "EnqueueTotal"),
}


def asked(*, overdue: bool = False) -> Approval:
    """A program's question, on the record."""
    approval_id = request_approval(
        ApprovalRequest(title="Deploy", kind="external", requested_by="a program"), via=DecisionSource.API
    )
    if overdue:
        Approval.objects.filter(pk=approval_id).update(expires_at=timezone.now() - timedelta(minutes=1))
    return find_approval(approval_id)


def decide(approval: Approval, verdict: str, by: str, via: str = DecisionSource.TELEGRAM) -> str:
    try:
        return decide_approval(approval_id=approval.pk, decision=verdict, by=by, via=via).status
    except (ApprovalClosed, ApprovalExpired):
        return "lost"


def mixed_run() -> None:
    """Every end of a question through several doors, with repeats, late answers and lost races."""
    rest = client_of(make_user(group="Approver"))
    for verb in ("approve", "reject", "approve"):
        assert rest.post(f"/api/approvals/{asked().pk}/{verb}", {"reason": "so"}, format="json").status_code == 200
    call_command("approvals", "approve", str(asked().pk), "--reason", "from the shell")
    repeated = asked()
    assert [decide(repeated, "rejected", "anna") for _ in range(3)] == ["rejected"] * 3
    assert decide(repeated, "approved", "boris", DecisionSource.ADMIN) == "lost"
    for number in range(4):
        raced = asked()
        at_once([racing(raced, "approved", f"a{number}"), racing(raced, "rejected", f"b{number}")])
    withdrawn = asked()
    for _ in range(2):
        cancel_approval(approval_id=withdrawn.pk, by="olga", via=DecisionSource.DASHBOARD)
    late = asked(overdue=True)
    assert decide(late, "approved", "anna") == "lost"
    asked(overdue=True)
    tasks.expire_due()
    for verdict in ("approved", "rejected", "approved"):
        record_policy_decision(ApprovalRequest(title="Bash: ls"), decision=verdict, reason="a rule", consumed=False)
    extend_approval(approval_id=asked().pk, minutes=5, by="anna", via=DecisionSource.API)


def racing(approval: Approval, verdict: str, by: str) -> Callable[[], str]:
    return lambda: decide(approval, verdict, by)


def audited(house: Path) -> Counter[str]:
    """What the audit counts: in the database and in the archives; policy answers apart."""
    entries = [(one.action, one.won, one.via) for one in AuditEntry.objects.all()]
    for path in house.glob("archives/*/*.jsonl.gz"):
        with gzip.open(path) as file:
            told = [line["fields"] for line in map(json.loads, file) if line["model"] == "approvals.auditentry"]
        entries += [(one["action"], one["won"], one["via"]) for one in told]
    count: Counter[str] = Counter()
    for action, won, via in entries:
        if won:
            count[f"policy {action}" if via == DecisionSource.POLICY else action] += 1
    count["closed"] = sum(count[end] for end in ("approved", "rejected", "expired", "cancelled"))
    return count


def disagreements(house: Path) -> list[str]:
    """One line for each figure, at either door, that is not what the audit counts."""
    page = Client().get("/metrics").content.decode()
    shown = {
        (sample.name, *sample.labels.values()): sample.value
        for family in text_string_to_metric_families(page)
        for sample in family.samples
    }
    told = client_of(make_user(group="Viewer")).get("/api/diagnostics/metrics").json()
    count = audited(house)
    figures = [(name, shown[name,], count[what]) for what, (name, _) in COUNTED.items()]
    figures += [(name, told[name], count[what]) for what, (_, name) in COUNTED.items()]
    answers = count["approved"] + count["rejected"]
    figures.append(("answers timed", shown["escalation_response_time_seconds_count",], answers))
    figures += [
        (f"policy {end}", shown["policy_answers_total", end], count[f"policy {end}"])
        for end in ("approved", "rejected")
    ]
    return [f"{name} is {value:g}, the audit counts {right}" for name, value, right in figures if value != right]


def make_old() -> None:
    """Half of what is closed, as if it had been closed long ago."""
    then = timezone.now() - timedelta(days=100)
    some = list(Approval.objects.exclude(status="pending").order_by("created_at").values_list("pk", flat=True)[::2])
    Approval.objects.filter(pk__in=some).update(created_at=then - timedelta(seconds=9), decided_at=then)


def test_the_counters_are_what_the_audit_adds_up_to_before_and_after_retention(house: Path) -> None:
    mixed_run()
    assert AuditEntry.objects.filter(won=False).exists(), "some attempt lost"
    assert disagreements(house) == []
    metrics.count_closed()
    assert disagreements(house) == [], "counted"
    make_old()
    assert archive(timedelta(days=90)).archived["approvals"] > 3
    assert disagreements(house) == [], "archived"
    mixed_run()
    make_old()
    assert archive(timedelta(days=90)).archived["approvals"] > 3
    assert disagreements(house) == [], "archived before anybody had counted it"


def test_a_lost_attempt_that_was_counted_would_be_seen(house: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    mixed_run()
    honest = metrics.totals_of

    def with_losers(closed: Iterable[metrics.Closed]) -> Totals:
        totals = honest(closed)
        totals[metrics.ACCEPTED, ""] += AuditEntry.objects.filter(won=False, action="approved").count()
        return totals

    monkeypatch.setattr(metrics, "totals_of", with_losers)
    found = disagreements(house)
    assert any(line.startswith("escalation_approvals_accepted_total") for line in found)
    assert any(line.startswith("ApprovalsAccepted") for line in found)
