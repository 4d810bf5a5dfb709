"""Requests without a deadline: where the settings allow them, and how every surface says so."""

import io
import json
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest
from django.core.management import call_command
from django.test import Client
from django.urls import reverse
from django.utils import timezone
from pytest_django.fixtures import Settings

from approvals.commands import ApprovalRequest, decide_approval, expire_due_approvals, extend_approval, request_approval
from approvals.deadlines import FOREVER, NEVER, allowed_time, seconds_of
from approvals.errors import InvalidDecision
from approvals.models import Approval, AuditEntry
from approvals.queries import open_approvals, reminded_approvals
from approvals.reminders import remind_of_deadlines
from sessions_app.models import AgentSession
from sessions_app.schedules import commands as schedules
from sessions_app.transcript.writer import reminder_line
from tests.factories import client_of, make_approval, make_session, make_user

pytestmark = pytest.mark.django_db


@pytest.fixture
def allowed(settings: Settings) -> None:
    settings.APPROVALS = replace(settings.APPROVALS, allow_never_expires=True)


def endless(**fields: Any) -> Approval:
    return make_approval(expires_at=NEVER, **fields)


@pytest.mark.usefixtures("allowed")
def test_a_request_without_a_deadline_is_kept_shown_and_never_swept() -> None:
    asker = client_of(make_user("ci", group="Asker"))
    asked = asker.post("/api/approvals", {"title": "Deploy?", "timeout_minutes": 0}, format="json")
    assert (asked.status_code, asked.json()["expires_at"], asked.json()["seconds_left"]) == (201, None, None)
    approval = Approval.objects.get()
    assert (approval.expires_at, approval.never_expires) == (NEVER, True)
    assert expire_due_approvals(batch=10) == 0
    decide_approval(approval_id=approval.pk, decision="approved", by="bea", via="api")
    closed = asker.get(f"/api/approvals/{approval.pk}").json()
    assert (closed["status"], closed["expires_at"], closed["seconds_left"]) == ("approved", None, 0)


def test_it_is_refused_where_the_settings_do_not_allow_it() -> None:
    asker, operator = client_of(make_user("ci", group="Asker")), client_of(make_user("olga", group="Operator"))
    asked = asker.post("/api/approvals", {"title": "Deploy?", "timeout_minutes": 0}, format="json")
    assert (asked.status_code, list(asked.json()["fields"])) == (400, ["timeout_minutes"])
    assert "APPROVAL_ALLOW_NEVER_EXPIRES" in asked.json()["fields"]["timeout_minutes"][0]
    started = operator.post("/api/sessions", {"prompt": "x", "approval_timeout_minutes": 0}, format="json")
    assert (started.status_code, list(started.json()["fields"])) == (400, ["approval_timeout_minutes"])
    with pytest.raises(InvalidDecision, match="APPROVAL_ALLOW_NEVER_EXPIRES"):
        extend_approval(approval_id=make_approval().pk, minutes=0, by="bea", via="api")


def test_a_setting_that_was_taken_back_gives_the_longest_time(settings: Settings) -> None:
    assert allowed_time(FOREVER) == settings.APPROVALS.max_timeout
    settings.APPROVALS = replace(settings.APPROVALS, allow_never_expires=True)
    assert allowed_time(FOREVER) == FOREVER
    assert seconds_of(FOREVER) == float("inf")


@pytest.mark.usefixtures("allowed")
def test_a_session_and_a_schedule_keep_the_zero() -> None:
    operator = client_of(make_user("olga", group="Operator"))
    body = {"prompt": "x", "agent": "demo", "approval_timeout_minutes": 0}
    assert operator.post("/api/sessions", body, format="json").status_code == 201
    assert AgentSession.objects.get().options["approval_timeout_minutes"] == 0
    planned = operator.post("/api/schedules", {"title": "t", "every_seconds": 3600, "session": body}, format="json")
    assert planned.status_code == 201, planned.json()
    assert schedules.Schedule.objects.get().session["approval_timeout_minutes"] == 0


@pytest.mark.usefixtures("allowed")
def test_a_deadline_can_be_taken_away_once() -> None:
    approval, bea = make_approval(), client_of(make_user("bea", group="Approver"))
    answer = bea.post(f"/api/approvals/{approval.pk}/extend", {"minutes": 0}, format="json")
    assert (answer.status_code, answer.json()["expires_at"]) == (200, None)
    assert AuditEntry.objects.get(action="extended").reason == "never expires"
    more = bea.post(f"/api/approvals/{approval.pk}/extend", {"minutes": 5}, format="json")
    assert (more.status_code, more.json()["detail"]) == (400, "This request never expires.")


