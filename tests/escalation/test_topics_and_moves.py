"""A forum topic of one's own, and a group that becomes a supergroup: cards, buttons and replies go along."""

import json
from dataclasses import replace
from typing import Any

import pytest

from approvals.commands import decide_approval
from approvals.models import AuditEntry
from escalation.checks import check_settings
from escalation.models import Button, Delivery, Message
from escalation.outbox import resend_after_chat_move
from escalation.telegram import status
from escalation.telegram.api.client import BotApi
from escalation.telegram.inbound import updates
from escalation.telegram.messages.channel import Telegram
from escalation.telegram.sender import Sender
from orchestra.db import leases
from tests.escalation.chat import Chat
from tests.escalation.conftest import ANNA, BORIS, GROUP
from tests.escalation.notices import choice
from tests.escalation.test_doors import found
from tests.factories import make_approval

S = Delivery.Status


def reconfigured(chat: Chat, settings: Any, /, **changes: Any) -> Chat:
    settings.TELEGRAM = replace(settings.TELEGRAM, **changes)
    chat.api.settings = settings.TELEGRAM
    return chat


@pytest.fixture
def topic(chat: Chat, settings: Any) -> int:
    """A forum with a topic for cards, which the bot itself has made, and one for talk."""
    number = chat.telegram.add_topic(GROUP, "Approvals")
    reconfigured(chat, settings, topic=str(number))
    return number


def fresh(approval: Any) -> Any:
    approval.refresh_from_db()
    return approval


def ours(chat: Chat) -> list[dict]:
    return [one for one in chat.telegram.messages(by_bot=True) if one["text"]]


# --- topics


def test_everything_goes_into_the_topic_and_buttons_work_there(chat, topic):
    first, second, third = (make_approval() for _ in range(3))
    card = chat.card(first)
    assert chat.press(ANNA, card, "Approve") == "Approved. The agent is told."
    other = chat.card(second)
    chat.press(ANNA, other, "Reject")
    prompt = chat.last()
    chat.say(ANNA, "not today", to=prompt)
    assert (fresh(first).status, fresh(second).status, second.reason) == ("approved", "rejected", "not today")
    long = make_approval(tool_input=json.dumps({"command": "\n".join(f"echo {n}" for n in range(2000))}))
    chat.press(ANNA, chat.card(long), "Show all")
    chat.press(ANNA, chat.last(), "Approve")
    assert fresh(long).status == "approved"
    assert {message["topic"] for message in ours(chat)} == {topic}
    assert third.is_open
    chat.telegram.assert_clean()


def test_commands_are_answered_in_the_topic_where_they_were_written(chat, topic):
    talk = chat.telegram.add_topic(GROUP, "Talk", by=BORIS)
    for where in (0, talk, topic):
        chat.telegram.send_text(ANNA, "/status", GROUP, topic=where)
        chat.pump()
        assert chat.last()["topic"] == where
    make_approval()
    chat.work()
    chat.telegram.send_text(ANNA, "/pending", GROUP, topic=talk)
    chat.pump()
    assert chat.last()["topic"] == topic  # cards and lists have their place
    chat.telegram.assert_clean()


def test_talk_in_the_topic_is_no_reply_though_the_bot_made_the_topic(chat, topic):
    chat.telegram.privacy_mode = False
    approval = make_approval()
    card = chat.card(approval)
    chat.press(ANNA, card, "Reject")
    before = len(ours(chat))
    chat.telegram.send_text(ANNA, "what shall we have for lunch?", GROUP, topic=topic)
    chat.pump()
    assert fresh(approval).status == "pending" and len(ours(chat)) == before


def test_general_has_no_number_and_a_topic_wants_a_test_of_its_own(chat, settings):
    chat.telegram.add_topic(GROUP, by=BORIS)
    status.record_test(by="anna")
    reconfigured(chat, settings, topic="1")
    assert status.is_tested()
    chat.card(make_approval())
    assert "message_thread_id" not in chat.telegram.calls("sendMessage")[-1].params
    reconfigured(chat, settings, topic="7")
    assert not status.is_tested()
    chat.telegram.assert_clean()


