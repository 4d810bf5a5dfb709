"""The pages of one question and of all of them: what they show, find, take away and record."""

import csv
import io
import json
from datetime import timedelta
from typing import Any

import pytest
from asgiref.sync import async_to_sync
from django.test import Client
from django.utils import timezone

from approvals import exports, queries
from approvals.commands import decide_approval
from approvals.models import Approval
from approvals.presentation.diffs import diff_lines
from approvals.presentation.side_by_side import pairs
from tests.factories import make_approval, make_user

pytestmark = pytest.mark.django_db


@pytest.fixture
def anna(client: Client) -> Client:
    client.force_login(make_user("anna", group="Approver"))
    return client


def page(client: Client, approval: Approval, **query: str) -> str:
    return str(client.get(f"/approvals/{approval.pk}", query).content.decode())


def test_the_page_shows_what_would_run_and_where_it_stands(anna: Client) -> None:
    later = make_approval(title="Bash: make", expires_at=timezone.now() + timedelta(hours=2))
    first = make_approval(risk="high", risk_reason="deletes or overwrites data", facts={"host": "build-01"})
    shown = page(anna, first)
    for words in (
        "Exactly this would run",
        "deletes or overwrites data",
        "build-01",
        "1 of 2",
        f"/approvals/{later.pk}",
    ):
        assert words in shown
    assert 'value="approve" data-key="a"' not in shown, "a high risk is asked once more"
    assert "Yes, run it once" in shown


def test_the_plain_form_records_and_comes_back(anna: Client) -> None:
    approval = make_approval()
    form = {"decision": "approve", "seen_digest": approval.input_digest, "next": f"/approvals/{approval.pk}"}
    done = anna.post(f"/approvals/{approval.pk}/answer", form)
    assert (done.status_code, done["Location"]) == (302, f"/approvals/{approval.pk}")
    assert "Approved by anna, here" in page(anna, approval)
    assert "Your decision" not in page(anna, approval)


def test_what_was_not_seen_is_not_approved(anna: Client) -> None:
    approval = make_approval()
    for seen in ("", "0" * 64):
        answer = anna.post(
            f"/approvals/{approval.pk}/answer", {"decision": "approve", "seen_digest": seen}, follow=True
        )
        assert b"Not recorded" in answer.content
    approval.refresh_from_db()
    assert approval.status == "pending"


def test_what_is_huge_cannot_be_approved_until_the_whole_was_revealed(anna: Client) -> None:
    approval = make_approval(tool_input=json.dumps({"command": "echo " + "x" * 300_000}))
    hidden = page(anna, approval, whole="1")
    assert "too large to be searched for secrets" in hidden and 'name="read_digest"' not in hidden
    reveal = f"/approvals/{approval.pk}/reveal"
    part, whole = (anna.post(reveal, form).content.decode() for form in ({}, {"whole": "1"}))
    assert 'value="approve"' not in part
    assert 'value="approve"' in whole and 'name="read_digest"' in whole


def test_the_timeline_tells_losing_tries_too(anna: Client) -> None:
    approval = make_approval()
    decide_approval(approval_id=approval.pk, decision="rejected", by="boris", via="telegram", reason="not on Fridays")
    anna.post(f"/approvals/{approval.pk}/answer", {"decision": "approve", "seen_digest": approval.input_digest})
    shown = anna.get(f"/approvals/{approval.pk}/timeline").content.decode()
    assert "Rejected by boris, on Telegram" in shown
    assert "not on Fridays" in shown
    assert "Tried by anna, here" in shown


def test_an_edit_is_previewed_and_not_recorded(anna: Client) -> None:
    approval = make_approval()
    edited = anna.post(f"/approvals/{approval.pk}/edited", {"updated_input": '{"command": "rm -r build/tmp"}'})
    shown = edited.content.decode()
    assert '<span class="w">build/tmp</span>' in shown
    assert "1 line in, 1 out" in shown
    for broken, why in (("{", "not JSON yet"), ("[]", "JSON object")):
        assert why in anna.post(f"/approvals/{approval.pk}/edited", {"updated_input": broken}).content.decode()
    approval.refresh_from_db()
    assert (approval.status, approval.updated_input) == ("pending", "")


