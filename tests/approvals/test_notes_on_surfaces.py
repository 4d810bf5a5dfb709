"""A note with an approval: who may give it where, how it is kept and shown."""

import io
import json
from typing import Any

import pytest
from django.core.management import CommandError, call_command
from django.test import Client
from django.urls import reverse

from approvals.commands import LONGEST_NOTE, decide_approval
from approvals.errors import ApprovalClosed, InvalidDecision
from approvals.models import Approval, AuditEntry
from tests.factories import client_of, make_approval, make_user

pytestmark = pytest.mark.django_db

NOTE = 'use <b>staging</b> & "ask" \u202eagain'


def signed_in(**fields: Any) -> Client:
    client = Client()
    client.force_login(make_user("anna", group="Approver", **fields))
    return client


def kept(approval: Approval) -> tuple[str, str, str]:
    approval.refresh_from_db()
    return approval.status, approval.note, approval.reason


def test_rest_keeps_a_note_apart_from_the_reason() -> None:
    approval, bea = make_approval(), client_of(make_user("bea", group="Approver"))
    body = {"note": NOTE, "reason": "looks right"}
    answer = bea.post(f"/api/approvals/{approval.pk}/approve", body, format="json")
    assert (answer.status_code, answer.json()["note"], answer.json()["reason"]) == (200, NOTE, "looks right")
    assert answer.json()["note_delivered_at"] is None
    assert AuditEntry.objects.get(won=True, action="approved").reason == f"looks right\nnote: {NOTE}"
    assert bea.post(f"/api/approvals/{approval.pk}/approve", body, format="json").status_code == 200


@pytest.mark.parametrize(
    "body", [{"note": "x" * (LONGEST_NOTE + 1)}, {"note": 5}, {"note": "a\0b"}, {"note": "x", "approved": False}]
)
def test_rest_refuses_a_note_that_does_not_fit(body: dict[str, Any]) -> None:
    approval, bea = make_approval(), client_of(make_user("bea", group="Approver"))
    answer = bea.post(f"/api/approvals/{approval.pk}/approve", body, format="json")
    assert (answer.status_code, list(answer.json()["fields"])) == (400, ["note"])
    assert kept(approval)[0] == "pending"


def test_a_second_note_is_not_said_to_be_recorded() -> None:
    approval = make_approval()
    decide_approval(approval_id=approval.pk, decision="approved", by="bea", via="api", note="one")
    with pytest.raises(ApprovalClosed):
        decide_approval(approval_id=approval.pk, decision="approved", by="bea", via="api", note="two")
    with pytest.raises(InvalidDecision):
        decide_approval(approval_id=make_approval().pk, decision="rejected", by="bea", via="api", note="two")


@pytest.mark.parametrize("route", ["question-decide", "question-answer", "admin:approvals_approval_decide"])
@pytest.mark.parametrize("decision", ["approve", "edit", "approve_session"])
def test_every_form_of_an_approval_takes_a_note_and_no_reason(route: str, decision: str) -> None:
    from uuid import uuid4

    approval, client = make_approval(session=uuid4()), signed_in(is_staff=True)
    form = {
        "decision": decision, "seen_digest": approval.input_digest, "note": f" {NOTE}\r\nx ", "reason": "why",
        "updated_input": '{"command": "ls"}',
    }  # fmt: skip
    client.post(reverse(route, args=[approval.pk]), form)
    assert kept(approval) == ("approved", f"{NOTE}\nx", "")


@pytest.mark.parametrize("route", ["question-decide", "admin:approvals_approval_decide"])
def test_a_rejection_leaves_the_note_out(route: str) -> None:
    approval, client = make_approval(), signed_in(is_staff=True)
    form = {"decision": "reject", "seen_digest": approval.input_digest, "note": "x", "reason": "why"}
    client.post(reverse(route, args=[approval.pk]), form)
    assert kept(approval) == ("rejected", "", "why")


def test_forms_have_a_field_for_each() -> None:
    approval, client = make_approval(), signed_in(is_staff=True)
    for address in (f"/approvals/{approval.pk}", f"/approvals/{approval.pk}/card",
                    reverse("admin:approvals_approval_change", args=[approval.pk])):  # fmt: skip
        shown = client.get(address).content.decode()
        assert "Note to the agent (optional)" in shown
        assert (shown.count('name="note"'), shown.count('name="reason"')) == (1, 1)


def test_a_note_that_could_not_be_recorded_is_given_back() -> None:
    approval, client = make_approval(status="rejected", decided_by="bea", decided_via="api"), signed_in()
    form = {"decision": "approve", "seen_digest": approval.input_digest, "note": "precious words"}
    shown = client.post(f"/approvals/{approval.pk}/decide", form, headers={"HX-Request": "true"}).content.decode()
    assert "precious words" in shown
    assert "Already answered" in shown


def test_pages_show_it_escaped_with_what_hides_spelled_out() -> None:
    approval = make_approval(status="approved", decided_by="bea", decided_via="api", note=NOTE)
    client = signed_in(is_staff=True)
    for address in (f"/approvals/{approval.pk}", f"/approvals/{approval.pk}/card",
                    reverse("admin:approvals_approval_change", args=[approval.pk])):  # fmt: skip
        shown = client.get(address).content.decode()
        assert "use &lt;b&gt;staging&lt;/b&gt; &amp; &quot;ask&quot; \\u202eagain" in shown
        assert "<b>staging" not in shown


def test_batches_take_one_for_all() -> None:
    client = signed_in(is_staff=True)
    first, second = make_approval(tool_name="Write"), make_approval(tool_name="Write")
    for approval, address, form in (
        (first, "/approvals/together", {"id": str(first.pk), "decision": "approve"}),
        (second, reverse("admin:approvals_approval_changelist"),
         {"action": "approve_selected", "_selected_action": str(second.pk)}),
    ):  # fmt: skip
        digest = {f"digest_{approval.pk}": approval.input_digest}
        assert 'name="note"' in client.post(address, form).content.decode()
        client.post(address, form | digest | {"confirmed": "yes", "note": "for all"})
        assert kept(approval) == ("approved", "for all", "")


def test_the_terminal_takes_and_shows_it() -> None:
    approval, out = make_approval(), io.StringIO()
    call_command("approvals", "approve", str(approval.pk)[:8], "--note", NOTE, stdout=out)
    assert kept(approval) == ("approved", NOTE, "")
    assert '(note: use <b>staging</b> & "ask" \\u202eagain)' in out.getvalue()
    with pytest.raises((CommandError, SystemExit)):
        call_command("approvals", "reject", str(make_approval().pk)[:8], "--note", "x", stdout=out)


def test_files_and_callbacks_hold_it() -> None:
    from approvals.exports import COLUMNS
    from approvals.rest.serializers import ApprovalSerializer

    assert {"note", "reopened_from", "reopened_as"} <= set(COLUMNS)
    assert {"note", "reopened_from", "reopened_as"} <= set(ApprovalSerializer.Meta.fields)
    assert json.dumps(NOTE)
