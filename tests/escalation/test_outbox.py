"""The outbox: who is told, what becomes of what could not be told, and that messages stay true."""

import threading
from datetime import timedelta
from uuid import uuid4

import pytest
from django.db.models.functions import Now
from django.utils import timezone

from approvals.commands import cancel_approval, decide_approval, expire_due_approvals, extend_approval
from approvals.models import Approval
from approvals.reminders import remind_of_deadlines
from escalation import commands, outbox, policy, queries
from escalation.models import Approver, Button, Delivery, Message
from escalation.telegram.api.client import BotApi
from escalation.telegram.messages import cards
from escalation.telegram.messages.channel import Telegram
from escalation.telegram.sender import Sender
from tests.escalation.conftest import ANNA, GROUP
from tests.factories import make_approval, make_user

S = Delivery.Status
pytestmark = pytest.mark.django_db


class Spacious:
    """A pacer without limits but those that Telegram names itself."""

    def reserve(self, chat: int) -> float:
        return self.seconds_until_free(chat)

    def seconds_until_free(self, chat: int) -> float:
        return 0.0

    def pause_chat(self, chat: int, seconds: float) -> None:
        self.wait_for = lambda chat: seconds  # type: ignore[method-assign]

    def remaining(self, chat: int) -> int:
        return 1000


@pytest.fixture
def sender(configured) -> Sender:
    """A sender that works when it is told to, without a thread and without limits."""
    api = BotApi(configured, rate_limiter=Spacious())  # type: ignore[arg-type]
    return Sender(api, Telegram(api), may_continue=lambda: True)


def work(sender: Sender) -> None:
    sender._swept_at = 0.0
    sender.work()


def only(model=Delivery):
    return model.objects.get()


def decide(approval: Approval, verdict: str = "approved", via: str = "admin") -> None:
    decide_approval(approval_id=approval.pk, decision=verdict, by="anna", via=via)


def labels(card):
    return [key["text"] for row in card["buttons"] for key in row]


# --- telling


def test_an_open_approval_is_told_once_however_often_one_looks(sender, telegram):
    make_approval(title="Bash: rm -r build")
    for _ in range(3):
        work(sender)
    (card,) = telegram.messages(GROUP, by_bot=True)
    assert "rm -r build" in card["text"]
    assert only().status == S.SENT
    assert only(Message).message == card["message_id"]
    telegram.assert_clean()


def test_a_ring_is_enough(sender, telegram):
    work(sender)
    approval = make_approval()
    sender.wake(approval.pk)
    sender.work()
    assert only().status == S.SENT


def test_what_closed_before_anybody_was_told_is_never_told(sender, telegram):
    approval = make_approval()
    outbox.open_delivery(approval.pk)
    decide(approval)
    work(sender)
    assert telegram.messages(by_bot=True) == []
    assert only().status == S.SETTLED


def test_nothing_is_opened_for_a_closed_or_unknown_approval():
    closed = make_approval(status="rejected")
    assert not outbox.open_delivery(closed.pk)
    assert not outbox.open_delivery(uuid4())


def test_of_two_claimers_one_gets_the_row():
    outbox.open_delivery(make_approval().pk)
    first, second = (outbox.claim_due_deliveries(limit=5) for _ in range(2))
    assert (len(first), len(second)) == (1, 0)
    assert only().attempts == 1


def test_a_claim_whose_sender_died_comes_due_again(sender, telegram):
    outbox.open_delivery(make_approval().pk)
    outbox.claim_due_deliveries(limit=5, lease=timedelta(0))
    work(sender)
    assert only().status == S.SENT
    assert only().attempts == 2


def test_tokens_are_kept_hashed_and_bound_to_chat_and_message(sender, telegram):
    approval = make_approval()
    work(sender)
    (card,) = telegram.messages(GROUP, by_bot=True)
    tokens = [key["callback_data"] for row in card["buttons"] for key in row if "callback_data" in key]
    assert tokens
    for token in tokens:
        button = cards.find_button(token, chat=GROUP, message=card["message_id"])
        assert button is not None
        assert button.approval_id == approval.pk
        assert token not in str(Button.objects.values())
        assert cards.find_button(token, chat=GROUP, message=card["message_id"] + 1) is None
        assert cards.find_button(token, chat=ANNA, message=card["message_id"]) is None
    assert cards.find_button("forged", chat=GROUP, message=card["message_id"]) is None
    assert [cards.use_button(button), cards.use_button(button)] == [True, False]


# --- when it does not work


