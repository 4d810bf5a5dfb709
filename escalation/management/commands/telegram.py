"""``manage.py telegram``: run the process that talks to Telegram, or set it up."""

import signal
import threading
import time
from collections.abc import Callable
from typing import Any

from django.conf import settings
from django.core.management.base import BaseCommand, CommandError, CommandParser

from escalation import commands, outbox
from escalation.errors import BotApiError
from escalation.models import Button
from escalation.telegram import setup, status
from escalation.telegram.api.client import BotApi
from escalation.telegram.service import Service
from orchestra.db import leases
from orchestra.management.accounts import find_account

WAIT_S = 300.0
POLL_EVERY_S = 0.5
MARKS = {True: "ok  ", False: "FIX ", None: "    "}


class Command(BaseCommand):
    help = "Run the process that talks to Telegram; or check the set-up, send a test card, link a person's account."

    def add_arguments(self, parser: CommandParser) -> None:
        what = parser.add_subparsers(dest="what", metavar="check | test-card | link USER")
        what.add_parser("check", help="report what works and what to fix")
        tap = what.add_parser("test-card", help="send a card and wait until a person taps it")
        tap.add_argument("--wait", type=float, default=WAIT_S, help="seconds to wait (default %(default)g)")
        link = what.add_parser("link", help="print a one-time code for /link CODE")
        link.add_argument("user", metavar="USER")

    def handle(self, *args: Any, **options: Any) -> None:
        actions: dict[str | None, Callable[[], None]] = {
            None: self.run_service,
            "check": self.check_setup,
            "test-card": lambda: self.test_card(options["wait"]),
            "link": lambda: self.link(options["user"]),
        }
        actions[options["what"]]()

    def run_service(self) -> None:
        """Run until SIGTERM or Ctrl-C. A second process waits until the first one has ended."""
        _refuse_unless_configured()
        service = Service()
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, lambda *_: service.stop())
        service.run()

    def check_setup(self) -> None:
        """Print one line for each check. The exit code is 1 if anything must be fixed."""
        bad = 0
        for finding in setup.run_checks(_api()):
            bad += finding.good is False
            self.stdout.write(f"{MARKS[finding.good]} {finding.text}")
        if bad:
            raise CommandError(f"{bad} {'thing needs' if bad == 1 else 'things need'} to be fixed.")
        self.stdout.write("Everything is in place.")

    def test_card(self, wait_s: float) -> None:
        """Send a test card and wait for the tap.

        Readiness reports the channel as ok only after this succeeded.
        """
        _refuse_unless_configured()
        try:
            button = setup.post_test_card(_api())
        except BotApiError as error:
            raise CommandError(f"{outbox.NOT_SENT}: {error.detail}") from None
        self.stdout.write("Sent. Tap “It works” in the chat ...")
        service = None if leases.is_held(status.LEASE) else Service()
        thread = threading.Thread(target=service.run, daemon=True) if service else None
        if thread:
            thread.start()
        try:
            tapped = _wait_for_tap(button, wait_s)
        finally:
            if service and thread:
                service.stop()
                thread.join(15.0)
        if not tapped:
            raise CommandError(
                "The card was not tapped in time. Is the telegram process running, and is it the right chat?"
            )
        self.stdout.write("Tapped. Telegram works both ways.")

    def link(self, username: str) -> None:
        """Print a one-time link code as the last word of the output."""
        user = find_account(username)
        minutes = commands.LINK_CODE_LASTS.total_seconds() / 60
        code = commands.create_link_code(user)
        self.stdout.write(f"Within {minutes:g} minutes {user} writes this to the bot:")
        self.stdout.write(f"/link {code}")


def _api() -> BotApi:
    moved = leases.read_state(status.LEASE).get("moved", {})
    return BotApi(settings.TELEGRAM, moved={int(old): int(new) for old, new in moved.items()})


def _refuse_unless_configured() -> None:
    if not settings.TELEGRAM.configured:
        raise CommandError(
            f"Telegram is off: {status.find_missing_setting()} It needs TELEGRAM_BOT_TOKEN and TELEGRAM_CHAT_ID;"
            " see docs/telegram.md."
        )


def _wait_for_tap(button: Button, wait_s: float) -> bool:
    end = time.monotonic() + wait_s
    while time.monotonic() < end:
        if Button.objects.filter(pk=button.pk, used_at__isnull=False).exists():
            return True
        time.sleep(POLL_EVERY_S)
    return False
