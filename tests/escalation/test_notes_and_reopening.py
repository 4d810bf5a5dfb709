"""Telegram: a note with an approval, asking again, and requests that never expire."""

from dataclasses import replace
from datetime import timedelta
from uuid import uuid4

import pytest
from django.utils import timezone

from approvals.commands import cancel_approval, decide_approval, expire_approval
from approvals.deadlines import NEVER
from approvals.models import Approval, AuditEntry
from approvals.reminders import remind_of_deadlines
from approvals.reopening import reopen_approval
from escalation.telegram.messages import render
from tests.escalation.conftest import ANNA, BORIS
from tests.escalation.notices import make_notice, make_outcome
from tests.escalation.test_presses import fresh, tokens
from tests.factories import make_approval

ASK_AGAIN = "Ask again"


# --- a note


def test_the_button_asks_for_the_note_and_the_reply_approves_with_it(chat):
    approval = make_approval(session=uuid4())
    card = chat.card(approval)
    assert "Reply to the message below" in chat.press(ANNA, card, "Approve with a note…")
    assert fresh(approval).status == "pending"
    prompt = chat.last()
    chat.say(ANNA, "use staging <first>\n& ask again", to=prompt)
    assert (fresh(approval).status, approval.note) == ("approved", "use staging <first>\n& ask again")
    assert "Note to the agent: use staging <first> ⏎ & ask again" in chat.now(card)["text"]
    assert chat.now(prompt)["deleted"]
    chat.telegram.assert_clean()


@pytest.mark.parametrize(
    ("text", "note"),
    [
        ("approve: use staging", "use staging"),
        ("Approve, but use staging", "but use staging"),
        ("YES: a\nb", "a\nb"),
        ("approve", None),
        ("approve:  ", None),
        ("do not approve: no", None),
        ("I approve: x", None),
        ("ok, wait for boris", None),
        ("yes, but not today", None),
    ],
)
def test_a_reply_to_the_card_that_approves_in_words(chat, text, note):
    approval = make_approval()
    chat.say(ANNA, text, to=chat.card(approval))
    assert (fresh(approval).status, approval.note) == (("approved", note) if note else ("pending", ""))


def test_words_below_a_cut_card_approve_nothing(chat):
    approval = make_approval(tool_input='{"command": "' + "echo x; " * 2000 + '"}')
    chat.say(ANNA, "approve: go", to=chat.card(approval))
    assert fresh(approval).status == "pending"
    assert "does not show the whole request" in chat.last()["text"]


def test_another_person_cannot_write_the_note_that_was_asked_of_one(chat):
    approval = make_approval()
    chat.press(ANNA, chat.card(approval), "Approve with a note…")
    chat.say(BORIS, "mine", to=chat.last())
    assert fresh(approval).status == "pending"


def test_a_note_longer_than_an_agent_is_given_is_refused_and_said(chat):
    approval = make_approval()
    chat.press(ANNA, chat.card(approval), "Approve with a note…")
    chat.say(ANNA, "x" * 4001, to=chat.last())
    assert fresh(approval).status == "pending"
    assert "at most 4,000 characters" in chat.last()["text"]


# --- asking again


@pytest.mark.parametrize("how", ["rejected", "expired", "withdrawn"])
def test_a_settled_card_asks_again_and_the_new_request_has_a_card(chat, how):
    approval = make_approval()
    card = chat.card(approval)
    if how == "rejected":
        decide_approval(approval_id=approval.pk, decision="rejected", by="boris", via="admin")
    elif how == "withdrawn":
        cancel_approval(approval_id=approval.pk, by="olga", via="api")
    else:
        Approval.objects.update(expires_at=timezone.now() - timedelta(seconds=1))
        expire_approval(approval.pk)
    chat.work()
    settled = chat.now(card)
    assert list(tokens(settled)) == [ASK_AGAIN]
    assert chat.press(ANNA, settled, ASK_AGAIN) == "Asked again. The new card follows."
    fresh_one = Approval.objects.get(reopened_from=approval.pk)
    assert AuditEntry.objects.get(approval=approval, action="reopened").by == "anna"
    assert chat.now(card)["buttons"] == []
    assert "Asked again: see the new card." in chat.now(card)["text"]
    chat.press(ANNA, chat.card(fresh_one), "Approve")
    assert fresh(fresh_one).status == "approved"
    assert chat.now(chat.card(fresh_one))["buttons"] == []
    chat.telegram.assert_clean()


def test_who_asked_cannot_ask_again(chat, settings):
    settings.APPROVALS = replace(settings.APPROVALS, self_approval=False)
    approval = make_approval(requested_by="anna")
    card = chat.card(approval)
    decide_approval(approval_id=approval.pk, decision="rejected", by="boris", via="admin")
    chat.work()
    assert "Nobody decides what they requested" in chat.press(ANNA, chat.now(card), ASK_AGAIN)
    assert Approval.objects.count() == 1


def test_one_that_was_asked_again_elsewhere_is_told_so(chat):
    approval = make_approval()
    card = chat.card(approval)
    decide_approval(approval_id=approval.pk, decision="rejected", by="boris", via="admin")
    chat.work()
    fresh_one = reopen_approval(approval_id=approval.pk, by="boris", via="api")
    chat.press(ANNA, chat.now(card), ASK_AGAIN)
    assert Approval.objects.count() == 2
    decide_approval(approval_id=fresh_one.pk, decision="approved", by="boris", via="api")


def test_what_a_rule_refused_offers_nothing(chat):
    outcome = make_outcome(status="rejected", decided_via="policy", reopenable=False)
    assert render.render_settled(make_notice(), outcome, shown="x").keyboard == ()


# --- never


def test_a_card_says_that_it_never_expires():
    card = render.render_card(make_notice(expires_at=NEVER, seconds_left=2.5e11, never_expires=True))
    assert card.plain.endswith("⏳ Never expires")
    assert "9999" not in card.text


def test_reminders_of_what_never_expires_repeat(chat, settings):
    settings.APPROVALS = replace(settings.APPROVALS, reminder=timedelta(hours=1))
    approval = make_approval(expires_at=NEVER)
    chat.card(approval)
    for passed in (1, 2, 3):
        back = timezone.now() - timedelta(hours=1, minutes=passed)
        Approval.objects.update(reminded_for=back)
        assert remind_of_deadlines(batch=10) == 1
        assert remind_of_deadlines(batch=10) == 0
        chat.work()
        chat.work()
        reminders = [one for one in chat.telegram.messages(by_bot=True) if one["text"].startswith("⏰")]
        assert len(reminders) == passed
        assert reminders[0]["text"].startswith("⏰ Never expires, and nobody has answered.")
        from escalation.models import Delivery

        Delivery.objects.update(reminded_for=back)
