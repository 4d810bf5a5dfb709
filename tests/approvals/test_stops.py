"""Stopping all agents: nothing is newly allowed, deadlines stand still, and lifting goes on where things stood."""

import time
from datetime import timedelta
from functools import partial
from typing import Any
from uuid import uuid4

import pytest
from django.db import IntegrityError, connection, transaction
from django.utils import timezone

from approvals.commands import (
    ApprovalRequest,
    consume_approval,
    decide_approval,
    expire_approval,
    expire_due_approvals,
    extend_approval,
    request_approval,
)
from approvals.errors import AnotherStop, ApprovalExpired, InvalidDecision, StopNotFound
from approvals.models import Approval, AuditEntry, Stop, StopSwitch
from approvals.queries import readable_approvals
from approvals.reminders import remind_of_deadlines
from approvals.signals import stop_changed
from approvals.stop import commands as stops
from tests.factories import make_approval
from tests.threads import at_once

pytestmark = pytest.mark.django_db(transaction=True)

ROUNDS = 60


def stop(**more: Any) -> Stop:
    made, _ = stops.stop_all(**{"by": "anna", "via": "api", "reason": "the disk is full"} | more)
    return made


def lift(**more: Any) -> Stop | None:
    return stops.lift_stop(**{"by": "boris", "via": "cli"} | more)


def began_ago(seconds: float) -> None:
    """As if the stop in force had begun earlier."""
    started = timezone.now() - timedelta(seconds=seconds)
    Stop.objects.filter(lifted_at=None).update(started_at=started)


def approved(**more: Any) -> Approval:
    approval = make_approval(**more)
    return decide_approval(approval_id=approval.pk, decision="approved", by="anna", via="api")


def spend(approval: Approval) -> Any:
    return consume_approval(approval_id=approval.pk, digest=approval.input_digest)


# --- stopping and lifting


def test_a_stop_says_who_why_and_how_and_is_audited() -> None:
    made, new = stops.stop_all(by="anna", via="api", reason="the disk is full", address="192.0.2.7")
    assert new and stops.is_stopped()
    assert (made.started_by, made.started_via, made.reason, made.mode) == ("anna", "api", "the disk is full", "hold")
    [entry] = AuditEntry.objects.filter(action="agents_stopped", won=True)
    assert (entry.by, entry.via, entry.address) == ("anna", "api", "192.0.2.7")
    assert "the disk is full" in entry.reason


def test_stopping_again_changes_nothing_and_interrupt_makes_a_stop_stronger() -> None:
    first = stop()
    again, new = stops.stop_all(by="carla", via="telegram", reason="me too")
    assert (again.pk, new, again.started_by) == (first.pk, False, "anna")
    stronger, new = stops.stop_all(by="carla", via="telegram", mode="interrupt")
    assert (stronger.pk, new, stronger.mode) == (first.pk, False, "interrupt")
    assert stop(mode="hold").mode == "interrupt"
    assert (
        list(AuditEntry.objects.values_list("action", "by"))
        == [("stop_changed", "carla"), ("agents_stopped", "anna")][::-1]
    )


def test_lifting_says_who_and_doing_so_again_is_harmless() -> None:
    made = stop()
    lifted = lift(stop_id=made.pk)
    assert lifted and lifted.lifted_at and (lifted.lifted_by, lifted.lifted_via) == ("boris", "cli")
    assert not stops.is_stopped() and stops.current_stop() is None
    assert lift() is None
    assert lift(stop_id=made.pk) == made
    assert AuditEntry.objects.filter(action="stop_lifted", by="boris").count() == 1


def test_a_late_lift_of_an_earlier_stop_does_not_lift_the_one_in_force() -> None:
    first = stop()
    lift()
    stop()
    with pytest.raises(AnotherStop, match="another one, by anna"):
        lift(stop_id=first.pk)
    assert stops.is_stopped()
    with pytest.raises(StopNotFound):
        lift(stop_id=uuid4())


