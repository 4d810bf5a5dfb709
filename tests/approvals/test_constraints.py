"""The tables hold the line even against code that forgets to."""

import pytest
from django.db import DataError, IntegrityError, transaction
from django.db.models import ProtectedError
from django.utils import timezone

from approvals.models import Approval, AuditEntry
from tests.factories import make_approval

pytestmark = pytest.mark.django_db

VIOLATIONS = [
    {"status": "pending", "decided_at": timezone.now()},
    {"status": "approved", "decided_at": None},
    {"status": "pending", "consumed_at": timezone.now()},
    {"status": "rejected", "decided_at": timezone.now(), "consumed_at": timezone.now()},
    {"expires_at": None},
]


@pytest.mark.parametrize("change", VIOLATIONS)
def test_an_impossible_approval_is_refused_by_the_table(change):
    approval = make_approval()
    with pytest.raises(IntegrityError), transaction.atomic():
        Approval.objects.filter(pk=approval.pk).update(**change)


def test_a_subject_has_one_open_question_and_any_number_of_closed_ones():
    make_approval(subject="session:1:2", status="rejected")
    make_approval(subject="session:1:2", status="expired")
    make_approval(subject="session:1:2")
    with pytest.raises(IntegrityError), transaction.atomic():
        make_approval(subject="session:1:2")


def test_questions_without_a_subject_do_not_collide():
    make_approval(subject="")
    make_approval(subject="")


def test_a_name_longer_than_its_column_is_refused():
    with pytest.raises(DataError), transaction.atomic():
        make_approval(tool_name="x" * 500)


def test_an_approval_with_a_record_cannot_be_deleted():
    approval = make_approval()
    AuditEntry.objects.create(approval=approval, action="requested", won=True, via="api")
    with pytest.raises(ProtectedError):
        approval.delete()
