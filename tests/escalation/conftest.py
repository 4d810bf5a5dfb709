"""Telegram for tests: the strict stand-in, and settings that point to it."""

from collections.abc import Iterator
from dataclasses import replace
from datetime import timedelta
from functools import partial
from itertools import count
from typing import Any

import pytest
from django.conf import settings as django_settings

from escalation.conf import TelegramSettings
from escalation.telegram.api.client import BotApi
from escalation.telegram.api.rate_limiter import RateLimiter
from tests.fakes.bot_api import FakeBotApi

TOKEN = "123456:CANARY-token-that-nobody-may-see"
GROUP = -1001234
ANNA, BORIS, STRANGER = 42, 43, 66


@pytest.fixture
def telegram() -> Iterator[FakeBotApi]:
    """A bot in a group with two people and a stranger."""
    people = {ANNA: "anna", BORIS: "boris", STRANGER: "stranger"}
    with FakeBotApi(token=TOKEN, chats=[GROUP], users=people, flood=False, poll_throttle=False) as server:
        yield server


@pytest.fixture
def configured(telegram: FakeBotApi, settings: Any) -> TelegramSettings:
    """Telegram is set up, with delays a test can wait for."""
    settings.TELEGRAM = quick(token=TOKEN, chat=str(GROUP), enabled=True, api_url=telegram.base_url)
    return settings.TELEGRAM


@pytest.fixture
def api(configured: TelegramSettings) -> BotApi:
    """A client without a breaker."""
    return BotApi(configured)


def quick(**overrides: Any) -> TelegramSettings:
    """The default settings with a hundredth of the delays."""
    base = django_settings.TELEGRAM
    fast = {
        "first_delay": timedelta(milliseconds=10),
        "longest_delay": timedelta(milliseconds=160),
        "request_timeout": timedelta(seconds=10),
    }
    return replace(base, **fast | overrides)


@pytest.fixture
def chat(telegram: FakeBotApi, api: BotApi, db: None) -> Any:
    """The chat, with anna and boris who may decide."""
    from tests.escalation.chat import Chat, link

    link("anna", ANNA)
    link("boris", BORIS)
    hasty = BotApi(
        api.settings, rate_limiter=RateLimiter(clock=partial(next, count(0.0, 100.0)))
    )  # time enough between any two
    return Chat(telegram, hasty)
