"""The leased process, as a thread in here and as real processes: rings, updates, failover, outages."""

import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import timedelta

import pytest
from django.conf import settings as django_settings
from django.db import connection
from django.db.models.functions import Now

from approvals.commands import ApprovalRequest, decide_approval, request_approval
from approvals.models import Approval
from escalation import queries
from escalation.models import Delivery, Update
from escalation.telegram import service, status
from escalation.telegram.api import breaker
from escalation.telegram.inbound import receiver
from escalation.telegram.service import Service
from orchestra.db import leases
from orchestra.models import Lease
from tests.escalation.conftest import GROUP, TOKEN
from tests.stack import ROOT, until

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture
def soon(monkeypatch: pytest.MonkeyPatch) -> None:
    """The service without its leisure."""
    monkeypatch.setattr(receiver, "POLL_S", 2)
    monkeypatch.setattr(receiver, "PAUSE_S", 0.1)
    monkeypatch.setattr(service, "KEEP_EVERY_S", 0.2)
    monkeypatch.setattr(service, "TRY_EVERY_S", 0.2)
    monkeypatch.setattr(service, "WRITE_EVERY_S", 0.2)


@pytest.fixture
def running(soon: None, configured: object) -> Iterator[Service]:
    """The service on a thread, past its first words."""
    one = Service()
    thread = threading.Thread(target=one.run)
    thread.start()
    until(lambda: status.is_healthy(), "the service talks to Telegram")
    yield one
    one.stop()
    thread.join(30)
    assert not thread.is_alive()


def ask(command: str = "rm -r build") -> Approval:
    question = ApprovalRequest(title=f"Bash: {command}", tool_name="Bash", tool_input=json.dumps({"command": command}))
    return Approval.objects.get(pk=request_approval(question))


def decide(approval: Approval) -> None:
    decide_approval(approval_id=approval.pk, decision="approved", by="anna", via="admin")


def settled() -> bool:
    return not Delivery.objects.exclude(status="settled").exists()


def test_a_question_is_told_and_settled_by_rings_alone(running, telegram, monkeypatch):
    from escalation.telegram import sender

    monkeypatch.setattr(sender, "SWEEP_EVERY_S", 3600.0)
    approval = ask()
    telegram.wait_for_message("rm -r build", timeout=60)
    decide(approval)
    until(settled, "the card is settled")
    assert telegram.messages(GROUP, by_bot=True)[0]["buttons"] == []
    telegram.assert_clean()


def test_what_rang_while_nobody_listened_is_found(soon, configured, telegram):
    ask()
    one = Service()
    thread = threading.Thread(target=one.run)
    thread.start()
    telegram.wait_for_message("rm -r build", timeout=60)
    one.stop()
    thread.join(30)


def test_every_update_is_confirmed_after_it_was_applied(running, telegram):
    sent = [telegram.send_text(42, "/help", chat_id=GROUP)["update_id"] for _ in range(3)]
    until(lambda: Update.objects.filter(applied_at__isnull=False).count() == 3, "all are applied")
    assert set(Update.objects.values_list("pk", flat=True)) == set(sent)
    until(lambda: telegram.pending_updates() == [], "all are confirmed")


def test_a_duplicate_is_applied_once(running, telegram):
    number = telegram.send_text(42, "/help", chat_id=GROUP)["update_id"]
    until(lambda: Update.objects.filter(pk=number).exists(), "it is applied")
    telegram.resend_update(number)
    telegram.send_text(42, "/help", chat_id=GROUP)
    until(lambda: Update.objects.count() == 2, "the next one is applied")
    until(lambda: len(telegram.messages(GROUP, by_bot=True)) >= 2, "both are answered")
    assert len(telegram.messages(GROUP, by_bot=True)) == 2


def test_an_update_that_breaks_us_is_given_up_and_blocks_nobody(running, telegram, monkeypatch, caplog):
    from escalation.telegram.inbound import updates

    real = updates.handle

    def handle(update: dict, api: object, **how: object) -> None:
        if "poison" in str(update):
            raise RuntimeError("a bug")
        real(update, api, **how)

    monkeypatch.setattr(updates, "handle", handle)
    bad = telegram.send_text(42, "/poison", chat_id=GROUP)["update_id"]
    good = telegram.send_text(42, "/help", chat_id=GROUP)["update_id"]
    until(lambda: Update.objects.filter(pk=good).exists(), "the good one is applied")
    assert Update.objects.filter(pk=bad).exists()
    assert "is given up" in caplog.text


def test_a_webhook_that_somebody_set_is_taken_away(running, telegram):
    import requests

    requests.post(f"{telegram.bot_url}/setWebhook", json={"url": "http://127.0.0.1:1/x"}, timeout=10)
    telegram.send_text(42, "/help", chat_id=GROUP)
    until(lambda: Update.objects.exists(), "polling goes on")


def test_a_rival_poller_is_said_and_survived(running, telegram, caplog):
    import requests

    poll = threading.Thread(
        target=lambda: requests.post(f"{telegram.bot_url}/getUpdates", json={"timeout": 1}, timeout=30)
    )
    poll.start()
    until(lambda: "another program polls" in caplog.text, "it is said")
    poll.join(30)
    telegram.send_text(42, "/help", chat_id=GROUP)
    until(lambda: Update.objects.exists(), "polling goes on")


