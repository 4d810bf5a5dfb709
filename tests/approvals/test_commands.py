import contextlib
import json
from datetime import timedelta
from uuid import uuid4

import pytest
from django.conf import settings
from django.db import IntegrityError, connection, transaction
from django.db.models.functions import Now
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from approvals.commands import (
    ApprovalRequest,
    cancel_approval,
    cancel_open_approvals,
    consume_approval,
    decide_approval,
    expire_approval,
    expire_due_approvals,
    extend_approval,
    record_policy_decision,
    request_approval,
)
from approvals.errors import (
    ApprovalClosed,
    ApprovalExpired,
    ApprovalNotFound,
    DigestMismatch,
    InvalidDecision,
    SelfApproval,
)
from approvals.models import Approval, AuditEntry, Rule
from approvals.policy.digest import input_digest
from approvals.signals import approval_changed
from sessions_app.models import PermissionRequest, Run
from tests.factories import make_approval, make_turn

A = Approval.Status


def decide(approval, verdict=A.APPROVED, by="anna", via="api", **more):
    return decide_approval(approval_id=approval.pk, decision=verdict, by=by, via=via, **more)


def overdue(**overrides):
    return make_approval(expires_at=timezone.now() - timedelta(minutes=1), **overrides)


def audit_of(approval):
    return list(AuditEntry.objects.filter(approval=approval).values_list("action", "won", "by", "via"))


def with_settings(settings, **changes):
    from dataclasses import replace

    settings.APPROVALS = replace(settings.APPROVALS, **changes)


# --- asking


def test_a_question_waits_for_the_default_time_and_is_audited(db):
    approval = Approval.objects.get(
        pk=request_approval(ApprovalRequest(title="Bash: ls", requested_by="olga"), via="api")
    )
    assert (approval.status, approval.decided_at) == (A.PENDING, None)
    assert approval.expires_at - approval.created_at == settings.APPROVALS.timeout
    assert audit_of(approval) == [("requested", True, "olga", "api")]


def test_nobody_may_wait_longer_than_the_maximum(db):
    approval = Approval.objects.get(pk=request_approval(ApprovalRequest(title="x"), timeout=timedelta(days=30)))
    assert approval.expires_at - approval.created_at == settings.APPROVALS.max_timeout


def test_what_was_asked_is_kept_to_the_last_byte(db):
    exact = '{"b": 1, "a": "\\u0000\\ud800", "a": 12345678901234567890.10, "big": 123456789012345678901234567890}'
    pk = request_approval(ApprovalRequest(title="x", tool_name="T", tool_input=exact))
    assert Approval.objects.get(pk=pk).tool_input == exact


def test_one_subject_has_one_open_question_and_may_be_asked_again_when_it_is_closed(db):
    question = ApprovalRequest(title="x", subject="session:1:toolu_1")
    first = request_approval(question)
    with pytest.raises(IntegrityError), transaction.atomic():
        request_approval(question)
    cancel_approval(approval_id=first, by="", via="system")
    assert request_approval(question) != first


def test_a_policy_answer_is_recorded_closed_and_audited(db):
    pk = record_policy_decision(
        ApprovalRequest(title="x", input_digest="d" * 64), decision=A.APPROVED, reason="rule", consumed=True
    )
    approval = Approval.objects.get(pk=pk)
    assert (approval.status, approval.decided_via, approval.run_digest) == (A.APPROVED, "policy", "d" * 64)
    assert approval.consumed_at is not None
    assert audit_of(approval) == [("approved", True, "", "policy")]


# --- deciding


def test_the_first_answer_wins_and_is_written_down(db):
    approval = make_approval()
    answered = decide(approval, A.REJECTED, reason="not on a Friday", address="10.0.0.1")
    assert (answered.status, answered.decided_by, answered.decided_via, answered.reason) == (
        A.REJECTED, "anna", "api", "not on a Friday",
    )  # fmt: skip
    entry = AuditEntry.objects.get(approval=approval)
    assert (entry.won, entry.address, entry.digest) == (True, "10.0.0.1", approval.input_digest)
    assert answered.run_digest == ""