def test_a_failure_leaves_it_in_the_outbox_backed_off_and_it_is_told_later(sender, telegram):
    make_approval()
    telegram.outage("html")
    work(sender)
    delivery = only()
    assert (delivery.status, delivery.attempts) == (S.WAITING, 1)
    assert delivery.next_try_at > timezone.now() + timedelta(seconds=14)
    assert delivery.last_error.startswith("Failed to send Telegram message: ")
    work(sender)  # not due yet
    assert only().attempts == 1
    telegram.outage(None)
    Delivery.objects.update(next_try_at=Now())
    work(sender)
    assert only().status == S.SENT
    assert only().last_error == ""


def test_the_back_off_grows_from_16_to_60_seconds():
    waits = [[policy.retry_delay_s(attempts) for _ in range(50)] for attempts in range(1, 30)]
    assert all(16 <= wait <= 60 for some in waits for wait in some)
    assert max(waits[0]) < 21
    assert min(waits[-1]) > 45


def test_what_telegram_refuses_in_every_form_fails_with_the_reason(sender, telegram, caplog):
    make_approval()
    refused = "Bad Request: text must be non-empty"
    telegram.inject("error", status=400, description=refused, method="sendMessage", count=3)
    work(sender)
    assert only().status == S.FAILED
    assert "text must be non-empty" in only().last_error
    assert "telegram delivery failed, Telegram refuses it; it is tried again slowly" in caplog.text


def test_send_again_tells_it_once_more_and_only_if_it_is_open(sender, telegram):
    failed, closed = make_approval(), make_approval()
    for approval in (failed, closed):
        outbox.open_delivery(approval.pk)
    Delivery.objects.update(status=S.FAILED)
    decide(closed)
    assert outbox.resend_deliveries(list(Delivery.objects.values_list("pk", flat=True))) == 1
    work(sender)
    assert Delivery.objects.get(approval=failed).status == S.SENT
    assert len(telegram.messages(by_bot=True)) == 1


@pytest.mark.parametrize(
    ("description", "left"),
    [
        ("Bad Request: can't parse entities: Unsupported start tag", "buttons"),
        ("Bad Request: message is too long", "no buttons"),
        ("Bad Request: BUTTON_DATA_INVALID", "no buttons"),
        ("Bad Request: inline keyboard button URL 'x' is invalid", "no buttons"),
        ("Bad Request: reply markup is too long", "no buttons"),
    ],
)
def test_a_card_that_telegram_cannot_take_is_sent_in_a_simpler_form(sender, telegram, description, left):
    make_approval()
    telegram.inject("error", status=400, description=description, method="sendMessage")
    work(sender)
    (card,) = telegram.messages(GROUP, by_bot=True)
    assert bool(card["buttons"]) == (left == "buttons")
    assert only().status == S.SENT
    assert "parse_mode" not in telegram.calls("sendMessage")[-1].params or left == "no buttons"


def test_a_lost_chat_loses_nothing(sender, telegram):
    make_approval()
    telegram.kick_bot(GROUP)
    work(sender)
    assert only().status == S.WAITING
    work(sender)
    assert len(telegram.calls("sendMessage")) == 1  # no storm
    telegram.kick_bot(GROUP, status="administrator")
    sender._api.turn_on()
    work(sender)
    assert only().status == S.SENT


def test_a_bug_in_here_is_logged_and_never_raised(sender, telegram, monkeypatch, caplog):
    make_approval()
    monkeypatch.setattr(sender._channel.__class__, "ask", lambda *a, **k: 1 / 0)
    work(sender)
    assert "a bug" in caplog.text
    assert only().status == S.WAITING


# --- an answer that was lost: sent, and nobody knows


def test_a_copy_sent_because_an_answer_was_lost_loses_its_buttons_at_once(sender, telegram):
    make_approval()
    telegram.inject("reset", after=True, method="sendMessage")
    work(sender)
    copy, card = telegram.messages(GROUP, by_bot=True)
    assert copy["text"] == cards.SENT_TWICE
    assert copy["buttons"] == []
    assert card["buttons"]
    assert only().doubtful
    telegram.assert_clean()


def test_a_copy_that_was_not_found_is_learned_from_its_first_press_and_settled_too(sender, telegram, monkeypatch):
    monkeypatch.setattr(cards, "COPIES_NEAR", 0)
    approval = make_approval()
    telegram.inject("reset", after=True, method="sendMessage")
    work(sender)
    copy, _ = telegram.messages(GROUP, by_bot=True)
    token = copy["buttons"][0][0]["callback_data"]
    assert cards.find_button(token, chat=GROUP, message=copy["message_id"])
    decide(approval, via="telegram")
    work(sender)
    for message in telegram.messages(GROUP, by_bot=True):
        assert message["buttons"] == []
        assert "approved" in message["text"].lower()
    assert queries.count_stale_cards() == 0


def test_a_button_never_works_on_the_card_of_another_approval(sender, telegram):
    make_approval(), make_approval()
    work(sender)
    one, other = telegram.messages(GROUP, by_bot=True)
    Delivery.objects.update(doubtful=True)
    token = one["buttons"][0][0]["callback_data"]
    assert cards.find_button(token, chat=GROUP, message=other["message_id"]) is None