def test_it_stands_behind_what_ends() -> None:
    last, first = endless(), make_approval()
    assert open_approvals() == [first, last]


def test_asked_inside_of_other_work_it_has_no_deadline_either(settings: Settings) -> None:
    settings.APPROVALS = replace(settings.APPROVALS, allow_never_expires=True)
    key = request_approval(ApprovalRequest(title="x"), timeout=FOREVER)
    assert Approval.objects.get(pk=key).never_expires


# --- what is said


def signed_in(**fields: Any) -> Client:
    client = Client()
    client.force_login(make_user("anna", group="Approver", **fields))
    return client


@pytest.mark.usefixtures("allowed")
def test_pages_say_it_in_place_of_a_countdown() -> None:
    approval, client = endless(), signed_in(is_staff=True)
    admin = reverse("admin:approvals_approval_change", args=[approval.pk])
    for address in ("/", f"/approvals/{approval.pk}", f"/approvals/{approval.pk}/card", "/approvals", admin,
                    reverse("admin:approvals_approval_changelist"), reverse("admin:index")):  # fmt: skip
        shown = client.get(address).content.decode()
        assert "ever expire" in shown, address
        for wrong in ("9999", "data-expires", "more minutes", "2912"):
            assert wrong not in shown, (address, wrong)


@pytest.mark.usefixtures("allowed")
def test_the_console_and_the_admin_take_the_deadline_away() -> None:
    client = signed_in(is_staff=True)
    for route in ("question-decide", "admin:approvals_approval_decide"):
        approval = make_approval()
        assert 'value="never"' in client.get(f"/approvals/{approval.pk}").content.decode()
        client.post(reverse(route, args=[approval.pk]), {"decision": "never"})
        approval.refresh_from_db()
        assert approval.never_expires


def test_the_button_is_not_there_where_it_is_not_allowed() -> None:
    approval, client = make_approval(), signed_in(is_staff=True)
    for address in (f"/approvals/{approval.pk}", reverse("admin:approvals_approval_change", args=[approval.pk])):
        assert 'value="never"' not in client.get(address).content.decode()


def test_the_list_of_sessions_says_it() -> None:
    session = make_session(status="waiting")
    endless(session=session.pk)
    assert "Never expires" in signed_in().get("/sessions").content.decode()


def test_the_terminal_says_it() -> None:
    approval, out = endless(), io.StringIO()
    call_command("approvals", "list", stdout=out)
    call_command("approvals", "show", str(approval.pk)[:8], stdout=out)
    assert out.getvalue().count("never expires") == 2
    out = io.StringIO()
    call_command("approvals", "list", "--json", stdout=out)
    assert json.loads(out.getvalue())[0]["expires_at"] is None


@pytest.mark.django_db(transaction=True)
def test_files_leave_it_empty() -> None:
    endless()
    client = signed_in()
    lines = b"".join(part for part in _bytes(client.get("/approvals/export.jsonl")))
    assert json.loads(lines)["expires_at"] is None
    assert b"9999" not in b"".join(_bytes(client.get("/approvals/export.csv")))


def _bytes(answer: Any) -> list[bytes]:
    from asgiref.sync import async_to_sync

    async def read() -> list[bytes]:
        return [part async for part in answer.streaming_content]

    return async_to_sync(read)()


def test_a_transcript_says_it() -> None:
    assert "it never expires" in reminder_line(endless())[1]


# --- reminders


def test_people_are_reminded_again_and_again(settings: Settings) -> None:
    settings.APPROVALS = replace(settings.APPROVALS, reminder=timedelta(hours=24))
    approval = endless()
    assert remind_of_deadlines(batch=10) == 0
    for _ in range(3):
        Approval.objects.update(
            created_at=timezone.now() - timedelta(days=9), reminded_for=timezone.now() - timedelta(hours=25)
        )
        assert (remind_of_deadlines(batch=10), remind_of_deadlines(batch=10)) == (1, 0)
        assert reminded_approvals() == [approval]


def test_no_reminders_where_that_is_set(settings: Settings) -> None:
    settings.APPROVALS = replace(settings.APPROVALS, reminder=timedelta(0))
    endless()
    Approval.objects.update(created_at=timezone.now() - timedelta(days=9))
    assert remind_of_deadlines(batch=10) == 0
