"""The admin's desk of questions: shows what would run, records one answer, never a 500."""

import json
from datetime import timedelta

import pytest
from django.test import Client
from django.urls import reverse
from django.utils import timezone

from approvals.models import Approval, AuditEntry, Rule
from tests.factories import make_approval, make_session, make_user

pytestmark = pytest.mark.django_db

S = Approval.Status


def signed_in(group: str, username: str = "anna") -> Client:
    client = Client()
    client.force_login(make_user(username, group=group, is_staff=True))
    return client


def page_of(approval: Approval) -> str:
    return reverse("admin:approvals_approval_change", args=[approval.pk])


def decide(client: Client, approval: Approval, decision: str, **fields: object):
    form = {"decision": decision, "seen_digest": approval.input_digest} | fields
    return client.post(reverse("admin:approvals_approval_decide", args=[approval.pk]), form, follow=True)


def test_an_approver_sees_the_command_and_approves_it():
    approval = make_approval(tool_input=json.dumps({"command": "rm -r build && echo done"}))
    client = signed_in("Approver")
    assert "rm -r build &amp;&amp; echo done" in client.get(page_of(approval)).content.decode()
    answer = decide(client, approval, "approve")
    approval.refresh_from_db()
    assert (approval.status, approval.decided_by, approval.decided_via) == (S.APPROVED, "anna", "admin")
    assert answer.status_code == 200
    assert "Approved. Recorded" in answer.content.decode()


def test_the_audit_knows_the_address_of_the_person():
    approval = make_approval()
    decide(signed_in("Approver"), approval, "approve")
    assert AuditEntry.objects.get(approval=approval, won=True).address == "127.0.0.1"


def test_a_rejection_carries_its_reason():
    approval = make_approval()
    decide(signed_in("Approver"), approval, "reject", reason="use make clean")
    approval.refresh_from_db()
    assert (approval.status, approval.reason) == (S.REJECTED, "use make clean")


def test_an_approval_for_the_session_leaves_a_rule():
    approval = make_approval(session=make_session().pk)
    decide(signed_in("Approver"), approval, "approve_session")
    assert Rule.objects.get().scope_value == str(approval.session)


def test_an_edited_input_is_kept_as_exact_ascii_json():
    approval = make_approval()
    decide(signed_in("Approver"), approval, "edit", updated_input='{\r\n  "command": "echo grüße"\r\n}')
    approval.refresh_from_db()
    assert approval.status == S.APPROVED
    assert approval.updated_input.isascii()
    assert json.loads(approval.updated_input) == {"command": "echo grüße"}


def test_an_edited_input_that_is_not_json_is_refused_and_kept_in_the_form():
    approval = make_approval()
    answer = decide(signed_in("Approver"), approval, "edit", updated_input='{"command": oops')
    approval.refresh_from_db()
    assert approval.status == S.PENDING
    assert "That is not JSON" in answer.content.decode()
    assert "oops" in answer.content.decode()


def test_more_time_is_given_by_a_button():
    approval = make_approval(expires_at=timezone.now() + timedelta(minutes=10))
    decide(signed_in("Approver"), approval, "extend")
    before = approval.expires_at
    approval.refresh_from_db()
    assert approval.expires_at == before + timedelta(minutes=15)


def test_a_question_is_answered_with_its_options_and_own_words():
    questions = [
        {
            "question": "Which colour?",
            "header": "Colour",
            "multiSelect": True,
            "options": [{"label": "Red"}, {"label": "Blue"}],
        },
        {"question": "Which name?", "header": "Name", "multiSelect": False, "options": [{"label": "Ada"}]},
    ]
    approval = make_approval(
        kind="question", tool_name="AskUserQuestion", tool_input=json.dumps({"questions": questions})
    )
    client = signed_in("Approver")
    assert "Which colour?" in client.get(page_of(approval)).content.decode()
    decide(client, approval, "approve", answer_0=["Red", "Blue"], other_1="Grace")
    approval.refresh_from_db()
    assert json.loads(approval.answers) == {"Which colour?": "Red, Blue", "Which name?": "Grace"}


