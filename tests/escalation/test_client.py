"""The Bot API client against the strict stand-in: every row of the table of errors, and what may never be seen."""

import logging
import threading
import time
from dataclasses import replace
from datetime import timedelta

import pytest

from escalation.errors import (
    BotApiError,
    ChatMoved,
    ChatUnusable,
    NotReached,
    PollerConflict,
    Refused,
    TokenRefused,
    TooManyRequests,
)
from escalation.telegram.api.client import BotApi
from escalation.telegram.api.rate_limiter import RateLimiter
from tests.escalation.conftest import ANNA, GROUP, TOKEN, quick


def say(api: BotApi, text: str = "hello", chat: int = GROUP) -> dict:
    return api.call("sendMessage", chat_id=chat, text=text)


def test_an_answer_is_the_result(api, telegram):
    assert api.call("getMe")["username"] == "test_bot"
    assert say(api)["message_id"] == 1
    telegram.assert_clean()


def test_parameters_that_are_none_are_left_out(api, telegram):
    api.call("sendMessage", chat_id=GROUP, text="hello", parse_mode=None)
    assert "parse_mode" not in telegram.calls("sendMessage")[0].params


def test_a_file_is_uploaded(api, telegram):
    sent = api.call("sendDocument", chat_id=GROUP, document=("whole.txt", b"all of it"), caption="rest")
    assert sent["document"]["file_name"] == "whole.txt"
    telegram.assert_clean()


def test_a_message_that_already_says_so_is_a_success(api, telegram):
    number = say(api)["message_id"]
    assert api.call("editMessageText", chat_id=GROUP, message_id=number, text="hello") is True


# one row of BOT_API.md's table each: what Telegram says, and what we make of it
@pytest.mark.parametrize(
    ("status", "description", "error"),
    [
        (400, "Bad Request: can't parse entities: Unsupported start tag", Refused),
        (400, "Bad Request: message is too long", Refused),
        (400, "Bad Request: message caption is too long", Refused),
        (400, "Bad Request: message text is empty", Refused),
        (400, "Bad Request: text must be non-empty", Refused),
        (400, "Bad Request: chat not found", ChatUnusable),
        (400, "Bad Request: message to edit not found", Refused),
        (400, "Bad Request: message can't be edited", Refused),
        (400, "Bad Request: message to delete not found", Refused),
        (400, "Bad Request: message to be replied not found", Refused),
        (400, "Bad Request: query is too old and response timeout expired or query ID is invalid", Refused),
        (400, "Bad Request: BUTTON_DATA_INVALID", Refused),
        (400, "Bad Request: reply markup is too long", Refused),
        (401, "Unauthorized", TokenRefused),
        (403, "Forbidden: bot was blocked by the user", ChatUnusable),
        (403, "Forbidden: user is deactivated", ChatUnusable),
        (403, "Forbidden: bot was kicked from the supergroup chat", ChatUnusable),
        (403, "Forbidden: bot is not a member of the channel chat", ChatUnusable),
        (403, "Forbidden: bot can't initiate conversation with a user", ChatUnusable),
        (404, "Not Found", TokenRefused),
        (404, "Not Found: method not found", Refused),
        (409, "Conflict: terminated by other getUpdates request; make sure that only one", PollerConflict),
        (409, "Conflict: can't use getUpdates method while webhook is active; use deleteWebhook", PollerConflict),
        (413, "Request Entity Too Large", Refused),
    ],
)
def test_what_cannot_be_mended_by_trying_again_is_tried_once(api, telegram, status, description, error):
    telegram.inject("error", status=status, description=description)
    with pytest.raises(error) as caught:
        say(api)
    assert type(caught.value) is error
    assert len(telegram.calls("sendMessage")) == 1
    assert TOKEN not in str(caught.value)


@pytest.mark.parametrize("kind", ["reset", "html", "garbage", "truncate", "error"])
@pytest.mark.parametrize("times", [1, 3])
def test_what_may_pass_is_tried_up_to_three_times_again(api, telegram, kind, times):
    telegram.inject(kind, count=times, method="sendMessage")
    assert say(api)["message_id"]
    assert len(telegram.calls("sendMessage")) == times + 1


@pytest.mark.parametrize("kind", ["reset", "html", "garbage", "truncate", "error"])
def test_then_it_is_given_up_and_said(api, telegram, caplog, kind):
    telegram.inject(kind, count=4, method="sendMessage")
    with caplog.at_level(logging.INFO), pytest.raises(NotReached):
        say(api)
    assert len(telegram.calls("sendMessage")) == 4
    assert "Maximum retry attempts exceeded" in caplog.text
    assert caplog.text.count("sendMessage: retry attempt") == 3
    assert "telegram sendMessage failed" in caplog.text


def test_an_answer_that_was_lost_leaves_a_doubt_even_if_the_repetition_succeeds(api, telegram):
    telegram.inject("reset", after=True, method="sendMessage")
    say(api)
    assert api.doubtful
    say(api)
    assert not api.doubtful


def test_nothing_was_done_where_no_connection_came_about(configured):
    nowhere = BotApi(replace(configured, api_url="http://127.0.0.1:9", retries=0))
    with pytest.raises(NotReached) as caught:
        say(nowhere)
    assert not caught.value.may_have_succeeded


