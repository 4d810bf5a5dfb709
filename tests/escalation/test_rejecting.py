"""A rejection waits a minute for its reason, never longer, and nothing runs meanwhile."""

from datetime import timedelta
from uuid import uuid4

import pytest
from django.utils import timezone

from approvals.commands import decide_approval
from approvals.models import Approval, AuditEntry
from escalation.models import Approver, Message
from escalation.telegram.inbound import rejections, updates
from tests.escalation.conftest import ANNA, BORIS, GROUP
from tests.factories import make_approval, make_user


def fresh(approval):
    approval.refresh_from_db()
    return approval


def labels(message):
    return [[button["text"] for button in row] for row in message["buttons"]]


def pass_time(seconds):
    """As if the rejections had begun earlier."""
    for message in Message.objects.filter(value__has_key="rejecting"):
        kept = message.value["rejecting"]
        until = timezone.datetime.fromisoformat(kept["until"]) - timedelta(seconds=seconds)
        message.value["rejecting"] = kept | {"until": until.isoformat()}
        message.save()


@pytest.fixture
def rejecting(chat):
    """Anna has pressed Reject: the approval, its card, and the message that asks her why."""
    approval = make_approval(session=uuid4())
    card = chat.card(approval)
    chat.press(ANNA, card, "Reject")
    return approval, card, chat.last()


def test_reject_asks_why_and_the_reply_is_the_reason_to_the_letter(chat, rejecting):
    approval, card, prompt = rejecting
    assert fresh(approval).status == "pending"
    assert prompt["markup"]["force_reply"] and "anna, why?" in prompt["text"]
    assert prompt["reply_to"] == card["message_id"]
    reason = "Too risky: use  staging <first>\n— then ask again 🙏"
    chat.say(ANNA, reason, to=prompt)
    assert (fresh(approval).status, approval.reason, approval.decided_by) == ("rejected", reason, "anna")
    assert chat.now(card)["text"].startswith("⛔ Rejected by anna in Telegram")
    assert "Reason: Too risky: use  staging <first> ⏎ — then ask again 🙏" in chat.now(card)["text"]
    assert chat.now(prompt)["deleted"]
    chat.telegram.assert_clean()


def test_the_card_says_that_somebody_rejects_and_offers_no_approval(chat, rejecting):
    _, card, _ = rejecting
    shown = chat.now(card)
    assert shown["text"].startswith("✋ anna rejects this.") and "rm -r build" in shown["text"]
    assert labels(shown) == [["Reject now", "Keep open"]]


def test_reject_now_rejects_without_a_reason(chat, rejecting):
    approval, card, prompt = rejecting
    assert chat.press(ANNA, chat.now(card), "Reject now") == "Rejected. The agent is told."
    assert (fresh(approval).status, approval.reason) == ("rejected", "")
    assert chat.now(prompt)["deleted"]


def test_without_a_reply_it_counts_after_a_minute(chat, rejecting):
    approval, card, prompt = rejecting
    pass_time(58)
    rejections.close_due_rejections()
    assert fresh(approval).status == "pending"
    pass_time(3)
    rejections.close_due_rejections()
    assert (fresh(approval).status, approval.decided_by, approval.decided_via) == ("rejected", "anna", "telegram")
    chat.work()
    assert chat.now(card)["text"].startswith("⛔ Rejected by anna") and chat.now(prompt)["deleted"]
    chat.say(ANNA, "too late", to=prompt)
    assert fresh(approval).reason == ""


def test_the_time_is_up_only_for_those_who_still_may(chat, rejecting):
    approval, card, _ = rejecting
    Approver.objects.get(telegram_user=ANNA).user.groups.clear()
    pass_time(61)
    for task in rejections.close_due_rejections():
        task(chat.api)
    assert fresh(approval).status == "pending"
    assert labels(chat.now(card))[0] == ["Approve", "Reject"]
    assert AuditEntry.objects.filter(approval=approval, action="refused").count() == 1


def test_a_rejection_does_not_count_in_the_name_of_an_account_that_is_linked_no_more(chat, rejecting):
    approval, _, _ = rejecting
    Approver.objects.filter(telegram_user=ANNA).update(user=make_user("carla", group="Approver"))
    pass_time(61)
    rejections.close_due_rejections()
    assert fresh(approval).status == "pending"


def test_meanwhile_nobody_approves_in_telegram_with_an_older_or_another_card(chat):
    approval = make_approval()
    card = chat.card(approval)
    late = chat.tap(BORIS, card, "Approve")  # on its way while anna rejects
    chat.telegram.reorder_updates()
    chat.tap(ANNA, card, "Reject")
    chat.telegram.reorder_updates()
    chat.pump()
    assert fresh(approval).status == "pending"
    assert chat.telegram.answer(late)["text"]
    chat.say(BORIS, "/pending")
    chat.press(BORIS, chat.last(), "Show 1")
    assert chat.press(BORIS, chat.last(), "Approve") == "Not recorded: anna is rejecting this just now."
    assert fresh(approval).status == "pending"