def test_a_question_without_any_answer_is_not_recorded():
    questions = [{"question": "Which?", "options": [{"label": "A"}]}]
    approval = make_approval(
        kind="question", tool_name="AskUserQuestion", tool_input=json.dumps({"questions": questions})
    )
    answer = decide(signed_in("Approver"), approval, "approve")
    approval.refresh_from_db()
    assert approval.status == S.PENDING
    assert "Answer at least one question" in answer.content.decode()


def test_the_second_answer_is_told_who_was_first():
    approval = make_approval()
    decide(signed_in("Approver", "anna"), approval, "reject")
    answer = decide(signed_in("Approver", "boris"), approval, "approve")
    assert "already rejected by anna via admin" in answer.content.decode()


def test_an_overdue_question_says_so_instead_of_failing():
    approval = make_approval(expires_at=timezone.now() - timedelta(seconds=5))
    answer = decide(signed_in("Approver"), approval, "approve")
    approval.refresh_from_db()
    assert approval.status == S.PENDING
    assert "Timeout waiting for approval" in answer.content.decode()


def test_an_answer_to_something_else_than_was_seen_is_refused():
    approval = make_approval()
    answer = decide(signed_in("Approver"), approval, "approve", seen_digest="0" * 64)
    assert "not the one you looked at" in answer.content.decode()
    answer = decide(signed_in("Approver", "boris"), approval, "approve", seen_digest="")
    approval.refresh_from_db()
    assert approval.status == S.PENDING


def test_nobody_answers_for_themselves(settings):
    approval = make_approval(requested_by="anna")
    client = signed_in("Approver", "anna")
    assert "somebody else must answer" in client.get(page_of(approval)).content.decode()
    decide(client, approval, "approve")
    approval.refresh_from_db()
    assert approval.status == S.PENDING


def test_a_viewer_reads_and_has_no_buttons():
    approval = make_approval()
    client = signed_in("Viewer")
    page = client.get(page_of(approval)).content.decode()
    assert "rm -r build" in page
    assert 'name="decision"' not in page
    assert decide(client, approval, "approve").status_code == 403


def test_somebody_without_any_right_sees_nothing():
    approval = make_approval()
    client = Client()
    client.force_login(make_user("eve", is_staff=True))
    assert client.get(page_of(approval)).status_code == 403


def test_deciding_needs_a_post_and_a_csrf_token():
    approval = make_approval()
    client = Client(enforce_csrf_checks=True)
    client.force_login(make_user("anna", group="Approver", is_staff=True))
    address = reverse("admin:approvals_approval_decide", args=[approval.pk])
    assert client.get(address).status_code == 405
    assert client.post(address, {"decision": "approve", "seen_digest": approval.input_digest}).status_code == 403


@pytest.mark.parametrize("group", ["Approver", "Administrator"])
def test_nobody_adds_deletes_or_edits_an_approval_by_hand(group):
    approval = make_approval()
    client = signed_in(group)
    assert client.get(reverse("admin:approvals_approval_add")).status_code == 403
    assert (
        client.post(reverse("admin:approvals_approval_delete", args=[approval.pk]), {"post": "yes"}).status_code == 403
    )
    assert client.post(page_of(approval), {"status": "approved", "_save": "Save"}).status_code == 405
    approval.refresh_from_db()
    assert approval.status == S.PENDING


@pytest.mark.parametrize("key", ["nonsense", "00000000-0000-4000-8000-000000000000"])
def test_an_unknown_approval_is_a_404(key):
    assert signed_in("Approver").get(f"/admin/approvals/approval/{key}/change/").status_code == 404


def test_several_are_answered_after_a_page_that_shows_each():
    one, two = make_approval(), make_approval(tool_input=json.dumps({"command": "make clean"}))
    risky = make_approval(risk="high", tool_input=json.dumps({"command": "sudo rm -rf /"}))
    client = signed_in("Approver")
    chosen = {"action": "approve_selected", "_selected_action": [str(a.pk) for a in (one, two, risky)]}
    confirmation = client.post(reverse("admin:approvals_approval_changelist"), chosen)
    assert "make clean" in confirmation.content.decode()
    assert "high risk: answer it on its own page" in confirmation.content.decode()
    assert Approval.objects.filter(status=S.PENDING).count() == 3
    digests = {f"digest_{a.pk}": a.input_digest for a in (one, two, risky)}
    client.post(reverse("admin:approvals_approval_changelist"), chosen | digests | {"confirmed": "yes"})
    assert list(Approval.objects.filter(status=S.PENDING)) == [risky]