def test_a_dead_telegram_opens_the_breaker_and_nothing_is_lost(soon, configured, telegram, settings):
    limits = replace(configured.breaker, pause=timedelta(seconds=0.5))
    settings.TELEGRAM = replace(configured, retries=1, breaker=limits)
    one = Service()
    thread = threading.Thread(target=one.run)
    thread.start()
    try:
        until(lambda: status.is_healthy(), "the service talks to Telegram")
        telegram.outage("reset")
        approvals = [ask(f"job {number}") for number in range(3)]
        until(lambda: breaker.read_state(limits)["state"] == "open", "the breaker opens")
        assert not status.is_healthy()
        decide(approvals[0])  # the other doors do not mind
        Delivery.objects.update(next_try_at=Now())
        telegram.outage(None)
        telegram.wait_for_message("job 1", timeout=60)
        telegram.wait_for_message("job 2", timeout=60)
        until(lambda: queries.count_stale_cards() == 0, "no stale card")
        until(lambda: status.is_healthy(), "it is well again")
        assert not [m for m in telegram.messages(GROUP, by_bot=True) if "job 0" in m["text"]]
    finally:
        one.stop()
        thread.join(30)
    telegram.assert_clean()


def test_a_lost_chat_turns_the_channel_off_until_the_bot_is_let_in_again(running, telegram):
    telegram.kick_bot(GROUP)
    ask()
    until(lambda: leases.read_state(status.LEASE).get("off"), "the channel is off")
    assert not status.is_healthy()
    telegram.kick_bot(GROUP, status="member")
    telegram.wait_for_message("rm -r build", timeout=60)
    until(lambda: not leases.read_state(status.LEASE).get("off"), "the channel is on")


def test_a_group_that_became_a_supergroup_is_followed_over_restarts(soon, configured, telegram, settings):
    telegram.add_chat(-500)
    settings.TELEGRAM = replace(configured, chat="-500")
    new = telegram.migrate_chat(-500)
    for command in ("first", "second"):
        one = Service()
        thread = threading.Thread(target=one.run)
        thread.start()
        approval = ask(command)
        telegram.wait_for_message(command, chat_id=new, timeout=60)
        decide(approval)
        until(settled, "the card is settled")
        one.stop()
        thread.join(30)
    refused = [call for call in telegram.calls("sendMessage") if call.status != 200]
    assert len(refused) <= 1  # none, if the news of the move came in first
    telegram.assert_clean()


def test_the_lease_has_one_owner_and_a_growing_fence():
    first = leases.acquire("thing", "a", timedelta(seconds=60))
    assert leases.acquire("thing", "b", timedelta(seconds=60)) is None
    assert leases.renew("thing", "a", first, timedelta(seconds=60))
    Lease.objects.update(expires_at=Now())
    second = leases.acquire("thing", "b", timedelta(seconds=60))
    assert second > first
    assert not leases.renew("thing", "a", first, timedelta(seconds=60))
    leases.release("thing", "a", first)  # too late, changes nothing
    assert leases.is_held("thing")
    leases.release("thing", "b", second)
    assert not leases.is_held("thing")


# --- as processes


def environment(telegram: object) -> dict[str, str]:
    """The test's own database and broker, and a Telegram that is ours."""
    database = connection.get_connection_params()
    url = f"postgres://{database['user']}@/{database['dbname']}?host={database['host']}"
    return os.environ | {
        "DATABASE_URL": url,
        "REDIS_URL": django_settings.ORCHESTRA.redis_url,
        "TELEGRAM_BOT_TOKEN": TOKEN,
        "TELEGRAM_CHAT_ID": str(GROUP),
        "TELEGRAM_API_URL": telegram.base_url,
        "ORCHESTRA_PROCESS": "telegram",
    }


@pytest.fixture
def start(telegram, tmp_path) -> Iterator[Callable[[], subprocess.Popen[bytes]]]:
    """Starts `manage.py telegram`; whatever still runs is killed in the end."""
    processes = []

    def begin() -> subprocess.Popen[bytes]:
        log = (tmp_path / f"{len(processes)}.log").open("wb")
        command = [sys.executable, "manage.py", "telegram"]
        process = subprocess.Popen(command, cwd=ROOT, env=environment(telegram), stdout=log, stderr=log)
        processes.append(process)
        return process

    yield begin
    for process in processes:
        process.kill()
        process.wait(30)
    for number in range(len(processes)):
        assert TOKEN not in (tmp_path / f"{number}.log").read_text(errors="replace")


def owner_pid() -> int:
    owner = Lease.objects.filter(name=status.LEASE, expires_at__gt=Now()).values_list("owner", flat=True).first()
    return int(owner.split(":")[1]) if owner else 0


def test_a_second_process_takes_over_when_the_first_is_killed(start, telegram):
    first = start()
    until(lambda: owner_pid() == first.pid, "the first has the lease")
    second = start()
    ask("one")
    telegram.wait_for_message("one", timeout=60)
    first.send_signal(signal.SIGKILL)
    ask("two")
    until(lambda: owner_pid() == second.pid, "the second has the lease")
    telegram.wait_for_message("two", timeout=60)
    second.send_signal(signal.SIGTERM)
    assert second.wait(60) == 0
    assert owner_pid() == 0  # given up at once
    assert len(telegram.messages(GROUP, by_bot=True)) == 2
    telegram.assert_clean()


def test_a_process_that_slept_through_its_lease_stops_talking(start, telegram):
    first = start()
    until(lambda: owner_pid() == first.pid, "the first has the lease")
    first.send_signal(signal.SIGSTOP)
    second = start()
    until(lambda: owner_pid() == second.pid, "the second has the lease")
    first.send_signal(signal.SIGCONT)
    time.sleep(1.0)
    ask("one")
    telegram.wait_for_message("one", timeout=60)
    time.sleep(1.0)
    assert len(telegram.messages(GROUP, by_bot=True)) == 1
    assert first.poll() is None  # it waits for its turn