def test_a_second_answer_is_told_who_won_and_changes_nothing(db):
    approval = make_approval()
    decide(approval, A.REJECTED, by="anna", via="admin")
    with pytest.raises(ApprovalClosed) as refused:
        decide(approval, A.APPROVED, by="boris", via="telegram")
    approval.refresh_from_db()
    assert (approval.status, approval.decided_by) == (A.REJECTED, "anna")
    assert refused.value.facts["decided_by"] == "anna"
    assert refused.value.facts["decided_via"] == "admin"
    assert refused.value.facts["decided_at"] == approval.decided_at.isoformat()
    assert audit_of(approval) == [("rejected", True, "anna", "admin"), ("approved", False, "boris", "telegram")]


def test_the_same_answer_by_the_same_person_again_is_harmless(db):
    approval = make_approval()
    first = decide(approval)
    again = decide(approval, via="telegram")
    assert (again.decided_at, again.decided_via) == (first.decided_at, "api")
    with pytest.raises(ApprovalClosed):
        decide(approval, by="boris")
    with pytest.raises(ApprovalClosed):
        decide(approval, A.REJECTED)


def test_the_same_answer_with_another_input_is_another_answer(db):
    approval = make_approval()
    decide(approval)
    with pytest.raises(ApprovalClosed):
        decide(approval, updated_input='{"command": "ls"}')
    approval.refresh_from_db()
    assert (approval.updated_input, approval.run_digest) == ("", approval.input_digest)


def test_an_unknown_approval_is_not_found(db):
    with pytest.raises(ApprovalNotFound):
        decide_approval(approval_id=uuid4(), decision=A.APPROVED, by="anna", via="api")


def test_an_overdue_question_cannot_be_answered_though_no_sweep_ran(db):
    approval = overdue()
    for verdict in (A.APPROVED, A.REJECTED):
        with pytest.raises(ApprovalExpired):
            decide(approval, verdict)
    approval.refresh_from_db()
    assert approval.status == A.PENDING
    assert audit_of(approval) == [("approved", False, "anna", "api"), ("rejected", False, "anna", "api")]


def test_the_deadline_is_judged_by_the_clock_of_the_database(db, monkeypatch):
    late, early = timezone.now() + timedelta(days=1), timezone.now() - timedelta(days=1)
    approval = make_approval()
    monkeypatch.setattr(timezone, "now", lambda: late)
    assert expire_due_approvals(batch=10) == 0
    assert decide(approval).status == A.APPROVED
    approval = make_approval(expires_at=early + timedelta(hours=23))
    monkeypatch.setattr(timezone, "now", lambda: early)
    with pytest.raises(ApprovalExpired):
        decide(approval)


def test_the_grace_period_belongs_to_the_people(db, settings):
    with_settings(settings, grace=timedelta(minutes=2))
    approval = overdue()
    assert expire_due_approvals(batch=10) == 0
    assert not expire_approval(approval.pk)
    assert decide(approval).status == A.APPROVED


def test_only_approved_and_rejected_are_answers(db):
    for verdict in ("expired", "cancelled", "pending", "yes", ""):
        with pytest.raises(InvalidDecision):
            decide(make_approval(), verdict)


def test_nobody_answers_what_they_asked_unless_the_house_allows_it(db, settings):
    with_settings(settings, self_approval=False)
    approval = make_approval(requested_by="anna")
    with pytest.raises(SelfApproval):
        decide(approval, by="anna")
    with_settings(settings, self_approval=True)
    assert decide(approval, by="anna").status == A.APPROVED


def test_who_looked_at_another_input_is_refused(db):
    approval = make_approval()
    with pytest.raises(DigestMismatch) as refused:
        decide(approval, seen_digest="0" * 64)
    assert refused.value.facts["input_digest"] == approval.input_digest
    assert decide(approval, seen_digest=approval.input_digest).status == A.APPROVED


