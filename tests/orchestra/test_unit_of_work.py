"""What commits together: all of it or nothing, and nobody hears of it before."""

import pytest
from django.db import DatabaseError, connection, transaction
from django.test.utils import CaptureQueriesContext

from approvals.models import APPROVAL_FLOW, Approval, AuditEntry
from orchestra.db import notify, sql
from orchestra.db.unit_of_work import UnitOfWork
from tests.factories import make_approval

A = Approval.Status


def closing(approval: Approval) -> sql.Statement:
    return APPROVAL_FLOW.move_statement(Approval, approval.pk, to=A.REJECTED, guard=sql.ALWAYS, stamp="decided_at")


def entry(approval: Approval, **overrides: object) -> AuditEntry:
    return AuditEntry(**{"approval_id": approval.pk, "action": "rejected", "won": True, "via": "api"} | overrides)


def heard_by(unit: UnitOfWork) -> list[str]:
    heard: list[str] = []
    unit.on_commit(lambda: heard.append(Approval.objects.get().status))
    return heard


@pytest.mark.django_db(transaction=True)
def test_a_unit_writes_everything_then_tells():
    approval = make_approval()
    unit = UnitOfWork(closing(approval), returning="status, decided_at")
    unit.insert(entry(approval, by="anna"))
    unit.insert(entry(approval, by="boris"))
    heard = heard_by(unit)
    changed = unit.commit()
    assert changed
    approval.refresh_from_db()
    assert (approval.status, sql.load_value(Approval._meta.get_field("decided_at"), changed[1])) == (
        changed[0], approval.decided_at,
    )  # fmt: skip
    assert set(AuditEntry.objects.values_list("by", flat=True)) == {"anna", "boris"}
    assert heard == [A.REJECTED]


@pytest.mark.django_db(transaction=True)
def test_where_the_guard_changes_nothing_nothing_else_happens():
    approval = make_approval(status=A.APPROVED)
    unit = UnitOfWork(closing(approval))
    unit.insert(entry(approval))
    heard = heard_by(unit)
    assert unit.commit() is None
    assert (AuditEntry.objects.count(), heard) == (0, [])


@pytest.mark.django_db(transaction=True)
def test_a_row_that_is_refused_takes_the_whole_unit_along():
    approval = make_approval()
    unit = UnitOfWork(closing(approval))
    unit.insert(entry(approval))
    unit.insert(entry(approval, won=None))  # the column takes no NULL
    heard = heard_by(unit)
    with pytest.raises(DatabaseError):
        unit.commit()
    approval.refresh_from_db()
    assert (approval.status, AuditEntry.objects.count(), heard) == (A.PENDING, 0, [])


@pytest.mark.django_db(transaction=True)
def test_inside_a_transaction_a_unit_shares_its_fate():
    approval = make_approval()
    unit = UnitOfWork(closing(approval))
    heard = heard_by(unit)
    with pytest.raises(ZeroDivisionError), transaction.atomic():
        unit.commit()
        assert heard == []
        raise ZeroDivisionError
    approval.refresh_from_db()
    assert (approval.status, heard) == (A.PENDING, [])


@pytest.mark.django_db(transaction=True)
def test_postgresql_gets_a_unit_in_one_statement_and_nothing_is_rung_while_muted():
    approval = make_approval()
    unit = UnitOfWork(closing(approval))
    unit.insert(entry(approval))
    unit.notify("approval", str(approval.pk))
    with CaptureQueriesContext(connection) as statements, notify.suppressed():
        assert unit.commit()
    assert "pg_notify" not in statements[0]["sql"]
    if connection.vendor == "postgresql":
        assert len(statements) == 1


@pytest.mark.django_db(transaction=True)
def test_what_plain_sql_reads_is_what_the_orm_reads():
    make_approval(facts={"host": "a"}, status=A.APPROVED)
    make_approval(title="second")
    read = sql.select(Approval, "title <> %s ORDER BY created_at", "nothing")
    assert [row.__dict__ | {"_state": None} for row in read] == [
        row.__dict__ | {"_state": None} for row in Approval.objects.order_by("created_at")
    ]
