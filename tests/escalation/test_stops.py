"""Stopping all agents in the chat, and what the chat is told of stops made elsewhere."""

import pytest

from approvals.models import AuditEntry, Stop
from approvals.stop import commands as stops
from escalation.telegram import status
from escalation.telegram.inbound import updates
from orchestra.db import leases
from tests.escalation.chat import link
from tests.escalation.conftest import ANNA, BORIS, GROUP, STRANGER
from tests.factories import make_approval


def texts(chat):
    return [message["text"] for message in chat.telegram.messages(GROUP, by_bot=True)]


def test_stop_counts_at_once_and_everybody_in_the_chat_is_told(chat):
    chat.say(ANNA, "/stop the disk is <full>")
    stop = Stop.objects.get()
    assert (stop.started_by, stop.started_via, stop.mode) == ("anna", "telegram", "hold")
    assert stop.reason == "the disk is <full>"
    assert any(text.startswith("🛑 Stopped.") for text in texts(chat))
    (news,) = [text for text in texts(chat) if text.startswith("🛑 All agents are stopped.")]
    assert "anna" in news and "the disk is <full>" in news and "each tool call waits" in news
    assert AuditEntry.objects.get(action="agents_stopped").address.startswith(f"telegram user {ANNA}")
    chat.telegram.assert_clean()


def test_stop_without_a_reason_and_with_the_bots_name_works_in_a_group(chat):
    name = chat.telegram.bot["username"]
    leases.merge_state(status.LEASE, bot=name)
    chat.say(ANNA, "/stop@other_bot")
    assert not stops.is_stopped()
    chat.say(ANNA, f"/stop@{name}")
    assert stops.is_stopped()
    chat.say(BORIS, "/stop me too")
    assert Stop.objects.get().started_by == "anna"
    assert "No reason was given." in chat.last()["text"]


def test_resume_asks_back_and_the_button_lifts_once(chat):
    chat.say(BORIS, "/resume")
    assert chat.last()["text"] == "The agents are not stopped. Nothing was changed."
    chat.say(ANNA, "/stop wait")
    chat.say(BORIS, "/resume")
    assert stops.is_stopped()
    card = chat.last()
    assert "Let agents go on where they stood?" in card["text"]
    assert chat.press(BORIS, card, "Let agents go on") == "Agents go on."
    stop = Stop.objects.get()
    assert (stop.lifted_by, stop.lifted_via) == ("boris", "telegram")
    assert chat.now(card)["buttons"] == []
    assert [text for text in texts(chat) if text.startswith("▶️ Agents go on") and "was lifted by boris" in text]
    chat.telegram.assert_clean()


def test_a_button_of_an_earlier_stop_lifts_no_later_one(chat):
    chat.say(ANNA, "/stop one")
    chat.say(ANNA, "/resume")
    card = chat.last()
    stops.lift_stop(by="carla", via="api")
    stops.stop_all(by="carla", via="api")
    assert "another one, by carla, is in force" in chat.press(ANNA, card, "Let agents go on")
    assert stops.is_stopped()


@pytest.mark.parametrize("order", ["/stop now", "/resume"])
def test_strangers_and_those_without_the_right_change_nothing(chat, order):
    chat.say(STRANGER, order, chat=STRANGER)
    assert "/link CODE" in chat.last()["text"]
    link("vera", STRANGER, group="Viewer")
    chat.say(STRANGER, order, chat=STRANGER)
    assert "Nothing was changed." in chat.last()["text"]
    assert not Stop.objects.exists()
    assert AuditEntry.objects.filter(action="refused").count() == 2


def test_an_operator_stops_and_does_not_lift(chat):
    link("olga", STRANGER, group="Operator")
    chat.say(STRANGER, "/stop", chat=STRANGER)
    assert stops.is_stopped()
    chat.say(STRANGER, "/resume", chat=STRANGER)
    assert "may not let agents go on" in chat.last()["text"]
    chat.say(ANNA, "/resume")
    assert "may not decide" in chat.press(STRANGER, chat.last(), "Let agents go on")
    assert stops.is_stopped()


def test_the_chat_is_told_once_of_a_stop_made_elsewhere_of_its_strengthening_and_of_its_lift(chat):
    stops.stop_all(by="carla", via="api", reason="wait")
    chat.work()
    chat.work()
    stops.stop_all(by="carla", via="api", mode="interrupt")
    chat.work()
    stops.lift_stop(by="carla", via="cli")
    chat.work()
    chat.work()
    told = texts(chat)
    assert [text.split("\n")[0] for text in told] == [
        "🛑 All agents are stopped.",
        "🛑 All agents are stopped.",
        "▶️ Agents go on where they stood.",
    ]
    assert "were interrupted" in told[1]


def test_what_telegram_did_not_take_is_told_later(chat):
    stops.stop_all(by="carla", via="api")
    chat.telegram.inject("error", method="sendMessage", status=400, description="Bad Request: not now")
    chat.work()
    assert texts(chat) == []
    chat.work()
    assert len([text for text in texts(chat) if text.startswith("🛑")]) == 1


def test_an_old_stop_is_no_news(chat):
    stops.stop_all(by="carla", via="api")
    stops.lift_stop(by="carla", via="api")
    Stop.objects.update(lifted_at="2020-01-01T00:00Z")
    chat.work()
    assert texts(chat) == []


def test_an_approval_during_a_stop_says_when_it_runs(chat):
    approval = make_approval()
    card = chat.card(approval)
    stops.stop_all(by="carla", via="api")
    told = chat.press(ANNA, card, "Approve")
    assert told == "Approved. The agent is told. All agents are stopped: it runs after the lift."
    chat.say(ANNA, "/status")
    assert chat.last()["text"].startswith("🛑 All agents are stopped.")


def test_the_same_update_stops_once(chat):
    chat.say(ANNA, "/stop one")
    stops.lift_stop(by="carla", via="api")
    updates.handle(chat.handed_in[-1], chat.api)
    assert not stops.is_stopped()