def test_another_door_may_be_first(chat, rejecting):
    approval, card, prompt = rejecting
    decide_approval(approval_id=approval.pk, decision="approved", by="carla", via="admin")
    chat.work()
    assert chat.now(card)["text"].startswith("✅ Approved by carla in the admin") and chat.now(prompt)["deleted"]
    pass_time(61)
    assert rejections.close_due_rejections() == []
    assert fresh(approval).status == "approved"


def test_only_who_rejects_can_take_it_back_and_then_all_is_as_before(chat, rejecting):
    approval, card, prompt = rejecting
    assert chat.press(BORIS, chat.now(card), "Keep open") == "Only anna can take this back."
    assert chat.press(ANNA, chat.now(card), "Keep open") == "Open again."
    assert chat.now(prompt)["deleted"] and labels(chat.now(card))[0] == ["Approve", "Reject"]
    pass_time(61)
    assert rejections.close_due_rejections() == [] and fresh(approval).status == "pending"
    chat.press(BORIS, chat.now(card), "Approve")
    assert fresh(approval).status == "approved"


def test_a_late_reply_to_what_was_taken_back_rejects_nothing(chat, rejecting):
    approval, card, prompt = rejecting
    chat.press(ANNA, chat.now(card), "Keep open")
    said = {"message_id": 900, "date": 1, "text": "no!", "from": {"id": ANNA, "first_name": "anna"}}
    below = {"reply_to_message": {"message_id": prompt["message_id"], "from": {"id": 1, "is_bot": True}}}
    update = {"update_id": 5, "message": said | below | {"chat": {"id": GROUP, "type": "supergroup"}}}
    updates.handle(update, chat.api)
    assert fresh(approval).status == "pending" and "not asked any more" in chat.last()["text"]


def test_somebody_else_may_press_reject_now(chat, rejecting):
    approval, card, _ = rejecting
    chat.press(BORIS, chat.now(card), "Reject now")
    assert (fresh(approval).status, approval.decided_by) == ("rejected", "boris")


def test_only_the_one_who_was_asked_gives_the_reason(chat, rejecting):
    approval, _, prompt = rejecting
    chat.say(BORIS, "because I say so", to=prompt)
    assert fresh(approval).status == "pending"
    assert chat.last()["text"] == "Nothing was recorded: somebody else is asked this."


def test_a_reply_that_is_quicker_than_our_own_notes_counts(chat, rejecting):
    approval, _, prompt = rejecting
    Message.objects.filter(kind="prompt").delete()  # not written down yet
    chat.say(BORIS, "me first", to=prompt)
    assert fresh(approval).status == "pending"
    chat.say(ANNA, "too risky", to=prompt)
    assert (fresh(approval).status, approval.reason) == ("rejected", "too risky")


def test_a_reply_to_the_card_while_one_rejects_is_the_reason_and_others_may_talk(chat, rejecting):
    approval, card, _ = rejecting
    before = len(chat.telegram.messages(by_bot=True))
    chat.say(BORIS, "really?", to=card)
    assert fresh(approval).status == "pending" and len(chat.telegram.messages(by_bot=True)) == before
    chat.say(ANNA, "yes, really", to=card)
    assert fresh(approval).reason == "yes, really"


def test_near_the_deadline_there_is_no_time_to_wait(chat):
    approval = make_approval(expires_at=timezone.now() + timedelta(seconds=40))
    assert chat.press(ANNA, chat.card(approval), "Reject") == "Rejected. The agent is told."
    assert fresh(approval).status == "rejected"


def test_a_rejection_survives_a_prompt_that_could_not_be_sent_and_the_death_of_the_process(chat):
    approval = make_approval()
    card = chat.card(approval)
    chat.telegram.outage("reset")
    query = chat.telegram.press(ANNA, card["chat_id"], card["message_id"], "Reject")
    chat.telegram.outage(None)
    chat.telegram.inject("error", count=8, method="sendMessage", status=500)
    chat.telegram.inject("error", count=8, method="editMessageText", status=500)
    chat.take_in()
    chat.telegram.clear_faults()
    assert chat.telegram.answer(query)["text"].startswith("Why?")
    pass_time(61)
    rejections.close_due_rejections()
    assert fresh(approval).status == "rejected"
    assert Approval.objects.filter(status="pending").count() == 0