def test_an_edited_input_has_its_own_digest(db):
    approval = make_approval()
    edited = '{"command": "rm -r build/tmp"}'
    answered = decide(approval, updated_input=edited)
    expected = input_digest(tool_name="Bash", tool_input=edited, working_directory="/tmp", session=None)
    assert answered.run_digest == expected != answered.input_digest
    assert answered.updated_input == edited
    assert AuditEntry.objects.get(approval=approval).digest == expected


@pytest.mark.parametrize(
    "answer",
    [
        {"updated_input": "[1]"},
        {"updated_input": "not json"},
        {"updated_input": "{" + '"a":{' * 100_000},
        {"updated_input": '{"a": ' + "[" * 200_000 + "]" * 200_000 + "}"},
        {"updated_input": '{"n": ' + "1" * 5000 + "}"},
        {"updated_input": "{}", "verdict": A.REJECTED},
        {"answers": "[]"},
        {"answers": "{"},
        {"scope": "forever"},
    ],
)
def test_an_answer_that_does_not_fit_is_refused_and_the_question_stays_open(db, answer):
    approval = make_approval()
    with pytest.raises(InvalidDecision):
        decide(approval, **answer)
    approval.refresh_from_db()
    assert approval.status == A.PENDING


def test_questions_of_other_kinds_cannot_be_edited(db):
    with pytest.raises(InvalidDecision):
        decide(make_approval(kind="external"), updated_input="{}")


def test_approve_for_the_session_opens_a_rule_for_exactly_that_call(db):
    session = uuid4()
    approval = make_approval(session=session)
    decide(approval, scope="session")
    rule = Rule.objects.get()
    assert (rule.effect, rule.tool, rule.scope, rule.scope_value) == ("allow", "Bash", "session", str(session))
    assert (rule.pattern, rule.created_by) == ("rm -r build", "anna")


def test_rejecting_for_the_session_opens_no_rule(db):
    decide(make_approval(session=uuid4()), A.REJECTED, scope="session")
    assert not Rule.objects.exists()


@pytest.mark.parametrize(
    ("approval", "answer"),
    [
        ({}, {}),
        ({"session": uuid4(), "kind": "question"}, {}),
        ({"session": uuid4(), "kind": "external"}, {}),
        ({"session": uuid4()}, {"updated_input": '{"command": "ls"}'}),
    ],
)
def test_approve_for_the_session_needs_a_session_and_an_unedited_tool_call(db, approval, answer):
    row = make_approval(**approval)
    with pytest.raises(InvalidDecision) as refused:
        decide(row, scope="session", **answer)
    assert "scope" in refused.value.facts["fields"]
    assert not Rule.objects.exists()


# --- expiring


def test_what_is_overdue_is_closed_and_what_is_not_stays(db, caplog):
    late, fresh = overdue(), make_approval()
    with caplog.at_level("INFO"):
        assert expire_due_approvals(batch=10) == 1
    late.refresh_from_db()
    fresh.refresh_from_db()
    assert (late.status, late.reason, fresh.status) == (A.EXPIRED, "Timeout waiting for approval", A.PENDING)
    assert audit_of(late) == [("expired", True, "", "system")]
    assert audit_of(fresh) == []
    with pytest.raises(ApprovalExpired):
        decide(late)


@pytest.mark.django_db(transaction=True)
def test_an_expiry_says_so_in_the_log_both_ways(caplog):
    late = overdue()
    with caplog.at_level("INFO"):
        expire_due_approvals(batch=10)
    assert f"approval {late.pk} timeout" in caplog.text
    assert "approval cancelled" in caplog.text


def test_one_sweep_drains_more_than_a_batch_in_few_statements(db):
    for _ in range(25):
        overdue()
    with CaptureQueriesContext(connection) as statements:
        assert expire_due_approvals(batch=10) == 25
    updates = [row for row in statements if row["sql"].startswith("UPDATE")]
    assert len(updates) == 3


