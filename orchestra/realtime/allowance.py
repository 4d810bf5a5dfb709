"""How many messages a socket may send."""

import time

BURST = 400
A_SECOND = 50.0


class Allowance:
    """A bucket of ``BURST`` messages that fills again by ``A_SECOND``."""

    def __init__(self) -> None:
        self._left = float(BURST)
        self._at = time.monotonic()

    def spend(self) -> bool:
        """Whether one more message is within the allowance."""
        now = time.monotonic()
        self._left = min(BURST, self._left + (now - self._at) * A_SECOND)
        self._at = now
        self._left -= 1
        return self._left >= 0