def test_only_one_stop_is_in_force_whatever_writes_it() -> None:
    stop()
    with pytest.raises(IntegrityError), transaction.atomic():
        Stop.objects.create(started_by="mallory", started_via="api")


def test_of_many_who_stop_at_once_one_makes_the_stop() -> None:
    results = at_once([partial(stops.stop_all, by=f"p{n}", via="api") for n in range(8)])
    assert sum(new for _, new in results) == 1
    assert {made.pk for made, _ in results} == {Stop.objects.get().pk}


def test_listeners_hear_of_a_stop_and_of_its_lift() -> None:
    heard: list[bool] = []

    def hear(*, stop: Stop, **_: Any) -> None:
        heard.append(stop.is_in_force)

    stop_changed.connect(hear)
    try:
        stop()
        lift()
    finally:
        stop_changed.disconnect(hear)
    assert heard == [True, False]


# --- nothing is newly allowed


def test_an_approval_given_during_a_stop_is_recorded_and_spent_after_the_lift() -> None:
    approval = make_approval()
    stop()
    approval = decide_approval(approval_id=approval.pk, decision="approved", by="anna", via="api")
    assert approval.status == "approved"
    assert spend(approval) is None
    lift()
    assert spend(approval) is not None
    assert spend(approval) is None


def test_once_a_stop_has_answered_no_grant_is_spent_any_more() -> None:
    seen = set()
    for _ in range(ROUNDS):
        grants = [approved() for _ in range(3)]

        def stop_and_look() -> int:
            stop()
            before = Approval.objects.filter(consumed_at__isnull=False).count()
            time.sleep(0.01)  # whoever was late gets time to show
            return Approval.objects.filter(consumed_at__isnull=False).count() - before

        *spent, later = at_once([*(partial(spend, grant) for grant in grants), stop_and_look])
        assert later == 0
        seen.add(sum(one is not None for one in spent))
        lift()
    assert len(seen) > 1, "the race was never close"


def test_a_statement_that_began_before_the_stop_waits_for_it_and_sees_it() -> None:
    """A condition on the stops alone reads an old snapshot, and lets the call go after the stop has answered."""
    if connection.vendor != "postgresql":
        pytest.skip("SQLite has one writer at a time")
    approval = approved()
    results: list[Any] = []

    def slow_stop() -> None:
        with transaction.atomic():
            stop()
            time.sleep(0.5)  # the spender's statement begins in the meantime

    def late_spend() -> None:
        time.sleep(0.2)
        results.append(spend(approval))

    failed = [one for one in at_once([slow_stop, late_spend]) if one is not None]
    assert not failed
    assert results == [None]


# --- deadlines stand still


def test_nothing_expires_during_a_stop_and_a_decision_counts_after_the_old_deadline() -> None:
    approval = make_approval(expires_at=timezone.now() + timedelta(milliseconds=200))
    stop()
    began_ago(0.1)
    Approval.objects.filter(pk=approval.pk).update(expires_at=timezone.now() - timedelta(milliseconds=1))
    assert expire_due_approvals(batch=10) == 0
    assert not expire_approval(approval.pk)
    assert decide_approval(approval_id=approval.pk, decision="approved", by="anna", via="api").status == "approved"


def test_what_was_overdue_before_the_stop_stays_overdue() -> None:
    approval = make_approval(expires_at=timezone.now() - timedelta(seconds=1))
    stop()
    with pytest.raises(ApprovalExpired):
        decide_approval(approval_id=approval.pk, decision="approved", by="anna", via="api")
    assert expire_due_approvals(batch=10) == 1


def test_a_lift_gives_open_requests_the_time_back_in_which_they_stood_still() -> None:
    before = make_approval(created_at=timezone.now() - timedelta(hours=1))
    closed = make_approval(status="rejected")
    stop()
    began_ago(600)
    during = make_approval(created_at=timezone.now() - timedelta(seconds=60))
    never = make_approval(expires_at=timezone.datetime(9999, 12, 31, tzinfo=timezone.get_current_timezone()))
    lift()
    for approval, moved_s in ((before, 600), (during, 60), (closed, 0), (never, 0)):
        was = approval.expires_at
        approval.refresh_from_db()
        assert (approval.expires_at - was).total_seconds() == pytest.approx(moved_s, abs=5)


