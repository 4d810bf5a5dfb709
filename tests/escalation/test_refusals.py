"""What Telegram refuses, known to us or not: no request is dropped, nothing is green, and it goes on when it can."""

import pytest
from django.core.management import CommandError, call_command
from django.db.models.functions import Now
from django.test import Client

from approvals.commands import decide_approval
from escalation import outbox, policy, queries
from escalation.models import Delivery
from escalation.telegram import status
from escalation.telegram.api import chat_state
from escalation.telegram.api.client import BotApi
from escalation.telegram.api.error_mapping import GENERAL_CURE, cure_for
from orchestra.db import leases
from tests.escalation.chat import Chat
from tests.escalation.conftest import ANNA, GROUP
from tests.escalation.test_doors import found, healthy
from tests.factories import make_approval

S = Delivery.Status
UNKNOWN = "Bad Request: SOMETHING_NEW_FORBIDS_IT_417"
CHANNEL_REFUSALS = [
    "Bad Request: TOPIC_CLOSED", "Bad Request: TOPIC_DELETED", "Bad Request: message thread not found",
    "Bad Request: CHAT_WRITE_FORBIDDEN", "Bad Request: not enough rights to send text messages to the chat",
    "Bad Request: have no rights to send a message", "Bad Request: CHAT_RESTRICTED",
    "Bad Request: need administrator rights in the channel chat", "Bad Request: invalid topic identifier specified",
    "Bad Request: CHAT_SEND_PLAIN_FORBIDDEN", "Bad Request: TOPIC_SOMETHING_NEW",
]  # fmt: skip


class Clock:
    """Seconds that pass when a test says so."""

    now = 0.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock(chat: Chat) -> Clock:
    """Of the gate; and as if the process ran, with its news of the channel written down."""
    chat.api.chat_state.clock = clock = Clock()
    chat.api.on_off = lambda why: leases.merge_state(status.LEASE, off=why)
    healthy()
    status.record_test(by="anna")
    return clock


def refuse(chat: Chat, description: str, count: int = 1) -> None:
    chat.telegram.inject("error", count=count, status=400, description=description, method="sendMessage")


def only() -> Delivery:
    return Delivery.objects.get()


def health() -> dict:
    return Client().get("/health").json()


# --- the chat or the topic


@pytest.mark.parametrize("description", CHANNEL_REFUSALS)
def test_a_chat_that_takes_nothing_keeps_the_request_and_nothing_is_green(chat, clock, description, caplog):
    make_approval()
    refuse(chat, description)
    chat.work()
    assert only().status == S.WAITING and description[13:] in only().last_error
    assert status.read_health() == "down" and not status.is_healthy()
    told = status.read_status()
    assert description[13:] in told["problem"] and cure_for(description) in told["problem"]
    assert cure_for(description) != GENERAL_CURE or "SOMETHING_NEW" in description
    assert "telegram channel failed and is off" in caplog.text
    assert description[13:] in found(chat.api)[False]


@pytest.mark.django_db(transaction=True)
def test_health_and_figures_are_degraded_and_recover(chat, clock):
    assert health()["parts"]["telegram"] == "ok"
    make_approval()
    refuse(chat, "Bad Request: TOPIC_CLOSED")
    chat.work()
    page = Client().get("/metrics").content.decode()
    assert "telegram_service_health 0.0" in page and "escalation_outbox_depth 1.0" in page
    assert health()["parts"]["telegram"] == "down"
    clock.now += chat_state.FIRST_PROBE_S
    chat.work()
    assert only().status == S.SENT
    assert health()["parts"]["telegram"] == "ok"
    assert "telegram_service_health 1.0" in Client().get("/metrics").content.decode()