@pytest.mark.parametrize(("value", "codes"), [("", []), ("7", []), ("0", ["E007"]), ("-7", ["E007"]), ("x", ["E007"])])
def test_a_topic_is_a_positive_number(configured, settings, value, codes):
    settings.TELEGRAM = replace(configured, topic=value)
    assert [message.id for message in check_settings()] == [f"escalation.{code}" for code in codes]


@pytest.mark.parametrize("how", ["closed", "deleted"])
def test_a_topic_that_is_shut_or_gone_keeps_requests_and_is_named_by_the_check(chat, topic, how):
    chat.api.chat_state.clock = lambda: 0.0
    if how == "closed":
        chat.telegram.close_topic(GROUP, topic, by=BORIS)
    else:
        chat.telegram.delete_topic(GROUP, topic)
    approval = make_approval()
    chat.work()
    assert Delivery.objects.get().status == S.WAITING
    cure = {"closed": "Reopen the topic", "deleted": "set TELEGRAM_TOPIC_ID to one that exists"}[how]
    assert cure in chat.api.off
    assert cure in found(BotApi(chat.api.settings))[False]
    chat.telegram.send_text(ANNA, "/status", GROUP)  # General still works, and says so
    chat.take_in()
    assert "Telegram has trouble" in chat.last()["text"] and chat.last()["topic"] == 0
    if how == "closed":
        chat.telegram.reopen_topic(GROUP, topic, by=BORIS)
        chat.api.chat_state.request_probe()  # as the receiver has it, which hears of it
        chat.work()
        assert chat.press(ANNA, chat.card(approval), "Approve") == "Approved. The agent is told."


def test_topics_that_were_seen_are_named_for_the_settings(chat, settings):
    number = chat.telegram.add_topic(GROUP, by=BORIS)
    chat.telegram.send_text(BORIS, "/start", GROUP, topic=number)
    reconfigured(chat, settings, chat="")
    told = found(BotApi(settings.TELEGRAM))[None]
    assert f"TELEGRAM_CHAT_ID={GROUP}" in told and f"TELEGRAM_TOPIC_ID={number}" in told


# --- a group becomes a supergroup


@pytest.fixture
def moving(chat: Chat, settings: Any) -> Chat:
    """A small group with one request that was told there."""
    chat.telegram.add_chat(-500, "Ops")
    reconfigured(chat, settings, chat="-500")

    def moved(old: int, new: int) -> None:
        leases.merge_state(status.LEASE, moved={str(old): new})
        resend_after_chat_move(old)

    chat.api.on_moved = moved
    return chat


@pytest.mark.parametrize("news", ["migrate_to_chat_id", "migrate_from_chat_id", "a refused send"])
def test_what_is_open_is_told_in_the_new_chat_with_buttons_that_work(moving, news, settings):
    chat = moving
    approval = make_approval(title="Bash: rm -r build")
    old = chat.card(approval)
    closed = make_approval(title="Bash: ls", tool_input='{"command": "ls"}')
    chat.card(closed)
    decide_approval(approval_id=closed.pk, decision="approved", by="anna", via="admin")
    chat.work()
    new = chat.telegram.migrate_chat(-500)
    if news == "a refused send":
        chat.telegram._updates.clear()
        make_approval(title="Bash: make", tool_input='{"command": "make"}')
    else:
        kept = [one for one in chat.telegram._updates if news in one.payload]
        chat.telegram._updates.clear()
        chat.telegram._updates.extend(kept)
    chat.pump()
    chat.work()
    fresh_cards = [one for one in chat.telegram.messages(new, by_bot=True) if "rm -r build" in one["text"]]
    assert len(fresh_cards) == 1 and not [m for m in chat.telegram.messages(new, by_bot=True) if "ls" in m["text"]]
    assert chat.press(BORIS, fresh_cards[0], "Approve") == "Approved. The agent is told."
    assert (fresh(approval).status, approval.decided_by) == ("approved", "boris")
    chat.work()
    assert chat.now(fresh_cards[0])["buttons"] == []
    assert len([m for m in chat.telegram.messages(new, by_bot=True) if "rm -r build" in m["text"]]) == 1
    assert Delivery.objects.get(approval=approval).status == S.SETTLED
    assert not Message.objects.filter(live=True, delivery__approval=approval).exists()
    assert f"set TELEGRAM_CHAT_ID={new}" in status.find_advice()
    assert chat.press(ANNA, old, "Approve") == "Already approved by boris in Telegram. Nothing was changed."
    chat.telegram.assert_clean()