def test_the_time_left_that_surfaces_show_stands_still() -> None:
    approval = make_approval(created_at=timezone.now() - timedelta(hours=1))
    stop()
    began_ago(600)
    asked_meanwhile = make_approval()
    for row, left_s in ((approval, 3600 + 600), (asked_meanwhile, 3600)):
        read = readable_approvals().get(pk=row.pk)
        assert (read.expires_at - read.read_at).total_seconds() == pytest.approx(left_s, abs=5)


def test_nobody_is_reminded_during_a_stop_and_what_was_reminded_of_stays_so() -> None:
    reminded = make_approval(
        created_at=timezone.now() - timedelta(hours=1), expires_at=timezone.now() + timedelta(minutes=2)
    )
    assert remind_of_deadlines(batch=10) == 1
    fresh = make_approval(
        created_at=timezone.now() - timedelta(hours=1), expires_at=timezone.now() + timedelta(minutes=2)
    )
    stop()
    began_ago(60)
    assert remind_of_deadlines(batch=10) == 0
    lift()
    assert remind_of_deadlines(batch=10) == 1
    for approval in (reminded, fresh):
        approval.refresh_from_db()
        assert approval.reminded_for == approval.expires_at


def test_an_extension_may_reach_as_far_as_it_could_without_the_stop(settings: Any) -> None:
    approval = make_approval()
    most = settings.APPROVALS.max_timeout
    Approval.objects.filter(pk=approval.pk).update(
        created_at=timezone.now() - timedelta(minutes=100), expires_at=timezone.now() + timedelta(minutes=5)
    )
    stop()
    began_ago(3600)
    lift()
    extended = extend_approval(approval_id=approval.pk, minutes=10, by="anna", via="api")
    assert extended.expires_at - extended.created_at > most
    with pytest.raises(InvalidDecision):
        extend_approval(approval_id=approval.pk, minutes=10, by="anna", via="api")


def test_a_request_may_be_extended_during_a_stop_after_its_old_deadline() -> None:
    approval = make_approval(created_at=timezone.now() - timedelta(hours=1))
    stop()
    began_ago(600)
    Approval.objects.filter(pk=approval.pk).update(expires_at=timezone.now() - timedelta(seconds=1))
    assert extend_approval(approval_id=approval.pk, minutes=5, by="anna", via="api").is_open


def test_a_request_asked_during_a_stop_gets_its_whole_time() -> None:
    stop()
    began_ago(600)
    asked = Approval.objects.get(pk=request_approval(ApprovalRequest(title="May I?")))
    assert expire_due_approvals(batch=10) == 0
    lift()
    asked.refresh_from_db()
    assert (asked.expires_at - timezone.now()).total_seconds() == pytest.approx(30 * 60, abs=10)


def test_decisions_expiry_and_lift_at_once_leave_one_winner_and_no_request_behind() -> None:
    for _ in range(20):
        approval = make_approval(expires_at=timezone.now() + timedelta(milliseconds=5))
        stop()
        at_once(
            [
                lift,
                partial(decide_approval, approval_id=approval.pk, decision="approved", by="anna", via="api"),
                partial(expire_due_approvals, batch=10),
            ]
        )
        approval.refresh_from_db()
        winners = AuditEntry.objects.filter(approval=approval, won=True)
        assert winners.count() == (0 if approval.is_open else 1)


# --- the switch


def test_the_switch_is_there_after_every_migration() -> None:
    assert StopSwitch.objects.get().stop is None
    StopSwitch.objects.all().delete()
    assert spend(approved()) is not None
    stop()
    assert spend(approved()) is None
