"""The desk of the console: a question as a card, and its answer by a plain form."""

import json
from datetime import timedelta

import pytest
from django.core.management import call_command
from django.core.management.base import CommandError
from django.test import Client
from django.urls import reverse
from django.utils import timezone
from django.utils.html import escape

from approvals.models import Approval, AuditEntry, Rule
from console.approvals.cards import Outcome, outcome_of
from tests.factories import make_approval, make_session, make_user

pytestmark = pytest.mark.django_db
S = Approval.Status


def signed_in(group: str = "Approver", name: str = "") -> Client:
    client = Client()
    client.force_login(make_user(name, group=group))
    return client


def answer(client: Client, approval: Approval, *, scripted: bool = False, **form: str):
    headers = {"HX-Request": "true"} if scripted else {}
    whole = {"seen_digest": approval.input_digest, "next": "/?x=1", **form}
    return client.post(f"/approvals/{approval.pk}/decide", whole, headers=headers)


def card(client: Client, approval: Approval) -> str:
    return client.get(f"/approvals/{approval.pk}/card").content.decode()


def test_a_form_records_the_answer_and_leads_back() -> None:
    approval = make_approval()
    done = answer(signed_in(name="anna"), approval, decision="approve")
    assert (done.status_code, done["Location"]) == (302, "/?x=1")
    approval.refresh_from_db()
    assert (approval.status, approval.decided_by, approval.decided_via) == (S.APPROVED, "anna", "dashboard")


@pytest.mark.parametrize("away", ["https://192.0.2.1/", "//192.0.2.1/", "javascript:alert(1)", ""])
def test_it_never_leads_to_a_foreign_place(away: str) -> None:
    assert answer(signed_in(), make_approval(), decision="approve", next=away)["Location"] == "/"


def test_a_script_gets_the_card_as_the_row_says_it() -> None:
    approval = make_approval()
    page = answer(
        signed_in(name="anna"), approval, scripted=True, decision="reject", reason="use make"
    ).content.decode()
    assert "Rejected by anna, here" in page
    assert "“<bdi>use make</bdi>”" in page
    assert "ask-form" not in page


def test_a_nul_in_a_reason_is_replaced_because_postgresql_stores_none() -> None:
    approval = make_approval()
    answer(signed_in(), approval, decision="reject", reason="use\0make")
    approval.refresh_from_db()
    assert (approval.status, approval.reason) == (S.REJECTED, "use\ufffdmake")


def test_the_second_is_told_who_was_first_and_keeps_what_they_wrote() -> None:
    approval = make_approval()
    answer(signed_in(name="anna"), approval, decision="approve")
    page = answer(signed_in(name="boris"), approval, scripted=True, decision="reject", reason="wait").content.decode()
    assert "Already answered. Approved by anna, here" in page
    assert "Nothing of yours was recorded." in page
    assert '<pre class="kept" dir="auto">wait</pre>' in page
    assert AuditEntry.objects.filter(approval=approval, by="boris", won=False).count() == 1
    agrees = answer(signed_in(name="carla"), approval, scripted=True, decision="approve").content.decode()
    assert "You agree; nothing of yours was needed." in agrees


def test_a_question_whose_time_is_up_takes_no_answer() -> None:
    approval = make_approval(expires_at=timezone.now() - timedelta(seconds=1))
    page = answer(signed_in(), approval, scripted=True, decision="approve").content.decode()
    assert "Not recorded. The time to answer is over." in page
    approval.refresh_from_db()
    assert approval.status == S.PENDING


def test_what_was_not_looked_at_is_not_approved() -> None:
    approval = make_approval()
    assert (
        "changed while you looked"
        in answer(signed_in(), approval, scripted=True, decision="approve", seen_digest="0" * 64).content.decode()
    )
    assert (
        "load it again"
        in answer(signed_in(), approval, scripted=True, decision="approve", seen_digest="").content.decode()
    )
    approval.refresh_from_db()
    assert approval.status == S.PENDING


@pytest.mark.parametrize("group", ["Viewer", "Operator", "Asker"])
def test_nobody_without_the_right_decides(group: str) -> None:
    approval = make_approval()
    assert answer(signed_in(group), approval, decision="approve").status_code == 403
    approval.refresh_from_db()
    assert approval.status == S.PENDING


def test_a_form_of_another_site_decides_nothing() -> None:
    client = Client(enforce_csrf_checks=True)
    client.force_login(make_user(group="Approver"))
    approval = make_approval()
    assert answer(client, approval, decision="approve").status_code == 403
    approval.refresh_from_db()
    assert approval.status == S.PENDING