# --- messages stay true


@pytest.mark.parametrize("door", ["telegram", "admin", "api", "dashboard", "websocket", "cli"])
@pytest.mark.parametrize("verdict", ["approved", "rejected"])
def test_every_answer_at_any_door_settles_the_card(sender, telegram, door, verdict):
    approval = make_approval()
    work(sender)
    decide(approval, verdict, via=door)
    assert queries.count_stale_cards() == 1
    sender.wake(approval.pk)
    sender.work()
    (card,) = telegram.messages(GROUP, by_bot=True)
    assert labels(card) == ([] if verdict == "approved" else ["Ask again"])
    assert verdict in card["text"].lower()
    assert "anna" in card["text"]
    assert queries.count_stale_cards() == 0
    assert only().status == S.SETTLED
    telegram.assert_clean()


@pytest.mark.parametrize("how", ["expire", "cancel"])
def test_so_does_every_other_way_to_close(sender, telegram, how):
    approval = make_approval()
    work(sender)
    if how == "expire":
        Approval.objects.filter(pk=approval.pk).update(expires_at=Now())
        expire_due_approvals(batch=10)
    else:
        cancel_approval(approval_id=approval.pk, by="olga", via="api")
    work(sender)
    (card,) = telegram.messages(GROUP, by_bot=True)
    assert labels(card) == ["Ask again"]
    assert queries.count_stale_cards() == 0


def test_a_card_is_settled_after_a_restart_however_long_ago_it_closed(configured, sender, telegram):
    approval = make_approval()
    work(sender)
    decide(approval)
    api = BotApi(configured)
    work(Sender(api, Telegram(api), may_continue=lambda: True))
    assert telegram.messages(GROUP, by_bot=True)[0]["buttons"] == []


def test_a_card_that_cannot_be_edited_any_more_gets_a_message_with_the_outcome(sender, telegram):
    approval = make_approval()
    work(sender)
    decide(approval)
    gone = "Bad Request: message to edit not found"
    telegram.inject("error", status=400, description=gone, method="editMessageText")
    work(sender)
    assert "approved" in telegram.last_message(GROUP)["text"].lower()
    assert only().status == S.SETTLED
    assert queries.count_stale_cards() == 0


def test_an_edit_that_fails_is_tried_again(sender, telegram):
    approval = make_approval()
    work(sender)
    decide(approval)
    telegram.outage("html")
    work(sender)
    assert queries.count_stale_cards() == 1
    telegram.outage(None)
    Delivery.objects.update(next_try_at=Now())
    work(sender)
    assert queries.count_stale_cards() == 0


def test_an_extension_brings_the_deadline_on_the_card_up_to_date(sender, telegram):
    approval = make_approval()
    work(sender)
    before = only().shown_deadline
    extend_approval(approval_id=approval.pk, minutes=15, by="anna", via="api")
    work(sender)
    (card,) = telegram.messages(GROUP, by_bot=True)
    assert card["edit_date"]
    assert card["buttons"]
    assert only().shown_deadline == before + timedelta(minutes=15)
    edits = len(telegram.calls("editMessageText"))
    work(sender)
    assert len(telegram.calls("editMessageText")) == edits


# --- many at once


def test_many_become_lists_whose_lines_are_settled_in_place(configured, telegram):
    api = BotApi(configured)  # with Telegram's limits
    sender = Sender(api, Telegram(api), may_continue=lambda: True)
    approvals = [make_approval(title=f"Bash: job {number}") for number in range(45)]
    work(sender)  # two lists leave 15, of which three get cards of their own; then the burst is over
    messages = telegram.messages(GROUP, by_bot=True)
    assert len(messages) <= 5
    assert Delivery.objects.filter(status=S.SENT).count() >= 30
    api.rate_limiter = Spacious()  # type: ignore[assignment]
    work(sender)
    assert Delivery.objects.filter(status=S.SENT).count() == 45
    for approval in approvals[:15]:
        decide(approval)
    before = len(telegram.calls("editMessageText"))
    work(sender)
    assert len(telegram.calls("editMessageText")) - before == 1  # all lines of a list at once
    assert queries.count_stale_cards() == 0
    telegram.assert_clean()


def test_cards_while_there_is_room_lists_when_there_is_not():
    assert policy.choose_batch_size(1, remaining=1) == 1
    assert policy.choose_batch_size(10, remaining=20) == 1
    assert policy.choose_batch_size(17, remaining=20) == policy.MOST_IN_A_LIST
    assert policy.choose_batch_size(3, remaining=2) == 3
    assert policy.choose_batch_size(1000, remaining=0) == policy.MOST_IN_A_LIST
    assert policy.choose_batch_size(0, remaining=20) == 0