@contextlib.contextmanager
def damaged(*rows):
    """These rows refuse every UPDATE."""
    ids = ", ".join(f"'{row.pk}'" for row in rows)
    with connection.cursor() as cursor:
        cursor.execute(
            "CREATE FUNCTION refuse() RETURNS trigger AS $$ BEGIN"
            f" IF NEW.id IN ({ids}) THEN RAISE EXCEPTION 'damaged'; END IF; RETURN NEW; END $$ LANGUAGE plpgsql;"
            "CREATE TRIGGER refuse BEFORE UPDATE ON approvals FOR EACH ROW EXECUTE FUNCTION refuse()"
        )
    try:
        yield
    finally:
        with connection.cursor() as cursor:
            cursor.execute("DROP FUNCTION refuse CASCADE")


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize("number", [1, 5], ids=["one", "a whole batch"])
def test_rows_that_cannot_be_closed_are_logged_and_block_no_others(caplog, number):
    rows = [overdue() for _ in range(11 + number)]
    bad = rows[:number]
    Approval.objects.filter(pk__in=[row.pk for row in bad]).update(expires_at=Now() - timedelta(days=1))
    with damaged(*bad):
        assert expire_due_approvals(batch=5) == 11
    for row in bad:
        row.refresh_from_db()
        assert row.status == A.PENDING
        assert str(row.pk) in caplog.text
    assert AuditEntry.objects.filter(action="expired").count() == 11
    assert expire_due_approvals(batch=5) == number


def test_expiring_one_by_its_own_timer_waits_for_its_deadline(db):
    approval = make_approval()
    assert not expire_approval(approval.pk)
    Approval.objects.filter(pk=approval.pk).update(expires_at=Now())
    assert expire_approval(approval.pk)
    assert not expire_approval(approval.pk)
    assert not expire_approval(uuid4())


# --- withdrawing and extending


def test_a_question_can_be_withdrawn_and_withdrawn_again(db):
    approval = make_approval()
    assert cancel_approval(approval_id=approval.pk, by="olga", via="api", reason="never mind").status == A.CANCELLED
    assert cancel_approval(approval_id=approval.pk, by="olga", via="api").reason == "never mind"
    assert audit_of(approval) == [("cancelled", True, "olga", "api"), ("cancelled", False, "olga", "api")]
    with pytest.raises(ApprovalClosed):
        decide(approval)


def test_what_was_answered_cannot_be_withdrawn(db):
    approval = make_approval()
    decide(approval)
    with pytest.raises(ApprovalClosed):
        cancel_approval(approval_id=approval.pk, by="olga", via="api")
    with pytest.raises(ApprovalNotFound):
        cancel_approval(approval_id=uuid4(), by="olga", via="api")


def test_the_open_questions_of_one_session_are_withdrawn_together(db):
    session = uuid4()
    mine = [make_approval(session=session) for _ in range(3)]
    decide(mine[0])
    other = make_approval(session=uuid4())
    assert cancel_open_approvals(session=session, by="olga", via="api", reason="stop") == 2
    other.refresh_from_db()
    assert other.status == A.PENDING


def test_an_extension_adds_minutes(db):
    approval = make_approval()
    longer = extend_approval(approval_id=approval.pk, minutes=10, by="anna", via="api")
    assert longer.expires_at - approval.expires_at == timedelta(minutes=10)
    assert audit_of(approval) == [("extended", True, "anna", "api")]


def test_an_extension_may_use_the_maximum_to_the_second(db, settings):
    with_settings(settings, max_timeout=timedelta(seconds=90))
    approval = make_approval(expires_at=timezone.now() + timedelta(seconds=10))
    longer = extend_approval(approval_id=approval.pk, minutes=1.25, by="anna", via="api")
    assert longer.expires_at - approval.expires_at == timedelta(seconds=75)


