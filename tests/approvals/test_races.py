"""Many at once, on real threads: exactly one winner, and the audit knows which."""

from datetime import timedelta
from functools import partial
from uuid import uuid4

import pytest
from django.db.models import Count, Q
from django.utils import timezone

from approvals.commands import (
    cancel_approval,
    consume_approval,
    decide_approval,
    expire_approval,
    expire_due_approvals,
    extend_approval,
)
from approvals.errors import ApprovalClosed, ApprovalExpired
from approvals.models import Approval, AuditEntry
from tests.factories import make_approval
from tests.threads import at_once

pytestmark = pytest.mark.django_db(transaction=True)

ROUNDS = 100


def winners(approval):
    return AuditEntry.objects.filter(approval=approval, won=True).exclude(action__in=["requested", "extended"])


def decide(approval, verdict, by, via="api"):
    return decide_approval(approval_id=approval.pk, decision=verdict, by=by, via=via)


def test_approve_against_reject_against_cancel_has_exactly_one_winner():
    seen = set()
    for _ in range(ROUNDS):
        approval = make_approval()
        results = at_once(
            [
                partial(decide, approval, "approved", "anna", "telegram"),
                partial(decide, approval, "rejected", "boris", "admin"),
                partial(decide, approval, "approved", "carla", "api"),
                partial(cancel_approval, approval_id=approval.pk, by="olga", via="api"),
            ]
        )
        approval.refresh_from_db()
        (winner,) = winners(approval)
        assert (winner.action, winner.by) == (approval.status, approval.decided_by)
        told = [result for result in results if isinstance(result, Approval)]
        assert [row.decided_by for row in told] == [approval.decided_by]
        losers = [result for result in results if not isinstance(result, Approval)]
        assert all(
            isinstance(loser, ApprovalClosed) and loser.facts["decided_by"] == approval.decided_by for loser in losers
        )
        assert AuditEntry.objects.filter(approval=approval, won=False).count() == 3
        seen.add(approval.decided_by)
    assert len(seen) > 1, "the race was never close"


def test_approve_against_expiry_at_the_deadline_has_exactly_one_winner():
    seen = set()
    for place in range(ROUNDS):
        approval = make_approval(expires_at=timezone.now() + timedelta(milliseconds=place % 20))
        results = at_once(
            [
                partial(decide, approval, "approved", "anna"),
                partial(expire_approval, approval.pk),
                partial(expire_due_approvals, batch=10),
                partial(decide, approval, "rejected", "boris"),
            ]
        )
        expire_due_approvals(batch=10)  # what was not due a moment ago
        approval.refresh_from_db()
        if approval.status == "pending":  # both refused: overdue for the people, taken by no sweeper yet
            continue
        (winner,) = winners(approval)
        assert winner.action == approval.status
        assert sum(isinstance(result, Approval) for result in results) == (approval.status != "expired")
        assert all(isinstance(result, Approval | int | ApprovalClosed | ApprovalExpired) for result in results), results
        seen.add(approval.status)
    assert "expired" in seen


def test_several_sweepers_expire_each_row_once():
    for _ in range(120):
        make_approval(expires_at=timezone.now() - timedelta(minutes=1))
    assert sum(at_once([partial(expire_due_approvals, batch=7)] * 4)) == 120
    assert not Approval.objects.exclude(status="expired").exists()
    per_approval = Approval.objects.annotate(times=Count("audit", filter=Q(audit__action="expired", audit__won=True)))
    assert set(per_approval.values_list("times", flat=True)) == {1}


def test_a_grant_is_spent_once_however_many_want_it():
    for _ in range(30):
        approval = make_approval(status="approved")
        spend = partial(consume_approval, approval_id=approval.pk, digest=approval.input_digest)
        assert sum(grant is not None for grant in at_once([spend] * 4)) == 1


def test_two_extensions_at_once_both_count_or_stop_at_the_maximum():
    approval = make_approval(expires_at=timezone.now() + timedelta(minutes=60))
    extend = partial(extend_approval, approval_id=approval.pk, minutes=40, by="anna", via="api")
    at_once([extend] * 3)
    approval.refresh_from_db()
    assert approval.expires_at <= approval.created_at + timedelta(minutes=120)


def test_an_open_question_about_the_same_subject_is_asked_once():
    from approvals.commands import ApprovalRequest, request_approval

    subject = f"session:{uuid4()}:toolu_1"
    results = at_once([partial(request_approval, ApprovalRequest(title="Bash: ls", subject=subject))] * 4)
    assert sum(isinstance(result, Exception) for result in results) == 3
    assert Approval.objects.filter(subject=subject).count() == 1