def test_of_an_edited_call_both_are_named_and_neither_bears_the_other_digest(anna: Client) -> None:
    asked = make_approval(tool_name="Bash", tool_input='{"command": "rm -r build", "description": "Clean up"}')
    form = {"decision": "edit", "seen_digest": asked.input_digest, "updated_input": '{"command": "ls build"}'}
    anna.post(f"/approvals/{asked.pk}/answer", form)
    shown = page(anna, asked)
    assert "<bdi>Allowed, as edited: Command</bdi>" in shown and "<bdi>Asked for, not allowed: Command</bdi>" in shown
    assert shown.index("as edited") < shown.index('"w">ls<') < shown.index("not allowed:") < shown.index('"w">rm<')
    assert "digest <code>" not in shown and "no newline" not in shown
    assert "The agent says: “<bdi>Clean up</bdi>”" in shown


def test_what_was_asked_before_in_the_same_words_is_shown(anna: Client) -> None:
    alike = make_approval(
        title="Bash: rm -r dist", status="rejected", decided_by="boris", decided_via="admin", reason="no"
    )
    make_approval(title="Bash: make", status="approved")
    make_approval(title="Write: rm -r build", tool_name="Write", status="approved")
    approval = make_approval(title="Bash: rm -r build")
    assert queries.similar_approvals(approval, most=5) == [alike]
    assert "Rejected by boris, in the admin" in page(anna, approval)


def test_a_change_stands_side_by_side() -> None:
    beside = list(pairs(diff_lines("one\ntwo\nthree\n", "one\n2\n2b\nthree\n")))
    shown = [(one.before and one.before.text, one.after and one.after.text) for one in beside if not one.heading]
    assert shown == [("one", "one"), ("two", "2"), (None, "2b"), ("three", "three")]


@pytest.mark.parametrize(
    ("query", "found"),
    [
        ({}, {"a", "b", "c"}),
        ({"status": "pending"}, {"a"}),
        ({"status": "nonsense", "risk": "nonsense", "session": "x", "page": "9" * 30}, {"a", "b", "c"}),
        ({"tool": "bas"}, {"a", "b"}),
        ({"risk": "high"}, {"c"}),
        ({"person": "boris"}, {"b"}),
        ({"by_rule": "1"}, {"a", "b", "c", "rule"}),
    ],
)
def test_questions_are_found(anna: Client, query: dict[str, str], found: set[str]) -> None:
    make_approval(title="Bash: a")
    make_approval(title="Bash: b", status="approved", decided_by="boris", decided_via="api")
    make_approval(
        title="Write: c", tool_name="Write", tool_input="{}", risk="high", status="rejected", decided_via="api"
    )
    make_approval(title="Bash: rule", status="approved", decided_via="policy")
    cards = anna.get("/approvals", query).context["cards"]
    assert {card.approval.title.split(": ")[1] for card in cards} == found


def test_a_long_list_is_cut_into_pages(anna: Client) -> None:
    for number in range(51):
        make_approval(title=f"Bash: {number}")
    first = anna.get("/approvals?tool=Bash")
    assert len(first.context["cards"]) == 50
    assert first.context["listed"].next == "?tool=Bash&page=2"
    second = anna.get("/approvals?tool=Bash&page=2")
    assert (len(second.context["cards"]), second.context["listed"].next) == (1, "")


def test_the_page_of_all_costs_the_same_however_many_there_are(
    anna: Client, django_assert_max_num_queries: Any
) -> None:
    for number in range(30):
        make_approval(title=f"Bash: {number}")
    with django_assert_max_num_queries(14):
        anna.get("/approvals")


@pytest.mark.django_db(transaction=True)
def test_a_spreadsheet_runs_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(exports, "BATCH", 2)
    titles = ["=HYPERLINK(1)", "+1", "@x", "plain, with a comma", "two\nlines \u202e"]
    for title in titles:
        make_approval(title=title)

    async def everything(write: Any) -> bytes:
        return b"".join([piece async for piece in write(Approval.objects.all())])

    rows = list(csv.DictReader(io.StringIO(async_to_sync(everything)(exports.csv_lines).decode())))
    assert {row["title"] for row in rows} == {
        "'=HYPERLINK(1)", "'+1", "'@x", "plain, with a comma", "two\nlines \\u202e",
    }  # fmt: skip
    lines = [json.loads(line) for line in async_to_sync(everything)(exports.json_lines).splitlines()]
    assert {line["title"] for line in lines} == set(titles)
    assert json.loads(lines[0]["tool_input"]) == {"command": "rm -r build"}
