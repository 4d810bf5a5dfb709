"""What can go wrong between us and a person."""

from typing import ClassVar

from orchestra.errors import OrchestraError


class DeliveryError(OrchestraError):
    """A channel did not take a message."""

    code = "delivery_failed"


class BotApiError(DeliveryError):
    """A call to the Bot API did not succeed; ``detail`` holds neither the token nor a URL."""

    code = "telegram_failed"
    again: ClassVar[bool] = False
    """Whether the same call may succeed later."""


class NotReached(BotApiError):
    """The network, a proxy or Telegram itself failed. ``perhaps_done``: the request may have been carried out.

    ``status`` is the HTTP status, None if there was no proper answer.
    """

    again = True

    def __init__(self, detail: str, *, may_have_succeeded: bool = False, status: int | None = None) -> None:
        super().__init__(detail)
        self.may_have_succeeded = may_have_succeeded
        self.status = status


class TooManyRequests(BotApiError):
    """Telegram, or our own pacing, wants to be left alone for ``retry_after_s``. Not a failure for the breaker."""

    again = True

    def __init__(self, detail: str, *, retry_after_s: float) -> None:
        super().__init__(detail)
        self.retry_after_s = retry_after_s


class CircuitOpen(BotApiError):
    """Telegram failed too often just now; the call was not made."""

    code = "circuit_open"
    again = True


class PollerConflict(BotApiError):
    """409: somebody else polls with this token, or a webhook is set."""

    again = True


class Refused(BotApiError):
    """400, 404, 413: this very call will never succeed. ``description`` is Telegram's own."""

    def __init__(self, detail: str, *, error_code: int = 400, description: str = "") -> None:
        super().__init__(detail)
        self.error_code = error_code
        self.description = description


class ChatMoved(Refused):
    """The group became a supergroup; ``chat`` is its new id. `BotApi` follows by itself and remembers."""

    def __init__(self, detail: str, *, chat: int) -> None:
        super().__init__(detail)
        self.chat = chat


class ChatUnusable(Refused):
    """The bot was blocked or removed, or the chat does not exist: nothing goes there until somebody mends it."""


class TokenRefused(Refused):
    """The token is wrong or revoked: nothing works until somebody mends it."""