def test_it_looks_slowly_and_tells_what_is_open_when_the_chat_takes_messages_again(chat, clock):
    chat.telegram.set_rights(GROUP, can_send=False)
    approvals = [make_approval(title=f"Bash: job {number}") for number in range(3)]
    chat.work()
    assert len(chat.telegram.calls("sendMessage")) == 1  # one refusal is enough
    for _ in range(20):
        chat.work()  # nothing passes: no time
    assert len(chat.telegram.calls("sendMessage")) == 1
    for _ in range(60):
        clock.now += 60
        chat.work()
    assert 10 <= len(chat.telegram.calls("sendMessage")) <= 20  # in an hour
    chat.telegram.set_rights(GROUP, can_send=True)
    clock.now += chat_state.LONGEST_PROBE_INTERVAL_S
    chat.work()  # nobody wrote /start
    assert Delivery.objects.filter(status=S.SENT).count() == 3
    texts = [message["text"] for message in chat.telegram.messages(GROUP, by_bot=True)]
    assert len(texts) == len(approvals) and not [text for text in texts if "tries whether" in text]
    chat.telegram.assert_clean()


def test_cards_are_still_settled_where_only_new_messages_are_refused(chat, clock):
    first, second = make_approval(), make_approval()
    chat.work()
    refuse(chat, "Bad Request: CHAT_WRITE_FORBIDDEN")
    make_approval()
    chat.work()
    for approval in (first, second):
        decide_approval(approval_id=approval.pk, decision="approved", by="anna", via="admin")
    chat.work()
    assert chat.api.off and queries.count_stale_cards() == 0


def test_an_edit_that_the_chat_refuses_is_put_off_and_turns_nothing_off(chat, clock):
    approval = make_approval()
    chat.work()
    decide_approval(approval_id=approval.pk, decision="approved", by="anna", via="admin")
    chat.telegram.inject("error", status=400, description="Bad Request: TOPIC_CLOSED", method="editMessageText")
    chat.work()
    assert not chat.api.off and queries.count_stale_cards() == 1
    assert len(chat.telegram.calls("editMessageText")) == 1  # no storm
    Delivery.objects.update(next_try_at=Now())
    chat.work()
    assert queries.count_stale_cards() == 0


def test_a_restart_remembers_that_the_channel_is_off_and_looks_at_once(chat, clock, settings):
    from escalation.telegram.service import LeaseTerm

    chat.telegram.set_rights(GROUP, can_send=False)
    make_approval()
    chat.work()
    leases.merge_state(status.LEASE, setup=status.setup_fingerprint())
    again = LeaseTerm("x:1:y", 1, stopped=chat.api.stop)
    assert again.api.off and again.api.chat_state.is_probe_due
    leases.merge_state(status.LEASE, setup="another bot")
    assert not LeaseTerm("x:1:y", 1, stopped=chat.api.stop).api.off


@pytest.mark.parametrize(
    ("update", "looks"),
    [
        ({"my_chat_member": {"chat": {"id": GROUP}, "new_chat_member": {"status": "kicked"}}}, True),
        ({"my_chat_member": {"chat": {"id": GROUP}, "new_chat_member": {"status": "administrator"}}}, False),
        ({"my_chat_member": {"chat": {"id": -5}, "new_chat_member": {"status": "kicked"}}}, False),
        ({"message": {"chat": {"id": GROUP}, "forum_topic_closed": {}}}, True),
        ({"message": {"chat": {"id": GROUP}, "forum_topic_closed": {}, "message_thread_id": 7}}, False),
        ({"message": {"chat": {"id": GROUP}, "text": "/start"}}, False),
    ],
)
def test_signs_of_a_change_are_looked_into_at_once(chat, update, looks):
    from escalation.telegram.inbound.receiver import Receiver

    receiver = Receiver(chat.api, may_continue=lambda: True, on_chat_change=lambda: None)
    receiver._detect_chat_change(update)
    assert chat.api.chat_state.is_probe_due is looks


def test_a_bot_that_was_removed_is_noticed_before_anything_has_to_be_told(chat, clock):
    chat.telegram.kick_bot(GROUP)
    chat.api.chat_state.request_probe()
    chat.work()
    assert "kicked" in status.find_problem() and "Add the bot to the group again." in status.find_problem()


# --- one message


