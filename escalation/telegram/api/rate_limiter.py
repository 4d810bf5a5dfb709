"""How often a chat may be written to: Telegram's limits, and being left alone when it says so. Pure but for the clock.

Bot API, flood control: about 1 message a second in a chat (short bursts pass), 20 a minute in a group, 30 a second in
all; edits count too.
"""

import threading
import time
from collections import defaultdict, deque
from collections.abc import Callable

Window = tuple[int, float]
"""So many messages within so many seconds."""

# a little longer than the rules: what counts is when a message arrives there
BURST: Window = (5, 6.0)
A_MINUTE_IN_A_GROUP: Window = (20, 62.0)
IN_ALL: Window = (25, 1.2)
EVERYWHERE = 0
PACED = ("send", "edit", "copy", "forward")


class Pacer:
    """What was sent lately, and who wants to be left alone; one per bot, safe from any thread."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._lock = threading.Lock()
        self._sent: defaultdict[int, deque[float]] = defaultdict(deque)
        self._quiet_until: defaultdict[int, float] = defaultdict(float)

    def reserve(self, chat: int) -> float:
        """Take the place of one message or edit to ``chat``, and 0; or the seconds until there is a place."""
        with self._lock:
            wait_s = self._wait_for(chat)
            if not wait_s:
                for key in (chat, EVERYWHERE):
                    self._sent[key].append(self._clock())
            return wait_s

    def leave_alone(self, chat: int, seconds: float) -> None:
        """Telegram wants nothing sent to ``chat`` for so long; 0 stands for every chat."""
        with self._lock:
            self._quiet_until[chat] = max(self._quiet_until[chat], self._clock() + seconds)

    def wait_for(self, chat: int) -> float:
        """Seconds until one more message may go to ``chat``."""
        with self._lock:
            return self._wait_for(chat)

    def room(self, chat: int) -> int:
        """How many more messages this minute has room for; a private chat has no such limit."""
        if chat >= 0:
            return 1000
        most, seconds = A_MINUTE_IN_A_GROUP
        with self._lock:
            horizon = self._clock() - seconds
            return most - sum(at > horizon for at in self._sent[chat])

    def _wait_for(self, chat: int) -> float:
        now = self._clock()
        quiet_s = max(self._quiet_until[chat], self._quiet_until[EVERYWHERE]) - now
        return max(0.0, quiet_s, *(self._wait(key, window, now) for key, window in self._windows(chat)))

    def _windows(self, chat: int) -> list[tuple[int, Window]]:
        group = [(chat, A_MINUTE_IN_A_GROUP)] if chat < 0 else []
        return [(EVERYWHERE, IN_ALL), (chat, BURST), *group]

    def _wait(self, key: int, window: Window, now: float) -> float:
        most, seconds = window
        sent = self._sent[key]
        while sent and sent[0] < now - A_MINUTE_IN_A_GROUP[1]:
            sent.popleft()
        return max(0.0, sent[-most] + seconds - now) if len(sent) >= most else 0.0


def is_paced(method: str) -> bool:
    """Whether Telegram counts calls of ``method`` against its limits."""
    return method.startswith(PACED) and method != "sendChatAction"
