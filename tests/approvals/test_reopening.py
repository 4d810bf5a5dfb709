"""Asking again: who may, what comes of it, on every surface, and what happens when several press at once."""

import io
import json
from dataclasses import replace
from datetime import timedelta
from functools import partial
from typing import Any
from uuid import uuid4

import pytest
from django.core.management import call_command
from django.test import Client
from django.urls import reverse
from django.utils import timezone
from pytest_django.fixtures import Settings

from approvals.commands import cancel_approval, decide_approval
from approvals.deadlines import NEVER
from approvals.errors import NotReopenable, SelfApproval
from approvals.models import Approval, AuditEntry, Callback
from approvals.reopening import may_be_reopened, newest_of, reopen_approval
from tests.factories import client_of, make_approval, make_session, make_user
from tests.threads import at_once

pytestmark = pytest.mark.django_db(transaction=True)
S = Approval.Status


def closed(status: str = S.REJECTED, **fields: Any) -> Approval:
    via = {} if status == S.EXPIRED else {"decided_by": "bea", "decided_via": "api"}
    return make_approval(status=status, **via | fields)


def reopen(approval: Approval, by: str = "anna", via: str = "api") -> Approval:
    return reopen_approval(approval_id=approval.pk, by=by, via=via, address="here")


@pytest.mark.parametrize("status", [S.REJECTED, S.EXPIRED, S.CANCELLED])
def test_the_same_question_is_put_once_more_and_both_name_each_other(status: str) -> None:
    old = closed(status, kind="external", subject="s:1", body="b")
    fresh = reopen(old)
    old.refresh_from_db()
    assert (fresh.status, fresh.reopened_from, old.reopened_as, old.status) == (S.PENDING, old.pk, fresh.pk, status)
    for name in ("title", "body", "tool_name", "tool_input", "input_digest", "subject", "session", "requested_by"):
        assert getattr(fresh, name) == getattr(old, name)
    assert (fresh.decided_at, fresh.decided_by, fresh.reason, fresh.consumed_at) == (None, "", "", None)
    assert fresh.expires_at > timezone.now() + timedelta(minutes=29)
    assert AuditEntry.objects.get(approval=old, action="reopened").by == "anna"
    assert AuditEntry.objects.get(approval=fresh, action="requested").address == "here"


def test_people_are_told_how_it_ended_before() -> None:
    fresh = reopen(closed(S.REJECTED, reason="not on Friday"))
    assert fresh.facts["warning"] == "This was rejected by bea before: not on Friday. Asked again."


def test_a_second_press_answers_the_open_one_wherever_it_is_pressed() -> None:
    old = closed()
    first = reopen(old)
    assert reopen(old, by="bea").pk == first.pk
    decide_approval(approval_id=first.pk, decision="rejected", by="bea", via="api")
    third = reopen(old)
    assert third.reopened_from == first.pk
    old.refresh_from_db()
    assert newest_of(old) == third
    assert Approval.objects.count() == 3


def test_twenty_presses_at_once_make_one_request() -> None:
    for _ in range(10):
        old = closed(S.EXPIRED, subject=f"session:{uuid4()}:t")
        results = at_once([partial(reopen, old, by=f"p{n}") for n in range(20)])
        assert len({result.pk for result in results}) == 1, results
        assert Approval.objects.filter(reopened_from=old.pk).count() == 1
        assert AuditEntry.objects.filter(approval=old, action="reopened").count() == 1


def test_asking_again_against_a_decision_of_the_reopened_one() -> None:
    for _ in range(10):
        old = closed()
        first = reopen(old)
        decide = partial(decide_approval, approval_id=first.pk, decision="rejected", by="bea", via="api")
        at_once([decide, partial(reopen, old), partial(reopen, first), partial(reopen, old)])
        chain = Approval.objects.filter(reopened_from__in=[old.pk, first.pk])
        assert chain.filter(status=S.PENDING).count() <= 1
        assert chain.count() <= 2


@pytest.mark.parametrize("status", [S.PENDING, S.APPROVED])
def test_what_is_open_or_approved_is_not_asked_again(status: str) -> None:
    approval = make_approval() if status == S.PENDING else closed(status)
    with pytest.raises(NotReopenable):
        reopen(approval)
    assert Approval.objects.count() == 1


def test_nobody_lifts_what_a_rule_refused() -> None:
    refused = closed(decided_via="policy", decided_by="")
    with pytest.raises(NotReopenable, match="rule or a guardrail"):
        reopen(refused)
    assert not may_be_reopened(refused)


def test_who_asked_does_not_ask_again(settings: Settings) -> None:
    settings.APPROVALS = replace(settings.APPROVALS, self_approval=False)
    with pytest.raises(SelfApproval):
        reopen(closed(), by="olga")


def test_one_that_never_expired_never_expires_again_where_that_is_allowed(settings: Settings) -> None:
    settings.APPROVALS = replace(settings.APPROVALS, allow_never_expires=True)
    assert reopen(closed(expires_at=NEVER)).never_expires
    settings.APPROVALS = replace(settings.APPROVALS, allow_never_expires=False)
    assert not reopen(closed(expires_at=NEVER)).never_expires


def test_the_same_call_that_is_open_by_itself_is_said_to_be() -> None:
    old = closed(subject="session:x:t1")
    make_approval(subject="session:x:t1")
    with pytest.raises(NotReopenable, match="asked already"):
        reopen(old)
    old.refresh_from_db()
    assert old.reopened_as is None