# --- reminders and silence


def nearly_over(approval: Approval) -> None:
    """Asked long ago, with two minutes left, and `approvals` has noted it."""
    Approval.objects.filter(pk=approval.pk).update(
        created_at=Now() - timedelta(hours=1), expires_at=Now() + timedelta(minutes=2)
    )
    remind_of_deadlines(batch=10)


def test_people_are_reminded_once_in_reply_to_the_card_and_the_reminder_is_settled_too(sender, telegram):
    approval = make_approval()
    work(sender)
    nearly_over(approval)
    work(sender)
    work(sender)
    card, reminder = telegram.messages(GROUP, by_bot=True)
    assert reminder["reply_to"] == card["message_id"]
    decide(approval)
    work(sender)
    assert queries.count_stale_cards() == 0


def test_a_reminder_in_a_simpler_form_still_replies_to_its_card(sender, telegram):
    approval = make_approval()
    work(sender)
    nearly_over(approval)
    telegram.inject("error", status=400, description="Bad Request: message is too long", method="sendMessage")
    work(sender)
    card, reminder = telegram.messages(GROUP, by_bot=True)
    assert reminder["reply_to"] == card["message_id"]


def test_nobody_is_reminded_when_everybody_has_muted_and_cards_are_silent(sender, telegram):
    anna = Approver.objects.create(user=make_user(group="Approver"), telegram_user=ANNA)
    commands.mute_approver(anna, until=timezone.now() + timedelta(hours=1))
    approval = make_approval()
    work(sender)
    assert telegram.calls("sendMessage")[0].params["disable_notification"] is True
    nearly_over(approval)
    work(sender)
    assert len(telegram.messages(GROUP, by_bot=True)) == 1
    commands.mute_approver(anna, until=None)
    Approver.objects.create(user=make_user(), telegram_user=ANNA + 1, muted_until=timezone.now() + timedelta(hours=1))
    assert queries.read_mute_states() == [False]  # the other one may not decide


# --- codes and updates


def test_a_link_code_binds_once_and_in_time():
    user = make_user("anna")
    code = commands.create_link_code(user)
    assert code not in str(Approver.objects.values())
    assert commands.link_approver(code="wrong", telegram_user=ANNA, telegram_name="anna") is None
    linked = commands.link_approver(code=f" {code.upper()} ", telegram_user=ANNA, telegram_name="anna")
    assert linked is not None
    assert queries.find_approver(ANNA).user == user
    assert commands.link_approver(code=code, telegram_user=66, telegram_name="thief") is None
    late = commands.create_link_code(user)
    Approver.objects.update(code_expires_at=Now())
    assert commands.link_approver(code=late, telegram_user=66, telegram_name="thief") is None


def test_a_telegram_user_belongs_to_one_account_the_latest():
    first, second = make_user(), make_user()
    for user in (first, second):
        commands.link_approver(code=commands.create_link_code(user), telegram_user=ANNA, telegram_name="anna")
    assert queries.find_approver(ANNA).user == second
    assert Approver.objects.filter(telegram_user=ANNA).count() == 1


def test_an_update_is_applied_once_by_its_id_and_by_that_of_its_press():
    press = {"update_id": 7, "callback_query": {"id": "q1"}}
    assert commands.record_update(press)
    assert not commands.record_update(press)
    assert not commands.record_update({"update_id": 8, "callback_query": {"id": "q1"}})
    assert commands.record_update({"update_id": 3})  # ids may start anew


def test_an_update_that_the_webhook_took_is_applied_once():
    press = {"update_id": 7, "callback_query": {"id": "q1"}}
    assert commands.store_webhook_update(press, "{}")
    assert not commands.store_webhook_update(press, "{}")
    assert not commands.store_webhook_update({"update_id": 8, "callback_query": {"id": "q1"}}, "{}")
    assert [update.pk for update in queries.unapplied_updates()] == [7]
    assert commands.record_update(press)
    assert not commands.record_update(press)
    assert queries.unapplied_updates() == []


def test_applied_updates_are_forgotten_only_when_they_cannot_come_again():
    for number in (1, 2):
        commands.record_update({"update_id": number})
    from escalation.models import Update

    Update.objects.filter(pk=1).update(received_at=Now() - timedelta(hours=49))
    commands.store_webhook_update({"update_id": 3}, "{}")
    assert commands.delete_old_updates() == 1
    assert set(Update.objects.values_list("pk", flat=True)) == {2, 3}


@pytest.mark.django_db(transaction=True)
def test_of_racing_appliers_one_wins():
    won = []
    start = threading.Barrier(4)

    def apply() -> None:
        start.wait()
        won.append(commands.record_update({"update_id": 7}))
        from django.db import connection

        connection.close()

    threads = [threading.Thread(target=apply) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(won) == [False, False, False, True]
