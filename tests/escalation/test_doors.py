"""The webhook, diagnostics, health, figures, admin pages and settings."""

import json
import logging
from dataclasses import replace
from datetime import timedelta

import pytest
from django.core.management import CommandError, call_command
from django.db.models.functions import Now
from django.test import Client
from django.urls import reverse

from escalation import commands, outbox, queries
from escalation.checks import check_settings
from escalation.conf import WEBHOOK
from escalation.models import Approver, Button, Delivery, Update
from escalation.telegram import setup, status
from escalation.telegram.api import breaker
from escalation.telegram.api.client import BotApi
from orchestra.db import leases
from orchestra.models import Lease
from tests.escalation.conftest import GROUP, TOKEN
from tests.factories import client_of, make_approval, make_user

HOOK = "/api/telegram/webhook"
SECRET = "the-secret-of-the-hook"
pytestmark = pytest.mark.django_db


# --- the webhook


@pytest.fixture
def hooked(configured, settings):
    settings.TELEGRAM = replace(configured, mode=WEBHOOK, webhook_secret=SECRET)
    return Client(raise_request_exception=False)


def push(client: Client, update: object, secret: str | None = SECRET, path: str = HOOK):
    headers = {} if secret is None else {"X-Telegram-Bot-Api-Secret-Token": secret}
    body = update if isinstance(update, bytes) else json.dumps(update).encode()
    return client.post(path, body, content_type="application/json", headers=headers)


def test_an_update_is_kept_once_and_acknowledged_each_time(hooked):
    update = {"update_id": 7, "message": {"text": "hello"}}
    assert [push(hooked, update).status_code for _ in range(3)] == [200, 200, 200]
    assert json.loads(Update.objects.get().payload) == update
    assert push(hooked, {"update_id": 8}, path=HOOK + "/").status_code == 200


@pytest.mark.parametrize("secret", [None, "", "wrong", SECRET + "x", "sécrèt", "\udce9"])
def test_without_the_right_secret_nothing_is_read(hooked, secret, caplog):
    answer = push(hooked, b"not even json", secret)
    assert answer.status_code == 403
    assert not Update.objects.exists()
    assert "not even json" not in caplog.text


def test_the_door_is_shut_while_polling_even_with_the_right_secret(hooked, configured, settings):
    settings.TELEGRAM = replace(configured, webhook_secret=SECRET)
    assert push(hooked, {"update_id": 7}).status_code == 403


def test_an_empty_secret_opens_nothing(hooked, configured, settings):
    settings.TELEGRAM = replace(configured, mode=WEBHOOK, webhook_secret="")
    assert push(hooked, {"update_id": 7}, "").status_code == 403


def test_only_post(hooked):
    assert hooked.get(HOOK).status_code == 405


NO_UPDATES = [b"", b"nonsense", b"[]", b"{}", b'{"update_id": "7"}', b'{"update_id": 7, "callback_query": 3}']


@pytest.mark.parametrize("body", [*NO_UPDATES, b"[" * 9999])
def test_what_is_no_update_is_acknowledged_since_it_never_will_be_one(hooked, body):
    assert push(hooked, body).status_code == 200
    assert not Update.objects.exists()


def test_a_body_beyond_any_update_is_refused(hooked):
    assert push(hooked, b" " * (10 * 1024 * 1024)).status_code == 413


# --- what is told


@pytest.fixture
def viewer():
    return client_of(make_user(group="Viewer"))


def healthy() -> None:
    """As if the process ran and Telegram had answered a moment ago."""
    import time

    leases.acquire(status.LEASE, "somebody", timedelta(seconds=60))
    leases.merge_state(status.LEASE, answered_at=time.time(), bot="test_bot", chat=GROUP, off="")


def test_status_tells_everything_but_the_token(configured, viewer):
    healthy()
    outbox.open_delivery(make_approval().pk)
    Delivery.objects.update(last_error="Failed to send Telegram message: 502")
    answer = viewer.get("/api/diagnostics/telegram/status")
    told = answer.json()
    assert told["enabled"] and told["healthy"] and told["running"] and not told["tested"]
    assert (told["bot"], told["chat"], told["mode"]) == ("test_bot", str(GROUP), "polling")
    assert told["outbox_depth"] == 1
    assert told["last_error"].startswith("Failed to send Telegram message")
    assert TOKEN not in answer.content.decode()


def test_the_breaker_is_told_with_its_thresholds(configured, viewer):
    assert viewer.get("/api/diagnostics/circuit-breaker").json() == {
        "state": "closed",
        "failures": 0,
        "opened_at": None,
        "next_probe_at": None,
        "thresholds": {
            "consecutive_failures": 5,
            "failure_rate": 0.5,
            "minimum_calls": 10,
            "window_seconds": 60.0,
            "break_seconds": 30.0,
        },
    }