def test_a_high_risk_is_asked_once_more_and_offers_no_standing_rule() -> None:
    page = card(signed_in(), make_approval(risk="high", session=make_session().pk))
    first = page[: page.index('data-panel="sure"')]
    assert 'value="approve"' not in first
    assert "Approve this high-risk call?" in page
    assert 'data-opens="session"' not in page


def test_a_long_diff_is_read_before_it_is_approved(tmp_path) -> None:
    content = "".join(f"line {number}\n" for number in range(60))
    tool_input = json.dumps({"file_path": "long.txt", "content": content})
    page = card(signed_in(), make_approval(tool_name="Write", tool_input=tool_input, working_directory=str(tmp_path)))
    assert "Read all of it first" in page
    assert 'value="approve"' not in page
    assert 'value="reject"' in page


def test_a_question_is_answered_in_words_or_by_choice() -> None:
    asked = [
        {"question": "Which?", "header": "H", "options": [{"label": "A", "description": ""}], "multiSelect": False},
        {"question": "Why?", "header": "H", "options": [], "multiSelect": False},
    ]
    approval = make_approval(kind="question", tool_name="AskUserQuestion", tool_input=json.dumps({"questions": asked}))
    client = signed_in()
    assert "checked" not in card(client, approval)
    answer(client, approval, decision="approve", answer_0="A", other_1="because")
    approval.refresh_from_db()
    assert json.loads(approval.answers) == {"Which?": "A", "Why?": "because"}
    assert "<b><bdi>because</bdi></b>" in card(client, approval)


def test_a_session_that_somebody_cancelled_was_not_cancelled_by_the_system_too() -> None:
    for who, words in (("anna", "Cancelled by anna"), ("", "Cancelled by the system")):
        ended = make_approval(status="cancelled", decided_by=who, decided_via="system")
        assert outcome_of(ended) == Outcome("", "cancelled", words, "It did not run.")


def test_the_shell_says_that_an_answer_comes_too_late() -> None:
    late = make_approval(expires_at=timezone.now() - timedelta(seconds=1))
    with pytest.raises(CommandError, match=r"^Too late: its time is up\."):
        call_command("approvals", "reject", str(late.pk))


def test_hostile_words_stay_words_on_the_card() -> None:
    evil = "</pre><script>alert(1)</script>\u202e"
    approval = make_approval(
        title=evil, tool_input=json.dumps({"command": evil, "description": evil}), working_directory=evil,
        requested_by=evil[:100], risk_reason=evil, facts={"host": evil, "agent": evil, "warning": evil},
    )  # fmt: skip
    page = card(signed_in(), approval)
    assert "<script" not in page
    assert "\u202e" not in page


def test_time_is_given_by_the_form_too() -> None:
    approval = make_approval()
    before = approval.expires_at
    answer(signed_in(), approval, decision="extend")
    approval.refresh_from_db()
    assert approval.expires_at > before


def test_an_unknown_question_is_not_found() -> None:
    assert signed_in().get("/approvals/00000000-0000-0000-0000-000000000000/card").status_code == 404


@pytest.mark.parametrize(
    ("tool", "given", "words"),
    [
        (
            "Edit",
            {"file_path": "a.py", "new_string": "x"},
            "Any edit of this file by Edit, whatever it changes, passes",
        ),
        ("Bash", {"command": "make"}, "only its description and its time limit may differ"),
        ("Skill", {"skill": "deploy", "args": "x"}, "This very call, with exactly this input, passes"),
    ],
)
def test_every_page_says_what_a_rule_for_the_session_would_cover(tool: str, given: dict[str, str], words: str) -> None:
    """The card, the page of the question and the admin: one function, the same words."""
    approval = make_approval(
        session=make_session().pk,
        tool_name=tool,
        tool_input=json.dumps(given),
        working_directory="/srv/app",
        risk="low",
    )
    client = signed_in()
    for address in (f"/approvals/{approval.pk}/card", reverse("question", args=[approval.pk])):
        assert words in client.get(address).content.decode()
    boss = signed_in("Administrator")
    page = boss.get(reverse("admin:approvals_approval_change", args=[approval.pk])).content.decode()
    assert words in page
    assert ("Approve any edit of this file for session" in page) == (tool == "Edit")


def test_a_rule_for_the_session_is_what_the_card_showed() -> None:
    approval = make_approval(
        session=make_session().pk, tool_name="Skill", tool_input='{"skill": "deploy", "args": "x"}', risk="low"
    )
    shown = card(signed_in(), approval)
    answer(signed_in(name="anna"), approval, decision="approve_session")
    rule = Rule.objects.get()
    assert rule.pattern == '{"args": "x", "skill": "deploy"}'
    assert escape(f"Skill({rule.pattern})") in shown
