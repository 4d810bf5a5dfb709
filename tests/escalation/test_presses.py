"""A press decides if a known person may, once, and only what it stands below; every other press changes nothing."""

import json
import os
from datetime import timedelta
from uuid import uuid4

import pytest
from django.utils import timezone

from approvals.commands import cancel_approval, decide_approval, expire_approval
from approvals.models import Approval, AuditEntry, Rule
from escalation.models import Approver, Button, Delivery, Message, Update
from escalation.telegram.inbound import updates
from escalation.telegram.messages import cards
from tests.escalation.chat import link
from tests.escalation.conftest import ANNA, BORIS, GROUP, STRANGER
from tests.factories import make_approval

PRESSES = int(os.environ.get("PRESSES", "200"))  # 10,000 by hand: some minutes


def fresh(approval):
    approval.refresh_from_db()
    return approval


def refusals(approval=None):
    return AuditEntry.objects.filter(action="refused", won=False, approval=approval)


def tokens(message):
    return {button["text"]: button["callback_data"] for row in message["buttons"] for button in row}


def test_approve_decides_tells_the_person_and_the_card_says_so(chat):
    approval = make_approval(session=uuid4())
    card = chat.card(approval)
    assert chat.press(ANNA, card, "Approve") == "Approved. The agent is told."
    assert (fresh(approval).status, approval.decided_by, approval.decided_via) == ("approved", "anna", "telegram")
    entry = AuditEntry.objects.get(approval=approval, won=True)
    press = chat.handed_in[-1]
    assert entry.address == f"telegram user {ANNA}, chat {GROUP}, update {press['update_id']}"
    settled = chat.now(card)
    assert settled["text"].startswith("✅ Approved by anna in Telegram") and settled["buttons"] == []
    assert Delivery.objects.get().status == "settled"
    chat.telegram.assert_clean()


def test_approve_for_session_opens_the_rule(chat):
    approval = make_approval(session=uuid4())
    chat.press(ANNA, chat.card(approval), "Approve for session")
    assert (fresh(approval).status, approval.scope) == ("approved", "session")


def test_the_button_and_the_reply_say_that_any_edit_of_the_file_would_pass(chat):
    given = '{"file_path": "/srv/app/a.py", "old_string": "1", "new_string": "2"}'
    approval = make_approval(session=uuid4(), tool_name="Edit", tool_input=given, working_directory="/srv/app")
    press = chat.tap(ANNA, chat.card(approval), "Approve any edit of this file for session")
    chat.pump()
    assert "Any edit of this file by Edit, whatever it changes, passes" in chat.telegram.answer(press)["text"]
    assert Rule.objects.get().pattern == "/srv/app/a.py"


def test_whoever_comes_second_is_told_who_was_first(chat):
    approval = make_approval()
    card = chat.card(approval)
    chat.tap(ANNA, card, "Approve")
    late = chat.tap(BORIS, card, "Approve")
    chat.pump()
    assert fresh(approval).decided_by == "anna"
    assert chat.telegram.answer(late)["text"] == "Already approved by anna in Telegram. Nothing was changed."
    assert AuditEntry.objects.filter(approval=approval, won=True).count() == 1


@pytest.mark.parametrize(
    ("close", "told"),
    [
        (
            lambda one: decide_approval(approval_id=one.pk, decision="rejected", by="boris", via="admin"),
            "Already rejected by boris in the admin. Nothing was changed.",
        ),
        (
            lambda one: cancel_approval(approval_id=one.pk, by="olga", via="api"),
            "Already cancelled by olga by the API. Nothing was changed.",
        ),
    ],
)
def test_a_press_on_a_card_that_another_door_has_closed(chat, close, told):
    approval = make_approval()
    card = chat.card(approval)
    query = chat.tap(ANNA, card, "Approve")
    close(approval)
    status = fresh(approval).status
    chat.pump()
    assert chat.telegram.answer(query)["text"] == told
    assert fresh(approval).status == status


def test_a_press_after_the_deadline_comes_too_late_swept_or_not(chat):
    approval = make_approval()
    card = chat.card(approval)
    Approval.objects.update(expires_at=timezone.now() - timedelta(seconds=1))
    assert chat.press(ANNA, card, "Approve").startswith("Too late")
    assert fresh(approval).status == "pending"
    expire_approval(approval.pk)
    chat.work()
    assert chat.now(card)["text"].startswith("⌛ Nobody answered in time")