def test_health_says_off_down_untested_and_ok(configured, settings):
    assert status.read_health() == "down"
    healthy()
    assert status.read_health() == "untested"
    status.record_test(by="anna")
    assert status.read_health() == "ok"
    Lease.objects.update_or_create(name=breaker.NAME, defaults={"state": {"state": "open"}})
    assert status.read_health() == "down"
    settings.TELEGRAM = replace(configured, chat="")
    assert status.read_health() == "off"


def test_another_chat_wants_another_test(configured, settings):
    status.record_test(by="anna")
    assert status.is_tested()
    settings.TELEGRAM = replace(configured, chat="-999")
    assert not status.is_tested()


@pytest.mark.parametrize("what", [{"off": "blocked"}, {"answered_at": 1.0}])
def test_a_channel_that_is_off_or_silent_is_not_healthy(configured, what):
    healthy()
    assert status.is_healthy()
    leases.merge_state(status.LEASE, **what)
    assert not status.is_healthy()


def test_a_dead_process_is_not_healthy(configured):
    healthy()
    Lease.objects.filter(name=status.LEASE).update(expires_at=Now())
    assert not status.is_healthy()


def test_figures_are_there_and_true(configured, client):
    healthy()
    outbox.open_delivery(make_approval().pk)
    page = client.get("/metrics").content.decode()
    assert "telegram_enabled 1.0" in page
    assert "telegram_service_health 1.0" in page
    assert "escalation_outbox_depth 1.0" in page
    assert "approval_cards_stale 0.0" in page
    assert 'telegram_circuit_breaker{state="closed"} 1.0' in page
    assert TOKEN not in page


# --- the admin


@pytest.fixture
def desk(client):
    client.force_login(make_user("root", is_staff=True, group="Administrator"))
    return client


def test_the_deliveries_page_says_how_the_channel_is_and_sends_again(desk, configured):
    healthy()
    outbox.open_delivery(make_approval(title="Bash: rm <b>").pk)
    Delivery.objects.update(status="failed", last_error="Failed to send Telegram message: 400")
    address = reverse("admin:escalation_delivery_changelist")
    page = desk.get(address).content.decode()
    assert "Telegram does not work" in page
    assert "Telegram refuses 1 approval request; tried again every few minutes." in page
    assert "1 not told yet, 1 of them refused by Telegram" in page
    assert "Failed to send Telegram message" in page
    assert "rm &lt;b&gt;" in page
    assert TOKEN not in page
    chosen = {"action": "send_again", "_selected_action": [str(Delivery.objects.get().pk)]}
    page = desk.post(address, chosen, follow=True).content.decode()
    assert "1 will be sent again" in page
    assert "nobody has tapped a test card yet" in page
    assert Delivery.objects.get().status == "waiting"
    assert desk.get(reverse("admin:escalation_delivery_change", args=[Delivery.objects.get().pk])).status_code == 200


def test_a_viewer_reads_deliveries_and_cannot_send_again(client, configured):
    client.force_login(make_user(is_staff=True, group="Viewer"))
    outbox.open_delivery(make_approval().pk)
    Delivery.objects.update(status="failed")
    address = reverse("admin:escalation_delivery_changelist")
    assert client.get(address).status_code == 200
    client.post(address, {"action": "send_again", "_selected_action": [str(Delivery.objects.get().pk)]})
    assert Delivery.objects.get().status == "failed"
    assert client.get(reverse("admin:escalation_approver_changelist")).status_code == 403


def test_an_administrator_makes_a_link_code_that_is_shown_once(desk, configured):
    anna = make_user("anna", group="Approver")
    added = desk.post(reverse("admin:escalation_approver_add"), {"user": anna.pk})
    assert not Approver.objects.get().code_sha256  # looking at a page makes no code
    desk.get(added.url)
    page = desk.post(added.url).content.decode()
    code = page.split("/link ")[1].split("<")[0].strip()
    assert code not in desk.get(added.url).content.decode()
    assert commands.link_approver(code=code, telegram_user=42, telegram_name="anna").user == anna
    assert "anna" in desk.get(reverse("admin:escalation_approver_changelist")).content.decode()


# --- set-up


def found(api: BotApi) -> dict[bool | None, str]:
    told: dict[bool | None, str] = {True: "", False: "", None: ""}
    for finding in setup.run_checks(api):
        told[finding.good] += finding.text + "\n"
    return told


def test_a_wrong_token_is_said_in_words(configured):
    assert "Telegram does not know this token" in found(BotApi(replace(configured, token="1:wrongwrong")))[False]


def test_without_a_chat_the_chats_the_bot_has_seen_are_named(configured, settings, telegram):
    settings.TELEGRAM = replace(configured, chat="")
    assert "Write /start" in found(BotApi(settings.TELEGRAM))[None]
    telegram.send_text(42, "/start")
    assert "TELEGRAM_CHAT_ID=42" in found(BotApi(settings.TELEGRAM))[None]