@pytest.mark.parametrize(
    "description",
    [
        "Bad Request: can't parse entities: x",
        "Bad Request: ENTITY_BOUNDS_INVALID",
        "Bad Request: text must be non-empty",
        UNKNOWN,
    ],
)
def test_a_message_whose_form_is_refused_is_sent_as_plain_text_with_its_buttons(chat, clock, description, caplog):
    approval = make_approval(title="Bash: rm -r build")
    refuse(chat, description)
    chat.work()
    (card,) = chat.telegram.messages(GROUP, by_bot=True)
    assert "rm -r build" in card["text"] and not card["entities"] and card["buttons"]
    assert "a bug" in caplog.text and only().status == S.SENT and status.is_healthy()
    assert chat.press(ANNA, card, "Approve") == "Approved. The agent is told."
    approval.refresh_from_db()
    assert approval.status == "approved"


def test_what_is_refused_in_this_form_too_is_told_in_the_fewest_words(chat, clock, settings):
    from dataclasses import replace

    settings.ORCHESTRA = replace(settings.ORCHESTRA, public_url="https://orchestra.example.org")
    approval = make_approval(title="Bash: rm -r build")
    refuse(chat, UNKNOWN, count=2)
    chat.work()
    (card,) = chat.telegram.messages(GROUP, by_bot=True)
    assert "Approval request “Bash: rm -r build”." in card["text"]
    assert f"https://orchestra.example.org/approvals/{approval.pk}" in card["text"] and card["buttons"] == []


def test_what_is_refused_in_every_form_is_tried_again_slowly_seen_and_blocks_nobody(chat, clock, caplog):
    bad = make_approval(title="Bash: bad")
    refuse(chat, UNKNOWN, count=3)
    chat.work()
    assert only().status == S.FAILED and "SOMETHING_NEW" in only().last_error
    assert "telegram delivery failed" in caplog.text
    told = status.read_status()
    assert (told["refused"], told["outbox_depth"], told["healthy"]) == (1, 1, False)
    assert "1 approval request" in told["problem"] and GENERAL_CURE in told["problem"]
    assert status.read_health() == "down"
    good = make_approval(title="Bash: good")
    chat.work()
    assert Delivery.objects.get(approval=good).status == S.SENT and not chat.api.off
    calls = len(chat.telegram.calls("sendMessage"))
    chat.work()
    assert len(chat.telegram.calls("sendMessage")) == calls  # not due
    Delivery.objects.filter(approval=bad).update(next_try_at=Now())
    chat.work()
    assert Delivery.objects.get(approval=bad).status == S.SENT and status.is_healthy()


def test_a_refused_request_that_closes_is_settled(chat, clock):
    approval = make_approval()
    refuse(chat, UNKNOWN, count=3)
    chat.work()
    decide_approval(approval_id=approval.pk, decision="approved", by="anna", via="admin")
    chat.work()
    assert only().status == S.SETTLED and status.is_healthy()


def test_refused_requests_are_tried_after_a_minute_and_then_every_few():
    waits = [[policy.refused_retry_delay_s(attempts) for _ in range(50)] for attempts in range(1, 10)]
    assert all(60 <= wait <= 300 for some in waits for wait in some)
    assert max(waits[0]) <= 75 and min(waits[-1]) >= 240


def test_many_refusals_in_a_row_have_the_chat_itself_tried(chat, clock):
    for number in range(chat_state.REFUSALS_BEFORE_PROBE):
        make_approval(title=f"Bash: job {number}")
    refuse(chat, UNKNOWN, count=3 * chat_state.REFUSALS_BEFORE_PROBE)
    chat.work()
    chat.work()
    assert not chat.api.off  # the trial passed: it was the messages
    refuse(chat, UNKNOWN, count=1000)
    Delivery.objects.update(next_try_at=Now())
    for _ in range(3):
        chat.work()
    assert "SOMETHING_NEW" in chat.api.off
    calls = len(chat.telegram.calls("sendMessage"))
    for _ in range(10):
        make_approval()
        chat.work()
    assert len(chat.telegram.calls("sendMessage")) == calls  # no storm
    chat.telegram.clear_faults()
    clock.now += chat_state.LONGEST_PROBE_INTERVAL_S
    Delivery.objects.update(next_try_at=Now())
    chat.work()
    assert not chat.api.off and not Delivery.objects.exclude(status=S.SENT).exists()