# --- who may not


def test_a_stranger_changes_nothing_and_is_told_and_audited(chat):
    approval = make_approval()
    card = chat.card(approval)
    assert "/link CODE" in chat.press(STRANGER, card, "Approve")
    assert fresh(approval).status == "pending"
    (entry,) = refusals(approval)
    assert (entry.by, entry.via) == (f"telegram:{STRANGER}", "telegram")
    assert Button.objects.filter(used_at__isnull=False).count() == 0
    assert chat.press(ANNA, card, "Approve") == "Approved. The agent is told."


@pytest.mark.parametrize("lost", ["inactive", "group", "link"])
def test_rights_are_judged_at_the_press(chat, lost):
    approval = make_approval()
    card = chat.card(approval)
    approver = Approver.objects.get(telegram_user=ANNA)
    if lost == "inactive":
        approver.user.is_active = False
        approver.user.save()
    elif lost == "group":
        approver.user.groups.clear()
    else:
        approver.delete()
    assert "Nothing was changed" in (told := chat.press(ANNA, card, "Approve")) or "/link" in told
    assert fresh(approval).status == "pending" and refusals(approval).count() == 1


def test_who_may_only_look_cannot_decide(chat):
    link("vera", STRANGER, group="Viewer")
    approval = make_approval()
    assert chat.press(STRANGER, chat.card(approval), "Approve") == (
        "Your account may not decide requests. Nothing was changed."
    )
    assert fresh(approval).status == "pending"


@pytest.mark.parametrize("button", ["Approve", "Reject"])
def test_nobody_decides_what_they_requested_themselves_and_others_still_can(chat, settings, button):
    approval = make_approval(requested_by="anna")
    card = chat.card(approval)
    assert "Nobody decides what they requested" in chat.press(ANNA, card, button)
    assert fresh(approval).status == "pending" and refusals(approval).count() == 1
    chat.press(BORIS, card, "Approve")
    assert (fresh(approval).status, approval.decided_by) == ("approved", "boris")


@pytest.mark.parametrize(
    "sender", [{"id": 1087968824, "is_bot": True, "first_name": "Group"}, {"id": -100, "first_name": "?"}]
)
def test_bots_and_anonymous_administrators_cannot_press(chat, sender):
    approval = make_approval()
    card = chat.card(approval)
    updates.handle(chat.forge(0, card, tokens(card)["Approve"], **{"from": sender}), chat.api)
    assert fresh(approval).status == "pending" and refusals(approval).count() == 1


# --- what is no press


def test_a_good_token_in_another_chat_or_below_another_message_is_worth_nothing(chat):
    first, second = make_approval(), make_approval(title="Bash: ls")
    one, two = chat.card(first), chat.card(second)
    good = tokens(one)["Approve"]
    for place in (two, one | {"chat_id": -1009999}, one | {"message_id": 77_777}, one | {"chat_id": ANNA}):
        updates.handle(chat.forge(ANNA, place, good), chat.api)
    chat.work()
    assert {fresh(first).status, fresh(second).status} == {"pending"}
    assert refusals().count() == 4


@pytest.mark.parametrize("data", ["", "approve", "x" * 32, "ü" * 30, "\ud800", "1" * 5000])
def test_made_up_data_is_worth_nothing(chat, data):
    approval = make_approval()
    card = chat.card(approval)
    updates.handle(chat.forge(ANNA, card, data), chat.api)
    assert fresh(approval).status == "pending" and refusals().count() == 1


@pytest.mark.parametrize("broken", [{"message": None}, {"message": {"message_id": 1}}, {"from": {}}, {"data": None}])
def test_a_press_without_the_parts_it_should_have_is_worth_nothing(chat, broken):
    approval = make_approval()
    card = chat.card(approval)
    updates.handle(chat.forge(ANNA, card, tokens(card)["Approve"], **broken), chat.api)
    assert fresh(approval).status == "pending"


