"""The Bot API over HTTP: one call, its answer or one of a few errors."""

from typing import Any


class BotApi:
    """Calls go to ``{url}/bot{token}/{method}``; every one is timed, counted, paced and guarded by the breaker."""

    def call(self, method: str, **params: Any) -> Any:
        """``result`` of the answer; quick repetitions (1, 2, 4 … 16 s) are made in here. ``None`` params are left out.

        A value ``(file name, bytes)`` is uploaded. "Message is not modified" is a success.

        Raises:
            BotApiError: one of the family in ``escalation.errors``.
        """
        return self.once(method, **params)

    def once(self, method: str, *, timeout_s: float | None = None, **params: Any) -> Any:
        """As ``call``, without repetitions; for what is not worth waiting for, such as the answer to a press."""
        raise NotImplementedError
