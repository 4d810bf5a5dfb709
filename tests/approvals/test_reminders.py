"""A question that nobody has answered is rung for once before its deadline."""

import dataclasses
from datetime import datetime, timedelta
from functools import partial
from uuid import UUID

import pytest
from django.db.models import F
from django.db.models.functions import Now
from django.utils import timezone

from approvals.commands import decide_approval, extend_approval
from approvals.models import Approval
from approvals.queries import reminded_approvals
from approvals.reminders import remind_of_deadlines
from approvals.signals import approval_expiring
from approvals.tasks import expire_due
from sessions_app.models import Event
from tests.factories import make_approval, make_session
from tests.threads import at_once

pytestmark = pytest.mark.django_db(transaction=True)
Rung = list[tuple[UUID, datetime]]


@pytest.fixture
def rung():
    """What listeners were told."""
    heard: Rung = []

    def listen(*, approval_id: UUID, expires_at: datetime, **_: object) -> None:
        heard.append((approval_id, expires_at))

    approval_expiring.connect(listen)
    yield heard
    approval_expiring.disconnect(listen)


def asked_long_ago(left: timedelta, **overrides: object) -> Approval:
    """A question of half an hour of which so much is left."""
    approval = make_approval(**overrides)
    Approval.objects.filter(pk=approval.pk).update(
        created_at=Now() + left - timedelta(minutes=30), expires_at=Now() + left
    )
    approval.refresh_from_db()
    return approval


def test_each_deadline_is_rung_for_once_and_an_extension_makes_a_new_one(rung: Rung, caplog) -> None:
    soon = asked_long_ago(timedelta(minutes=3))
    asked_long_ago(timedelta(minutes=20))
    caplog.set_level("WARNING", "approvals.reminders")
    assert [remind_of_deadlines(batch=10) for _ in range(2)] == [1, 0]
    assert rung == [(soon.pk, soon.expires_at)]
    assert [row.pk for row in reminded_approvals()] == [soon.pk]
    assert f"approval {soon.pk} expires at" in caplog.text
    later = extend_approval(approval_id=soon.pk, minutes=10, by="anna", via="api")
    assert remind_of_deadlines(batch=10) == 0
    assert reminded_approvals() == []
    Approval.objects.filter(pk=soon.pk).update(expires_at=F("expires_at") - timedelta(minutes=9))
    assert remind_of_deadlines(batch=10) == 1
    assert rung[1] == (soon.pk, later.expires_at - timedelta(minutes=9))


def test_nobody_is_reminded_of_what_is_answered_overdue_or_was_asked_just_now(rung: Rung) -> None:
    answered = asked_long_ago(timedelta(minutes=3))
    decide_approval(approval_id=answered.pk, decision="approved", by="anna", via="api")
    asked_long_ago(timedelta(seconds=-1))
    make_approval(expires_at=timezone.now() + timedelta(minutes=2))
    assert remind_of_deadlines(batch=10) == 0
    assert rung == []


def test_no_warning_time_no_reminder(rung: Rung, settings) -> None:
    settings.APPROVALS = dataclasses.replace(settings.APPROVALS, warning=timedelta(0))
    asked_long_ago(timedelta(seconds=1))
    assert remind_of_deadlines(batch=10) == 0


def test_the_expiry_sweep_reminds_of_all_that_is_near(rung: Rung, settings) -> None:
    settings.APPROVALS = dataclasses.replace(settings.APPROVALS, sweep_batch=3)
    near = {asked_long_ago(timedelta(minutes=4, seconds=n)).pk for n in range(7)}
    expire_due()
    assert {pk for pk, _ in rung} == near


def test_of_several_sweeps_at_once_one_rings(rung: Rung) -> None:
    near = [asked_long_ago(timedelta(minutes=4, seconds=n)).pk for n in range(20)]
    assert sum(at_once([partial(remind_of_deadlines, batch=3)] * 4)) == 20
    assert sorted(pk for pk, _ in rung) == sorted(near)


def test_the_session_that_asked_gets_a_line_in_its_transcript() -> None:
    session = make_session()
    soon = asked_long_ago(timedelta(minutes=3), session=session.pk)
    remind_of_deadlines(batch=10)
    (event,) = Event.objects.filter(session=session)
    assert event.kind == "approval"
    assert str(soon.pk) in event.payload and "Nobody has answered yet" in event.payload


def test_a_listener_that_fails_stops_neither_the_sweep_nor_the_others(rung: Rung) -> None:
    def broken(**_: object) -> None:
        raise RuntimeError("broken listener")

    approval_expiring.connect(broken)
    try:
        asked_long_ago(timedelta(minutes=3))
        assert remind_of_deadlines(batch=10) == 1
        assert len(rung) == 1
    finally:
        approval_expiring.disconnect(broken)