def test_a_chat_the_bot_is_not_in_is_said(configured, settings):
    settings.TELEGRAM = replace(configured, chat="-77")
    assert "cannot see this chat" in found(BotApi(settings.TELEGRAM))[False]


def test_a_kicked_bot_is_said(configured, telegram):
    telegram.kick_bot(GROUP)
    assert "cannot see this chat" in found(BotApi(configured))[False]
    telegram.kick_bot(GROUP, status="restricted")
    assert "may not write to supergroup" in found(BotApi(configured))[False]


def test_what_is_missing_is_listed_until_nothing_is(configured, telegram, capsys):
    with pytest.raises(CommandError, match="3 things need to be fixed"):
        call_command("telegram", "check")
    assert "No person has linked" in capsys.readouterr().out
    healthy()
    status.record_test(by="anna")
    code = commands.create_link_code(make_user("anna"))
    commands.link_approver(code=code, telegram_user=42, telegram_name="anna")
    call_command("telegram", "check")
    output = capsys.readouterr().out
    assert "Everything is in place." in output
    assert TOKEN not in output
    telegram.assert_clean()


def test_the_link_command_prints_the_code_as_its_last_word(configured, capsys):
    make_user("anna")
    call_command("telegram", "link", "anna")
    code = capsys.readouterr().out.split()[-1]
    assert commands.link_approver(code=code, telegram_user=42, telegram_name="anna")
    with pytest.raises(CommandError, match="There is no account"):
        call_command("telegram", "link", "nobody")


def test_a_test_card_has_one_button_and_waits_for_it(configured, telegram, capsys):
    healthy()  # somebody else receives the press
    with pytest.raises(CommandError, match="The card was not tapped"):
        call_command("telegram", "test-card", "--wait", "0.1")
    (row,) = telegram.last_message(GROUP)["buttons"]
    assert [key["text"] for key in row] == ["It works"]
    assert Button.objects.get().approval_id is None
    telegram.assert_clean()


@pytest.mark.parametrize("command", [[], ["test-card"]])
def test_without_settings_the_commands_say_what_is_missing(command):
    with pytest.raises(CommandError, match="TELEGRAM_BOT_TOKEN and TELEGRAM_CHAT_ID"):
        call_command("telegram", *command)


@pytest.mark.parametrize(
    ("wrong", "code"),
    [
        ({"token": ""}, "E001"),
        ({"token": "nonsense"}, "E002"),
        ({"chat": ""}, "W001"),
        ({"chat": "@ops"}, "E003"),
        ({"mode": "carrier pigeon"}, "E004"),
        ({"mode": WEBHOOK, "webhook_secret": SECRET}, "E006"),
    ],
)
def test_a_bad_combination_of_settings_is_named_and_shows_no_value(configured, settings, wrong, code):
    settings.TELEGRAM = replace(configured, **wrong)
    found = check_settings()
    assert [message.id for message in found] == [f"escalation.{code}"]
    assert TOKEN not in str(found)


def test_a_webhook_needs_a_secret_telegram_accepts(configured, settings):
    settings.ORCHESTRA = replace(settings.ORCHESTRA, public_url="https://orchestra.example.com")
    settings.TELEGRAM = replace(configured, mode=WEBHOOK, webhook_secret="with spaces")
    assert [message.id for message in check_settings()] == ["escalation.E005"]
    settings.TELEGRAM = replace(configured, mode=WEBHOOK, webhook_secret=SECRET)
    assert check_settings() == []


def test_good_settings_and_none_pass(configured, settings):
    assert check_settings() == []
    settings.TELEGRAM = replace(configured, enabled=False, token="")
    assert check_settings() == []


# --- the canary


def test_the_token_is_in_no_log_line_error_or_row(configured, telegram, caplog):
    """Whatever goes wrong between us and Telegram."""
    from escalation.telegram.messages.channel import Telegram
    from escalation.telegram.sender import Sender

    with caplog.at_level(logging.DEBUG):
        for kind in ("reset", "html", "garbage", "truncate", "error", "hang", "flood"):
            api = BotApi(replace(configured, retries=0, request_timeout=timedelta(seconds=0.3)))
            sender = Sender(api, Telegram(api), may_continue=lambda: True)
            make_approval()
            telegram.inject(kind, seconds=1, method="sendMessage")
            sender.work()
        nowhere = BotApi(replace(configured, retries=0, api_url="http://no-such-host.invalid"))
        Sender(nowhere, Telegram(nowhere), may_continue=lambda: True).work()
    ours = [r for r in caplog.records if not r.name.startswith(("urllib3", "asyncio"))]
    secret = TOKEN.split(":")[1]
    assert len(ours) > 8
    assert not [r.getMessage() for r in ours if secret in r.getMessage() or secret in str(r.exc_info)]
    assert secret not in str([*Delivery.objects.values(), *Lease.objects.values()])
    assert secret not in repr(configured)
    assert queries.latest_error()