def test_of_thousands_of_forged_and_replayed_presses_none_counts(chat):
    done, open_one = make_approval(), make_approval(title="Bash: ls")
    card, other = chat.card(done), chat.card(open_one)
    good, theirs = tokens(card), tokens(other)
    chat.press(ANNA, card, "Approve")
    before = AuditEntry.objects.filter(won=True).count()
    offered = [
        *((ANNA, card, token) for token in good.values()),  # replays after the decision
        *((BORIS, other | {"message_id": 5_000 + number}, token) for number in range(50) for token in theirs.values()),
        *((STRANGER, other, token) for token in theirs.values()),
    ]
    for number in range(PRESSES):
        user, place, token = offered[number % (4 * len(offered)) % len(offered)]
        if number % 3 == 1:
            user, place, token = BORIS, other, f"{number:x}".zfill(32)
        updates.handle(chat.forge(user, place, token), chat.api, run_later=lambda task, api: None)
    assert fresh(open_one).status == "pending" and fresh(done).decided_by == "anna"
    assert AuditEntry.objects.filter(won=True).count() == before
    assert chat.press(BORIS, other, "Approve") == "Approved. The agent is told."


# --- once


def test_an_update_is_applied_once_by_its_exact_id_and_by_its_press(chat):
    approval = make_approval()
    card = chat.card(approval)
    query = chat.tap(ANNA, card, "Approve")
    chat.take_in()
    (update,) = [one for one in chat.handed_in if "callback_query" in one]
    updates.handle(update, chat.api)
    updates.handle(update | {"update_id": 5}, chat.api)  # ids may start anew at random
    assert AuditEntry.objects.filter(approval=approval).exclude(action="requested").count() == 1
    assert Update.objects.filter(callback_id=query).count() == 1


def test_one_tap_that_arrives_as_two_presses_decides_once_and_is_told_so(chat):
    approval = make_approval()
    card = chat.card(approval)
    chat.press(ANNA, card, "Approve")
    again = chat.telegram.resend_update(chat.handed_in[-1]["update_id"], new_id=True)
    chat.pump()
    (update,) = [one for one in chat.handed_in if one["update_id"] == again]
    told = chat.telegram.answer(update["callback_query"]["id"])["text"]
    assert told == "Already approved by anna in Telegram. Nothing was changed."
    assert AuditEntry.objects.filter(approval=approval, won=True).count() == 1


def test_an_update_whose_effect_fails_is_not_marked_as_applied(chat, monkeypatch):
    approval = make_approval()
    card = chat.card(approval)
    chat.tap(ANNA, card, "Approve")
    (update,) = chat.api.call_once("getUpdates")

    def broken(**_):
        raise RuntimeError("out of luck")

    with monkeypatch.context() as luck:
        luck.setattr("escalation.telegram.inbound.people.decide_approval", broken)
        with pytest.raises(RuntimeError):
            updates.handle(update, chat.api)
    assert fresh(approval).status == "pending" and not Update.objects.exists()
    updates.handle(update, chat.api)
    assert fresh(approval).status == "approved"


def test_a_failed_answer_never_keeps_the_card_from_being_edited(chat):
    approval = make_approval()
    card = chat.card(approval)
    chat.telegram.inject("error", method="answerCallbackQuery", status=400, description="query is too old")
    chat.tap(ANNA, card, "Approve")
    chat.pump()
    assert chat.now(card)["text"].startswith("✅ Approved by anna")
    assert fresh(approval).status == "approved"


def test_both_copies_of_a_card_whose_answer_was_lost_can_be_pressed_and_both_settle(chat):
    approval = make_approval()
    chat.telegram.inject("reset", method="sendMessage", after=True)
    chat.telegram.inject("error", count=40, method="editMessageReplyMarkup", status=500)  # the first clean-up fails
    card = chat.card(approval)
    first, second = chat.telegram.messages(GROUP, by_bot=True)
    assert card["message_id"] == second["message_id"] and tokens(first) == tokens(second)
    assert chat.press(ANNA, first, "Approve") == "Approved. The agent is told."
    chat.work()
    for copy in (first, second):
        assert "✅ Approved by anna" in chat.now(copy)["text"] and chat.now(copy)["buttons"] == []
    assert not Message.objects.filter(live=True).exists()


def test_a_press_that_is_quicker_than_our_own_notes_counts_and_the_card_settles(chat):
    approval = make_approval()
    card = chat.card(approval)
    query = chat.tap(ANNA, card, "Approve")
    (update,) = chat.api.call_once("getUpdates")
    # as if the message had been sent and nothing about it written down yet
    Message.objects.all().delete()
    Button.objects.update(message=None)
    Delivery.objects.update(status="waiting", sent_at=None)
    delivery = Delivery.objects.get()
    updates.handle(update, chat.api)
    cards._remember([delivery], kind="card", chat=GROUP, number=card["message_id"], text="<b>Run this command?</b>")
    chat.work()
    assert chat.telegram.answer(query)["text"] == "Approved. The agent is told."
    assert chat.now(card)["text"].startswith("✅ Approved by anna") and Message.objects.get().kind == "card"


