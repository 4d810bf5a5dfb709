"""Limits on how often messages are sent to a chat, and pauses that Telegram requests.

Pure except for the clock.

Bot API, flood control: about 1 message a second in a chat (short bursts pass), 20 a minute in a
group, 30 a second over all chats. Edits count too.
"""

import threading
import time
from collections import defaultdict, deque
from collections.abc import Callable

Window = tuple[int, float]
"""Number of messages, and seconds within which they may be sent."""

# slightly longer than Telegram's windows, because Telegram counts when a message arrives
BURST: Window = (5, 6.0)
GROUP_MINUTE: Window = (20, 62.0)
ALL_CHATS_WINDOW: Window = (25, 1.2)
ALL_CHATS = 0
RATE_LIMITED = ("send", "edit", "copy", "forward")


class RateLimiter:
    """Recent messages and requested pauses of one bot. Safe from any thread."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._lock = threading.Lock()
        self._sent: defaultdict[int, deque[float]] = defaultdict(deque)
        self._quiet_until: defaultdict[int, float] = defaultdict(float)

    def reserve(self, chat: int) -> float:
        """Reserve one message or edit in ``chat`` and return 0.

        Otherwise return the seconds until one is allowed.
        """
        with self._lock:
            wait_s = self._seconds_until_free(chat)
            if not wait_s:
                for key in (chat, ALL_CHATS):
                    self._sent[key].append(self._clock())
            return wait_s

    def pause_chat(self, chat: int, seconds: float) -> None:
        """Block ``chat`` for so many seconds, as Telegram requested; 0 stands for every chat."""
        with self._lock:
            self._quiet_until[chat] = max(self._quiet_until[chat], self._clock() + seconds)

    def seconds_until_free(self, chat: int) -> float:
        """Return the seconds until one more message may go to ``chat``."""
        with self._lock:
            return self._seconds_until_free(chat)

    def remaining(self, chat: int) -> int:
        """Return how many more messages the chat accepts this minute.

        Private chats have no such limit.
        """
        if chat >= 0:
            return 1000
        most, seconds = GROUP_MINUTE
        with self._lock:
            horizon = self._clock() - seconds
            return most - sum(at > horizon for at in self._sent[chat])

    def _seconds_until_free(self, chat: int) -> float:
        now = self._clock()
        quiet_s = max(self._quiet_until[chat], self._quiet_until[ALL_CHATS]) - now
        return max(0.0, quiet_s, *(self._window_wait_s(key, window, now) for key, window in self._windows(chat)))

    def _windows(self, chat: int) -> list[tuple[int, Window]]:
        group = [(chat, GROUP_MINUTE)] if chat < 0 else []
        return [(ALL_CHATS, ALL_CHATS_WINDOW), (chat, BURST), *group]

    def _window_wait_s(self, key: int, window: Window, now: float) -> float:
        most, seconds = window
        sent = self._sent[key]
        while sent and sent[0] < now - GROUP_MINUTE[1]:
            sent.popleft()
        return max(0.0, sent[-most] + seconds - now) if len(sent) >= most else 0.0


def is_rate_limited(method: str) -> bool:
    """Return True if Telegram counts calls of ``method`` against its limits."""
    return method.startswith(RATE_LIMITED) and method != "sendChatAction"