@pytest.mark.parametrize("minutes", [0, -1, 61, 121, 10**12, float("inf"), float("nan")])
def test_an_extension_stays_within_the_maximum_counted_from_the_question(db, minutes):
    approval = make_approval(expires_at=timezone.now() + timedelta(minutes=60))
    with pytest.raises(InvalidDecision):
        extend_approval(approval_id=approval.pk, minutes=minutes, by="anna", via="api")
    before = approval.expires_at
    approval.refresh_from_db()
    assert approval.expires_at == before


def test_what_is_overdue_or_closed_is_not_extended(db):
    with pytest.raises(ApprovalExpired):
        extend_approval(approval_id=overdue().pk, minutes=5, by="anna", via="api")
    approval = make_approval()
    decide(approval)
    with pytest.raises(ApprovalClosed):
        extend_approval(approval_id=approval.pk, minutes=5, by="anna", via="api")


# --- spending


def test_a_grant_is_spent_once_and_for_its_own_input_only(db):
    approval = make_approval()
    spend = {"approval_id": approval.pk, "digest": approval.input_digest}
    assert consume_approval(**spend) is None
    decide(approval, updated_input=json.dumps({"command": "ls"}))
    assert consume_approval(approval_id=approval.pk, digest="0" * 64) is None
    grant = consume_approval(**spend)
    assert grant is not None
    assert grant.updated_input == '{"command": "ls"}'
    assert consume_approval(**spend) is None


def test_what_was_refused_or_expired_is_never_spent(db):
    for status in (A.REJECTED, A.EXPIRED, A.CANCELLED):
        approval = make_approval(status=status)
        assert consume_approval(approval_id=approval.pk, digest=approval.input_digest) is None


# --- what it costs and whom it tells


@pytest.mark.django_db(transaction=True)
def test_asking_takes_one_statement_and_deciding_for_a_live_agent_three():
    """What rings after the commit included."""
    turn = make_turn()
    Run.objects.create(session=turn.session, turn=turn, fence=1, host="here", worker_pid=1, worker_started=0)
    question = ApprovalRequest(title="x", tool_name="Bash", tool_input='{"command": "ls"}', session=turn.session.pk)
    with CaptureQueriesContext(connection) as asking:
        pk = request_approval(question)
    PermissionRequest.objects.create(session=turn.session, turn=turn, approval_id=pk, request_id="r", tool_use_id="t")
    with CaptureQueriesContext(connection) as deciding:
        decide_approval(approval_id=pk, decision=A.APPROVED, by="anna", via="api")
    for captured, most in ((asking, 1), (deciding, 3)):
        assert len(captured) <= most, "\n".join(row["sql"][:200] for row in captured)


@pytest.mark.django_db(transaction=True)
def test_every_change_rings_once_after_its_commit():
    rung = []

    def hear(approval_id, **_signal):
        rung.append((str(approval_id), Approval.objects.get(pk=approval_id).status))

    approval_changed.connect(hear)
    try:
        pk = request_approval(ApprovalRequest(title="x"))
        extend_approval(approval_id=pk, minutes=1, by="anna", via="api")
        decide_approval(approval_id=pk, decision=A.APPROVED, by="anna", via="api")
        decide_approval(approval_id=pk, decision=A.APPROVED, by="anna", via="api")
        late = overdue()
        expire_due_approvals(batch=10)
        expire_due_approvals(batch=10)
    finally:
        approval_changed.disconnect(hear)
    assert rung == [(str(pk), "pending"), (str(pk), "pending"), (str(pk), "approved"), (str(late.pk), "expired")]


@pytest.mark.django_db(transaction=True)
def test_a_listener_that_fails_does_not_undo_a_decision():
    def fails(**_signal):
        raise RuntimeError

    approval_changed.connect(fails)
    try:
        assert decide(make_approval()).status == A.APPROVED
    finally:
        approval_changed.disconnect(fails)
