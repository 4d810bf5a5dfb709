"""Commands in the chat, and everything else people and Telegram put there."""

from dataclasses import replace
from datetime import timedelta

import pytest

from approvals.models import AuditEntry
from escalation import commands
from escalation.models import Approver, Update
from escalation.telegram.inbound import updates
from escalation.telegram.inbound.bot_commands import parse_duration
from tests.escalation.chat import link
from tests.escalation.conftest import ANNA, BORIS, GROUP, STRANGER
from tests.factories import make_approval, make_user


def test_link_tells_orchestra_who_somebody_is_once(chat):
    code = commands.create_link_code(make_user("carla", group="Approver"))
    chat.say(STRANGER, f"/link {code}", chat=STRANGER)
    assert chat.last()["text"] == "✅ You are carla. You may decide requests."
    assert Approver.objects.get(telegram_user=STRANGER).user.username == "carla"
    approval = make_approval()
    chat.press(STRANGER, chat.card(approval), "Approve")
    approval.refresh_from_db()
    assert approval.decided_by == "carla"
    chat.say(BORIS, f"/link {code}", chat=BORIS)
    assert "wrong, used or too old" in chat.last()["text"]
    assert Approver.objects.get(telegram_user=BORIS).user.username == "boris"
    assert list(AuditEntry.objects.filter(action="linked").values_list("won", "by")) == [
        (True, "carla"), (False, "boris"),
    ]  # fmt: skip


def test_a_code_is_wrong_after_its_time(chat):
    code = commands.create_link_code(make_user("carla"))
    Approver.objects.filter(user__username="carla").update(code_expires_at="2020-01-01T00:00Z")
    chat.say(STRANGER, f"/link {code}", chat=STRANGER)
    assert not Approver.objects.filter(telegram_user=STRANGER).exists()


def test_pending_lists_what_waits_the_most_urgent_first(chat):
    chat.say(ANNA, "/pending")
    assert chat.last()["text"] == "Nothing waits for a decision."
    make_approval(title="Bash: ls one")
    make_approval(title="Bash: ls two")
    chat.work()
    chat.say(ANNA, "/pending")
    assert chat.last()["text"].startswith("2 requests wait for a decision\n1. 🟡 Bash: ls one · ")


def test_status_says_how_things_are(chat):
    make_approval()
    chat.work()
    chat.say(ANNA, "/status")
    assert chat.last()["text"].startswith(
        "1 request waits for a decision.\nYou are anna and may answer.\n🔔 Sound is on"
    )


def test_mute_silences_the_chat_once_all_have_muted(chat):
    for user in (ANNA, BORIS):
        chat.say(user, "/mute 1h")
    assert chat.last()["text"].startswith("🔕 No reminders and no sound for you until ")
    chat.card(make_approval())
    (sent,) = [call for call in chat.telegram.calls("sendMessage") if "reply_parameters" not in call.params]
    assert sent.params["disable_notification"] is True
    chat.say(ANNA, "/mute off")
    chat.card(make_approval(title="Bash: ls"))
    assert "disable_notification" not in chat.telegram.calls("sendMessage")[-1].params


@pytest.mark.parametrize(
    ("text", "span"),
    [
        ("30m", timedelta(minutes=30)), ("1h", timedelta(hours=1)), ("1h30m", timedelta(hours=1, minutes=30)),
        ("2 h", timedelta(hours=2)), ("1d", timedelta(days=1)), ("2d", None), ("", None), ("0m", None), ("soon", None),
    ],
)  # fmt: skip
def test_how_long_to_mute(text, span):
    assert parse_duration(text) == span


@pytest.mark.parametrize("order", ["/pending", "/status", "/mute 1h"])
def test_a_stranger_learns_nothing(chat, order):
    make_approval(title="Bash: secret plan")
    chat.work()
    chat.say(STRANGER, order, chat=STRANGER)
    assert "secret plan" not in chat.last()["text"] and "/link CODE" in chat.last()["text"]
    assert AuditEntry.objects.filter(action="refused", by=f"telegram:{STRANGER}").count() == 1


def test_somebody_without_the_right_to_read_learns_nothing(chat):
    link("axel", STRANGER, group="Asker")
    make_approval(title="Bash: secret plan")
    chat.work()
    chat.say(STRANGER, "/pending", chat=STRANGER)
    assert chat.last()["text"] == "Your account may not see requests."


def test_help_start_and_nonsense(chat):
    for order in ("/help", "/start"):
        chat.say(STRANGER, order, chat=STRANGER)
        assert "/pending" in chat.last()["text"]
    chat.say(STRANGER, "/frobnicate", chat=STRANGER)
    assert "/help" in chat.last()["text"]
    chat.telegram.assert_clean()


def test_a_foreign_group_gets_no_word(chat):
    chat.telegram.add_chat(-1009, "Elsewhere")
    before = len(chat.telegram.messages(by_bot=True))
    for order in ("/pending", "/help", "/link x"):
        chat.say(ANNA, order, chat=-1009)
    assert len(chat.telegram.messages(by_bot=True)) == before


def test_an_anonymous_administrator_is_told_to_show_themselves(chat):
    update = {
        "update_id": 5,
        "message": {
            "message_id": 3, "date": 1, "text": "/pending", "chat": {"id": GROUP, "type": "supergroup"},
            "from": {"id": 1087968824, "is_bot": True, "first_name": "Group"}, "sender_chat": {"id": GROUP},
        },
    }  # fmt: skip
    updates.handle(update, chat.api)
    assert "your own name" in chat.last()["text"]


def test_a_group_that_becomes_a_supergroup_is_followed(chat, settings):
    chat.telegram.add_chat(-500, "Ops")
    chat.api.settings = settings.TELEGRAM = replace(chat.api.settings, chat="-500")
    approval = make_approval()
    chat.card(approval)
    new = chat.telegram.migrate_chat(-500)
    chat.pump()
    assert chat.api.chat == new
    card = chat.card(make_approval(title="Bash: after"))
    assert card["chat_id"] == new
    assert chat.press(ANNA, card, "Approve") == "Approved. The agent is told."


@pytest.mark.parametrize(
    "update",
    [
        {"my_chat_member": {"chat": {"id": GROUP}, "new_chat_member": {"status": "member"}}},
        {"edited_message": {"message_id": 1, "text": "/mute 1h", "from": {"id": ANNA}, "chat": {"id": GROUP}}},
        {"message": {"message_id": 1, "chat": {"id": GROUP}, "new_chat_title": "x"}},
        {"message": {"message_id": 1, "from": {"id": ANNA}, "chat": {"id": GROUP}, "photo": []}},
        {"something_new": {}},
    ],
)
def test_what_means_nothing_is_noted_and_done_with(chat, update):
    updates.handle({"update_id": 5} | update, chat.api)
    assert Update.objects.filter(update_id=5, applied_at__isnull=False).exists()
