"""What one socket may send."""

import time

LARGEST_MESSAGE = 1024 * 1024  # bytes; anything longer goes through REST
LARGEST_MESSAGE_BEFORE_SIGN_IN = 8 * 1024  # bytes
BURST = 400
MESSAGES_PER_SECOND = 50.0


class RateLimiter:
    """A token bucket of ``BURST`` messages that refills by ``MESSAGES_PER_SECOND``."""

    def __init__(self) -> None:
        self._tokens = float(BURST)
        self._refilled_at = time.monotonic()

    def take(self) -> bool:
        """Take one token; return False if the bucket is empty."""
        now = time.monotonic()
        self._tokens = min(BURST, self._tokens + (now - self._refilled_at) * MESSAGES_PER_SECOND)
        self._refilled_at = now
        self._tokens -= 1
        return self._tokens >= 0