def test_a_request_with_choices_is_left_out_of_several():
    external = make_approval(kind="external", tool_name="", tool_input="", options=json.dumps(["Red", "Blue"]))
    form = {"action": "approve_selected", "_selected_action": [str(external.pk)]}
    page = signed_in("Approver").post(reverse("admin:approvals_approval_changelist"), form).content.decode()
    assert "it needs more than a yes: answer it on its own page" in page


@pytest.mark.parametrize("digest", ["0" * 64, ""])
def test_the_confirmation_never_answers_what_it_did_not_show(digest):
    approval = make_approval()
    form = {
        "action": "approve_selected",
        "_selected_action": [str(approval.pk)],
        "confirmed": "yes",
        f"digest_{approval.pk}": digest,
    }
    signed_in("Approver").post(reverse("admin:approvals_approval_changelist"), form)
    approval.refresh_from_db()
    assert approval.status == S.PENDING


def test_the_list_costs_the_same_however_long_it_is(django_assert_max_num_queries):
    client = signed_in("Administrator")
    for _ in range(3):
        make_approval()
    client.get(reverse("admin:approvals_approval_changelist"))
    for _ in range(20):
        make_approval()
    with django_assert_max_num_queries(7):
        client.get(reverse("admin:approvals_approval_changelist"))


def test_pending_ones_stand_first_and_the_most_urgent_on_top():
    make_approval(title="closed", status=S.REJECTED)
    make_approval(title="later", expires_at=timezone.now() + timedelta(minutes=50))
    make_approval(title="sooner", expires_at=timezone.now() + timedelta(minutes=5))
    page = signed_in("Viewer").get(reverse("admin:approvals_approval_changelist")).content.decode()
    assert page.index("sooner") < page.index("later") < page.index("closed")


def test_the_first_page_says_what_needs_a_person():
    make_approval(title="Bash: make deploy")
    page = signed_in("Approver").get(reverse("admin:index")).content.decode()
    assert "1 approval request waits for a person" in page
    assert "Bash: make deploy" in page


def test_hostile_text_is_quoted_and_spelled_out():
    command = "echo ok \u202e ; <script>alert(1)</script>" + " " * 500 + "\x1b[2J rm -rf /"
    approval = make_approval(title=f"Bash: {command}"[:200], tool_input=json.dumps({"command": command}))
    page = signed_in("Approver").get(page_of(approval)).content.decode()
    assert "<script>alert" not in page
    assert "\u202e" not in page
    assert "\x1b" not in page
    assert "500 spaces" in page
    assert "rm -rf /" in page


def test_a_huge_input_cannot_be_approved_until_the_whole_was_revealed():
    approval = make_approval(tool_input=json.dumps({"command": "echo " + "x" * 250_000 + " the-end"}))
    client = signed_in("Approver")
    hidden = client.get(page_of(approval) + "?whole=1").content.decode()
    assert "too large to be searched for secrets" in hidden
    assert "the-end" not in hidden and 'name="read_digest"' not in hidden
    reveal = reverse("admin:approvals_approval_reveal", args=[approval.pk])
    part, whole = (client.post(reveal, form).content.decode() for form in ({}, {"whole": "1"}))
    assert 'value="approve"' not in part and "the-end" not in part
    assert 'value="approve"' in whole and "the-end" in whole and 'name="read_digest"' in whole


def test_the_desk_works_with_redis_dead(settings, transactional_db):
    from dataclasses import replace

    from orchestra.db import notify

    notify.redis_client.cache_clear()
    settings.ORCHESTRA = replace(settings.ORCHESTRA, redis_url="unix:///nowhere/dead.sock?db=0")
    try:
        approval = make_approval()
        client = signed_in("Approver")
        assert client.get(reverse("admin:index")).status_code == 200
        assert decide(client, approval, "approve").status_code == 200
        approval.refresh_from_db()
        assert approval.status == S.APPROVED
    finally:
        notify.redis_client.cache_clear()
