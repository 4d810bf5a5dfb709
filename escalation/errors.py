"""Errors that can occur between Orchestra and the person it wants to reach."""

from orchestra.errors import OrchestraError


class DeliveryError(OrchestraError):
    """A channel did not accept a message."""

    code = "delivery_failed"


class BotApiError(DeliveryError):
    """A Bot API call failed. ``detail`` contains neither the token nor a URL."""

    code = "telegram_failed"


class NotReached(BotApiError):
    """The network, a proxy or Telegram itself failed.

    ``may_have_succeeded``: Telegram may have carried out the request before the connection broke.
    ``status`` is the HTTP status, or None if no valid response arrived.
    """

    def __init__(self, detail: str, *, may_have_succeeded: bool = False, status: int | None = None) -> None:
        super().__init__(detail)
        self.may_have_succeeded = may_have_succeeded
        self.status = status


class TooManyRequests(BotApiError):
    """Telegram, or our own rate limiter, accepts no calls for ``retry_after_s``.

    The breaker does not count this as a failure.
    """

    def __init__(self, detail: str, *, retry_after_s: float) -> None:
        super().__init__(detail)
        self.retry_after_s = retry_after_s


class CircuitOpen(BotApiError):
    """The circuit breaker is open, so the call was not made."""

    code = "circuit_open"


class PollerConflict(BotApiError):
    """409: another process polls with the same token, or a webhook is set."""


class Refused(BotApiError):
    """400, 404 or 413: the same call can never succeed. ``description`` is Telegram's own text."""

    def __init__(self, detail: str, *, error_code: int = 400, description: str = "") -> None:
        super().__init__(detail)
        self.error_code = error_code
        self.description = description


class ChatMoved(Refused):
    """The group became a supergroup; ``chat`` is its new id.

    `BotApi` follows the move and remembers it.
    """

    def __init__(self, detail: str, *, chat: int) -> None:
        super().__init__(detail)
        self.chat = chat


class ChatUnusable(Refused):
    """The bot was blocked or removed, or the chat does not exist.

    An administrator has to fix that first.
    """


class TokenRefused(Refused):
    """The token is wrong or revoked. No call can succeed until an administrator replaces it."""
