"""Settings of escalation. Units are in the names of the variables."""

from dataclasses import dataclass, field
from datetime import timedelta
from typing import Self

from django.conf import settings

from orchestra.environment import Environment

OFFICIAL_API = "https://api.telegram.org"
POLLING, WEBHOOK = "polling", "webhook"
HOOK_PATH = "/api/telegram/webhook"


@dataclass(frozen=True, slots=True, kw_only=True)
class BreakerSettings:
    """When the circuit breaker opens, and how long it stays open."""

    consecutive_failures: int
    failure_rate: float
    minimum_calls: int
    window: timedelta
    pause: timedelta


@dataclass(frozen=True, slots=True, kw_only=True)
class TelegramSettings:
    """The bot, its chat, and the timeouts and retries of Bot API calls.

    ``chat`` and ``topic`` are the texts that were configured; valid ones are numbers. Without a
    topic, messages go to the chat itself, which in a forum is its topic General.
    """

    token: str = field(repr=False)
    chat: str
    topic: str
    enabled: bool
    api_url: str
    mode: str
    webhook_secret: str = field(repr=False)
    connect_timeout: timedelta
    request_timeout: timedelta
    retries: int
    first_delay: timedelta
    longest_delay: timedelta
    jitter: bool
    retry_on: frozenset[int]
    breaker: BreakerSettings

    @property
    def chat_id(self) -> int:
        """The number of the chat; 0 if none is set or the text is not a number."""
        number = self.chat.removeprefix("-")
        return int(self.chat) if number.isascii() and number.isdigit() else 0

    @property
    def topic_id(self) -> int:
        """The topic number that the Bot API expects; 0 for no topic.

        General is 0 too: it has the number 1 in links, but none in calls.
        """
        number = int(self.topic) if self.topic.isascii() and self.topic.isdigit() else 0
        return number if number > 1 else 0

    @property
    def configured(self) -> bool:
        """True if Telegram is enabled and has both a token and a valid chat."""
        return self.enabled and bool(self.token) and self.chat_id != 0

    @classmethod
    def from_env(cls, env: Environment) -> Self:
        token = env("TELEGRAM_BOT_TOKEN", default="").strip()
        return cls(
            token=token,
            chat=env("TELEGRAM_CHAT_ID", default="").strip(),
            topic=env("TELEGRAM_TOPIC_ID", default="").strip(),
            enabled=env.switch("TELEGRAM_ENABLED", default=bool(token)),
            api_url=env("TELEGRAM_API_URL", default="").rstrip("/") or OFFICIAL_API,
            mode=env("TELEGRAM_MODE", default="") or POLLING,
            webhook_secret=env("TELEGRAM_WEBHOOK_SECRET", default=""),
            connect_timeout=timedelta(seconds=5),
            request_timeout=timedelta(milliseconds=env.integer("TELEGRAM_REQUEST_TIMEOUT_MS", default=30_000, least=1)),
            retries=env.integer("TELEGRAM_RETRY_MAX_ATTEMPTS", default=3),
            first_delay=timedelta(milliseconds=env.integer("TELEGRAM_RETRY_INITIAL_DELAY_MS", default=1_000)),
            longest_delay=timedelta(milliseconds=env.integer("TELEGRAM_RETRY_MAX_DELAY_MS", default=16_000)),
            jitter=env.switch("TELEGRAM_RETRY_JITTER", default=True),
            retry_on=frozenset(
                env.integers("TELEGRAM_RETRY_ON", default=(429, 500, 502, 503, 504), least=100, most=599)
            ),
            breaker=BreakerSettings(
                consecutive_failures=env.integer("CIRCUIT_BREAKER_CONSECUTIVE_FAILURES", default=5, least=1),
                failure_rate=env.number("CIRCUIT_BREAKER_FAILURE_RATE", default=0.5, most=1),
                minimum_calls=env.integer("CIRCUIT_BREAKER_MINIMUM_CALLS", default=10, least=1),
                window=timedelta(seconds=env.number("CIRCUIT_BREAKER_WINDOW_SECONDS", default=60)),
                pause=timedelta(seconds=env.number("CIRCUIT_BREAKER_BREAK_SECONDS", default=30)),
            ),
        )


def webhook_url() -> str:
    """Return the URL that Telegram calls in webhook mode."""
    return str(settings.ORCHESTRA.public_url).rstrip("/") + HOOK_PATH