def test_a_press_on_a_card_left_behind_is_judged_as_ever(moving):
    chat = moving
    first, second = make_approval(), make_approval()
    one, two = chat.card(first), chat.card(second)
    chat.telegram.migrate_chat(-500)
    chat.pump()
    assert chat.press(ANNA, one, "Approve") == "Approved. The agent is told."
    assert "/link CODE" in chat.press(66, two, "Approve")
    assert fresh(second).status == "pending"
    query = chat.forge(66, two, Button.objects.filter(approval=second).first().token_sha256)
    updates.handle(query, chat.api)
    assert fresh(second).status == "pending"
    assert AuditEntry.objects.filter(approval=second, action="refused").exists()
    chat.press(ANNA, two, "Reject")  # asks why, in the chat where people are now
    prompt = chat.last()
    chat.say(ANNA, "not here", to=prompt)
    assert (fresh(second).status, second.reason) == ("rejected", "not here")


def test_a_rejection_that_waits_for_its_reason_survives_the_move(moving):
    from django.db.models.functions import Now

    from escalation.telegram.inbound import rejections
    from escalation.telegram.messages.card_states import Rejection

    chat = moving
    approval = make_approval()
    card = chat.card(approval)
    chat.press(ANNA, card, "Reject")
    chat.telegram.migrate_chat(-500)
    chat.pump()
    row = next(one for one in Message.objects.filter(kind="card") if Rejection.read_from(one))
    row.value["rejecting"]["until"] = "2020-01-01T00:00:00+00:00"
    row.save()
    assert Delivery.objects.filter(next_try_at__lte=Now()).exists()
    rejections.close_due_rejections()
    assert fresh(approval).status == "rejected"


def test_a_question_can_be_answered_in_the_new_chat(moving):
    chat = moving
    tool_input = json.dumps({"questions": [choice("Which?", "One", "Two", several=True)]})
    approval = make_approval(kind="question", tool_name="AskUserQuestion", tool_input=tool_input)
    chat.press(ANNA, chat.card(approval), "1 · One")
    new = chat.telegram.migrate_chat(-500)
    chat.pump()
    chat.work()
    card = chat.telegram.messages(new, by_bot=True)[-1]
    chat.press(ANNA, card, "2 · Two")
    chat.say(ANNA, "and three", to=chat.now(card))
    chat.press(ANNA, chat.now(card), "Send answers")
    assert json.loads(fresh(approval).answers) == {"Which?": "Two, and three"}


def test_the_service_remembers_the_move_and_tells_the_operator(chat, settings):
    from escalation.telegram.service import LeaseTerm

    chat.telegram.add_chat(-500, "Ops")
    reconfigured(chat, settings, chat="-500")
    approval = make_approval()
    chat.card(approval)
    new = chat.telegram.migrate_chat(-500)
    term = LeaseTerm("x:1:y", 1, stopped=chat.api.stop)
    for _ in range(2):
        term.api.record_chat_move(-500, new)  # heard of twice
    assert Delivery.objects.get().status == S.WAITING
    assert (leases.read_state(status.LEASE)["chat"], leases.read_state(status.LEASE)["moved"]) == (new, {"-500": new})
    told = status.read_status()
    assert told["chat"] == str(new) and f"TELEGRAM_CHAT_ID={new}" in told["advice"]
    assert f"set TELEGRAM_CHAT_ID={new}" in found(BotApi(settings.TELEGRAM, moved={-500: new}))[False]
    assert f"set TELEGRAM_CHAT_ID={new}" in found(BotApi(settings.TELEGRAM))[False]  # seen by the check itself
    Sender(term.api, Telegram(term.api), may_continue=lambda: True).work()
    assert chat.telegram.messages(new, by_bot=True)[-1]["buttons"]
    settings.TELEGRAM = replace(settings.TELEGRAM, chat=str(new))
    assert status.find_advice() == ""


def test_somebody_elses_group_that_moves_is_nothing_to_us(chat):
    chat.telegram.add_chat(-700)
    chat.telegram.migrate_chat(-700)
    chat.pump()
    assert chat.api.moved == {} and chat.api.chat == GROUP