def test_a_silent_telegram_is_given_up_in_time(configured, telegram):
    api = BotApi(replace(configured, request_timeout=timedelta(seconds=0.2), retries=0))
    telegram.inject("hang", seconds=30)
    with pytest.raises(NotReached) as caught:
        say(api)
    assert caught.value.may_have_succeeded


def test_telegram_is_left_alone_as_long_as_it_says(telegram):
    api = BotApi(quick(token=TOKEN, chat=str(GROUP), api_url=telegram.base_url, longest_delay=timedelta(seconds=16)))
    telegram.inject("flood", seconds=1, method="sendMessage")
    began = time.monotonic()
    say(api)
    assert time.monotonic() - began >= 1.0
    telegram.assert_clean()


def test_a_long_pause_is_not_waited_for_and_nothing_is_sent_in_it(api, telegram):
    telegram.inject("flood", seconds=30, method="sendMessage")
    for _ in range(3):
        with pytest.raises(TooManyRequests) as caught:
            say(api)
        assert 25 < caught.value.retry_after_s <= 30
    assert len(telegram.calls("sendMessage")) == 1
    assert api.call("getMe")  # what Telegram does not count goes on
    telegram.assert_clean()


def test_a_group_that_became_a_supergroup_is_followed(configured, telegram):
    old = -500
    telegram.add_chat(old)
    moves = []
    api = BotApi(replace(configured, chat=str(old)), on_moved=lambda *move: moves.append(move))
    number = say(api, chat=old)["message_id"]
    new = telegram.migrate_chat(old)
    assert say(api, "again", chat=old)["chat"]["id"] == new
    assert api.chat == new
    assert moves == [(old, new)]
    with pytest.raises(ChatMoved):  # its messages stayed behind; their numbers mean others there
        api.call("editMessageText", chat_id=old, message_id=number, text="changed")
    telegram.assert_clean()


def test_a_refused_token_ends_all_calls(configured, telegram, caplog):
    why = []
    api = BotApi(replace(configured, token="123456:wrong-token-of-nobody"), on_off=why.append)
    for _ in range(3):
        with pytest.raises(TokenRefused):
            api.call("getMe")
    assert len(telegram.calls("getMe")) == 1
    assert "the token is wrong or revoked" in why[0]
    assert [record.levelname for record in caplog.records].count("CRITICAL") == 1


def test_a_lost_chat_ends_calls_to_it_and_nothing_else(configured, telegram):
    api = BotApi(configured)
    telegram.kick_bot(GROUP)
    for _ in range(3):
        with pytest.raises(ChatUnusable):
            say(api)
    assert len(telegram.calls("sendMessage")) == 1
    telegram.send_text(ANNA, "/start")
    assert say(api, chat=ANNA)
    telegram.kick_bot(GROUP, status="member")
    api.turn_on()
    assert say(api)


def test_a_chat_of_somebody_else_does_not_turn_the_channel_off(api):
    with pytest.raises(ChatUnusable):
        say(api, chat=ANNA + 1000)
    assert not api.off


def test_a_stop_ends_the_waiting(telegram, configured):
    api = BotApi(replace(configured, first_delay=timedelta(seconds=60), longest_delay=timedelta(seconds=60)))
    telegram.inject("error", count=4, method="sendMessage")
    threading.Timer(0.2, api.stop.set).start()
    with pytest.raises(BotApiError):
        say(api)
    assert len(telegram.calls("sendMessage")) <= 2


def test_calls_repetitions_and_failures_are_counted(api, telegram, db):
    telegram.inject("error", count=2, method="sendMessage")
    say(api)
    assert api.counters.flush()
    from orchestra.models import Tally

    counted = {row.name: row.value for row in Tally.objects.filter(labels="")}
    assert counted["telegram_api_requests_total"] == 3
    assert counted["telegram_api_failures_total"] == 2
    assert counted["telegram_api_retry_attempts_total"] == 2
    whole = Tally.objects.get(name="telegram_api_duration_seconds_bucket", labels="le=+Inf")
    assert whole.value == 3


# --- pacing, with a clock of the test's own


class Clock:
    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


def test_a_group_takes_twenty_messages_a_minute_and_five_at_once():
    clock = Clock()
    pacer = RateLimiter(clock)
    sent = []
    while len(sent) < 45:
        wait_s = pacer.reserve(GROUP)
        if wait_s:
            clock.now += wait_s
        else:
            sent.append(clock.now)
    for most, seconds in ((5, 5.0), (20, 60.0)):
        for first, last in zip(sent, sent[most:], strict=False):
            assert last - first > seconds


def test_a_private_chat_has_no_limit_by_the_minute():
    clock = Clock()
    pacer = RateLimiter(clock)
    for _ in range(60):
        while wait_s := pacer.reserve(ANNA):
            clock.now += wait_s
    assert clock.now < 1000 + 80


def test_two_threads_never_take_one_place():
    pacer = RateLimiter(lambda: 1000.0)
    taken = []
    threads = [
        threading.Thread(target=lambda: [taken.append(1) for _ in range(20) if not pacer.reserve(GROUP)])
        for _ in range(4)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(taken) == 5
