"""What one socket may send."""

import time

LARGEST_MESSAGE = 1024 * 1024  # bytes; anything longer goes through REST
LARGEST_MESSAGE_BEFORE_SIGN_IN = 8 * 1024  # bytes
COUNTED_AS_ONE = 16 * 1024  # bytes; a longer message counts as several, since the event loop parses it
BURST = 400
BURST_BEFORE_SIGN_IN = 20  # each answer costs a thread's time
MESSAGES_PER_SECOND = 50.0
FRAME_BURST = 4000  # pings and fragments, too, and what comes after the close frame
FRAMES_PER_SECOND = 200.0


class RateLimiter:
    """A token bucket of ``burst`` messages that refills by ``per_second``."""

    def __init__(self, burst: int = BURST, per_second: float = MESSAGES_PER_SECOND) -> None:
        self._burst = float(burst)
        self._per_second = per_second
        self._tokens = self._burst
        self._refilled_at = time.monotonic()

    def take(self, tokens: int = 1) -> bool:
        """Take ``tokens``; return False if there are not as many."""
        now = time.monotonic()
        self._tokens = min(self._burst, self._tokens + (now - self._refilled_at) * self._per_second)
        self._refilled_at = now
        self._tokens -= tokens
        return self._tokens >= 0