# --- a card that was cut


def long_approval():
    command = "\n".join(f"echo {number} && true" for number in range(300))
    return make_approval(tool_input=json.dumps({"command": command}), session=uuid4())


def test_a_cut_card_can_be_approved_only_after_all_of_it_was_sent(chat):
    approval = long_approval()
    card = chat.card(approval)
    assert list(tokens(card)) == ["Show all", "Reject"]
    chat.press(ANNA, card, "Show all")
    *parts, decision = [one for one in chat.telegram.messages(GROUP, by_bot=True) if one["reply_to"]]
    everything = "\n".join(part["text"].split("\n", 1)[1] for part in parts)
    assert json.loads(approval.tool_input)["command"] == everything
    assert list(tokens(decision)) == ["Approve", "Reject", "Approve with a note…", "Approve for session"]
    chat.press(ANNA, decision, "Approve")
    assert fresh(approval).status == "approved"
    for message in (card, decision):
        assert chat.now(message)["text"].startswith("✅ Approved by anna") and chat.now(message)["buttons"] == []


def test_all_of_something_huge_is_a_document(chat):
    command = "echo 'x'\n" * 5000
    approval = make_approval(tool_input=json.dumps({"command": command}))
    chat.press(ANNA, chat.card(approval), "Show all")
    document, decision = [one for one in chat.telegram.messages(GROUP, by_bot=True) if one["reply_to"]]
    assert document["document"]["file_size"] > len(command) and "Approve" in tokens(decision)
    chat.telegram.assert_clean()


def test_show_all_can_be_asked_for_again_when_it_did_not_come(chat):
    approval = long_approval()
    card = chat.card(approval)
    chat.telegram.inject("error", count=50, method="sendMessage", status=500)
    chat.press(ANNA, card, "Show all")
    chat.telegram.clear_faults()
    Button.objects.filter(used_at__isnull=False).update(used_at=timezone.now() - timedelta(minutes=1))
    chat.press(ANNA, card, "Show all")
    assert "Approve" in tokens(chat.last())


def test_show_all_pressed_twice_in_a_moment_shows_it_once(chat):
    card = chat.card(long_approval())
    chat.press(ANNA, card, "Show all")
    shown = len(chat.telegram.messages(GROUP, by_bot=True))
    chat.press(ANNA, card, "Show all")
    assert len(chat.telegram.messages(GROUP, by_bot=True)) == shown


# --- lists, test card, leftovers


def test_a_line_of_a_list_shows_its_card(chat):
    for number in range(3):
        make_approval(title=f"Bash: ls {number}")
    chat.work()
    chat.say(ANNA, "/pending")
    listed = chat.last()
    assert list(tokens(listed)) == ["Show 1", "Show 2", "Show 3"]
    chat.press(ANNA, listed, "Show 2")
    shown = chat.last()
    assert shown["reply_to"] == listed["message_id"] and "Approve" in tokens(shown)
    chat.press(ANNA, shown, "Approve")
    assert Approval.objects.filter(status="approved").count() == 1
    assert "Approved by anna" in chat.now(listed)["text"]


def test_the_test_card_proves_that_presses_come_through(chat):
    from escalation.telegram import setup, status

    setup.post_test_card(chat.api)
    card = chat.last()
    chat.press(STRANGER, card, "It works")
    assert not status.is_tested()
    assert chat.press(ANNA, card, "It works") == "It works: Orchestra heard you."
    assert status.is_tested() and chat.now(card)["buttons"] == [] and "Tapped by anna" in chat.now(card)["text"]


def test_a_card_left_with_dead_buttons_is_drawn_anew_and_works_at_the_next_tap(chat):
    approval = make_approval()
    card = chat.card(approval)
    Button.objects.update(used_at=timezone.now())
    assert "tap again" in chat.press(ANNA, card, "Approve")
    assert fresh(approval).status == "pending"
    assert chat.press(ANNA, chat.now(card), "Approve") == "Approved. The agent is told."