def test_who_asked_from_outside_is_told_of_the_new_one_too() -> None:
    old = closed(kind="external")
    Callback.objects.create(approval=old, url="https://ci.example.com/x", status="delivered", attempts=1)
    fresh = reopen(old)
    promised = Callback.objects.get(approval=fresh)
    assert (promised.url, promised.status, promised.attempts) == ("https://ci.example.com/x", "waiting", 0)


# --- surfaces


def test_rest_asks_again_once_and_the_asker_sees_both() -> None:
    old = closed(kind="external", requested_by="ci")
    approver, asker = client_of(make_user("bea", group="Approver")), client_of(make_user("ci", group="Asker"))
    assert asker.post(f"/api/approvals/{old.pk}/reopen").status_code == 403
    key = {"HTTP_IDEMPOTENCY_KEY": "k1"}
    first = approver.post(f"/api/approvals/{old.pk}/reopen", **key)
    assert (first.status_code, first.json()["status"]) == (200, "pending")
    assert approver.post(f"/api/approvals/{old.pk}/reopen", **key).json() == first.json()
    assert approver.post(f"/api/approvals/{old.pk}/reopen").json()["id"] == first.json()["id"]
    assert asker.get(f"/api/approvals/{old.pk}").json()["reopened_as"] == first.json()["id"]
    assert asker.get(f"/api/approvals/{first.json()['id']}").json()["reopened_from"] == str(old.pk)


def test_rest_says_why_not() -> None:
    approver = client_of(make_user("bea", group="Approver"))
    refused = approver.post(f"/api/approvals/{closed(S.APPROVED).pk}/reopen")
    assert (refused.status_code, refused.json()["code"], refused.json()["status"]) == (
        409, "not_reopenable", "approved",
    )  # fmt: skip
    assert approver.post(f"/api/approvals/{uuid4()}/reopen").status_code == 404


def signed_in(name: str, group: str = "Approver", **fields: Any) -> Client:
    client = Client()
    client.force_login(make_user(name, group=group, **fields))
    return client


def test_the_page_and_the_card_have_one_button_and_then_a_link() -> None:
    old, client = closed(), signed_in("anna")
    for address in (f"/approvals/{old.pk}", f"/approvals/{old.pk}/card"):
        assert "Ask again" in client.get(address).content.decode()
    done = client.post(f"/approvals/{old.pk}/reopen")
    fresh = Approval.objects.get(reopened_from=old.pk)
    assert done["Location"] == f"/approvals/{fresh.pk}"
    for address in (f"/approvals/{old.pk}", f"/approvals/{old.pk}/card"):
        shown = client.get(address).content.decode()
        assert "Ask again" not in shown
        assert f"/approvals/{fresh.pk}" in shown
    assert f"/approvals/{old.pk}" in client.get(f"/approvals/{fresh.pk}").content.decode()


@pytest.mark.parametrize(("group", "status"), [("Viewer", 403), ("Operator", 403)])
def test_the_button_is_for_those_who_decide(group: str, status: int) -> None:
    old, client = closed(), signed_in("vic", group)
    assert "Ask again" not in client.get(f"/approvals/{old.pk}").content.decode()
    assert client.post(f"/approvals/{old.pk}/reopen").status_code == status
    assert Approval.objects.count() == 1


def test_the_admin_asks_again_by_button_and_by_action() -> None:
    old, other, client = closed(), closed(S.EXPIRED), signed_in("anna", is_staff=True)
    page = reverse("admin:approvals_approval_change", args=[old.pk])
    assert "Ask again" in client.get(page).content.decode()
    client.post(reverse("admin:approvals_approval_decide", args=[old.pk]), {"decision": "reopen"})
    assert Approval.objects.filter(reopened_from=old.pk).exists()
    chosen = {"action": "reopen_selected", "_selected_action": [str(other.pk), str(closed(S.APPROVED).pk)]}
    shown = client.post(reverse("admin:approvals_approval_changelist"), chosen, follow=True).content.decode()
    assert Approval.objects.filter(reopened_from=other.pk).exists()
    assert "was approved" in shown
    assert "Ask again" not in client.get(page).content.decode()


def test_the_terminal_asks_again() -> None:
    old, out = closed(), io.StringIO()
    call_command("approvals", "reopen", str(old.pk)[:8], stdout=out)
    fresh = Approval.objects.get(reopened_from=old.pk)
    assert str(fresh.pk) in out.getvalue()
    assert AuditEntry.objects.get(approval=old, action="reopened").via == "cli"


def test_a_session_that_is_gone_or_cancelled_takes_nothing_up() -> None:
    session = make_session(status="cancelled", finished_at=timezone.now())
    with pytest.raises(NotReopenable, match="cancelled"):
        reopen(closed(session=session.pk))
    with pytest.raises(NotReopenable, match="no longer kept"):
        reopen(closed(session=uuid4()))


def test_withdrawing_the_new_one_leaves_the_old_as_it_was() -> None:
    old = closed(S.EXPIRED)
    fresh = reopen(old)
    cancel_approval(approval_id=fresh.pk, by="olga", via="api")
    old.refresh_from_db()
    assert (old.status, json.dumps(old.facts)) == (S.EXPIRED, "{}")