def test_a_list_with_a_bad_request_is_taken_apart(chat, clock):
    for number in range(3):
        outbox.open_delivery(make_approval(title=f"Bash: job {number}").pk)
    claimed = outbox.claim_due_deliveries(limit=3)
    refuse(chat, UNKNOWN, count=3)
    outbox.send_deliveries(chat.sender._channel, claimed, silent=False)
    assert Delivery.objects.filter(status=S.FAILED).count() == 3
    chat.work()
    assert Delivery.objects.filter(status=S.SENT).count() == 3


# --- the check


def mended() -> bool:
    try:
        call_command("telegram", "check")
    except CommandError:
        return False
    return True


def test_check_is_green_only_when_everything_is(chat, clock, settings, capsys):
    from dataclasses import replace

    assert mended(), capsys.readouterr().out
    good = settings.TELEGRAM
    for off, words in [
        ({"enabled": False}, "TELEGRAM_ENABLED is off"),
        ({"chat": "@ops"}, "TELEGRAM_CHAT_ID is not a number"),
        ({"topic": "77"}, "has no topics"),
    ]:
        settings.TELEGRAM = replace(good, **off)
        assert not mended() and words in capsys.readouterr().out
    settings.TELEGRAM = good
    chat.telegram.set_rights(GROUP, can_send=False)
    assert not mended() and "not enough rights" in capsys.readouterr().out
    chat.telegram.set_rights(GROUP, can_send=True)
    leases.merge_state(status.LEASE, off="Telegram is off: so it was.")
    assert not mended() and "so it was" in capsys.readouterr().out
    leases.merge_state(status.LEASE, off="")
    outbox.open_delivery(make_approval().pk)
    Delivery.objects.update(last_error="Failed to send Telegram message: 502")
    assert not mended() and "502" in capsys.readouterr().out
    Delivery.objects.update(last_error="", status=S.SENT)
    assert mended()
    leases.merge_state(status.LEASE, answered_at=1.0)
    assert not mended() and "has not answered" in capsys.readouterr().out
    assert chat.telegram.messages(GROUP, by_bot=True) == []  # it leaves nothing behind
    chat.telegram.assert_clean()


def test_check_names_a_webhook_that_leads_elsewhere(chat, clock, settings, capsys):
    from dataclasses import replace

    import requests

    settings.ORCHESTRA = replace(settings.ORCHESTRA, public_url="https://orchestra.example.org")
    settings.TELEGRAM = replace(settings.TELEGRAM, mode="webhook", webhook_secret="x")
    for url, good in [("http://127.0.0.1:1/x", False), ("https://orchestra.example.org/api/telegram/webhook", True)]:
        chat.telegram._next_set_webhook = 0
        requests.post(f"{chat.telegram.bot_url}/setWebhook", json={"url": url}, timeout=10)
        assert mended() is good
        assert ("leads to" in capsys.readouterr().out) is not good


def test_check_tells_the_process_that_the_chat_is_open_again(chat, clock, monkeypatch):
    from orchestra.db import notify

    rung: list[tuple[str, str]] = []
    monkeypatch.setattr(notify, "send", lambda topic, key: rung.append((topic, key)))
    leases.merge_state(status.LEASE, off="closed")
    list(found(BotApi(chat.api.settings)))
    assert rung == [(status.TOPIC, status.PROBE_CHAT)]


def test_no_refusal_is_without_a_cure():
    assert cure_for(UNKNOWN) == GENERAL_CURE
    assert "Reopen the topic" in cure_for("400 Bad Request: TOPIC_CLOSED")
    assert "is gone" in cure_for("Bad Request: message thread not found")
    for description in CHANNEL_REFUSALS:
        assert cure_for(description).endswith(".")
