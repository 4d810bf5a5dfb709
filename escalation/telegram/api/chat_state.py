"""Whether our chat takes messages; and once it refused them, when to look again.

Rights come back without a word of Telegram's: a reopened topic, permissions of the group. So while the channel is off
it is tried again, slowly, and at once when there is a sign that something changed.
"""

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

from escalation.errors import ChatUnusable, Refused, TokenRefused
from escalation.telegram.api.error_mapping import is_lost
from escalation.telegram.api.refusals import cure_for

FIRST_PROBE_S, LONGEST_PROBE_INTERVAL_S = 30.0, 300.0
REFUSALS_BEFORE_PROBE = 3
"""Messages in a row that Telegram refused in every form: then the chat itself is tried."""


@dataclass(slots=True)
class ChatState:
    """``off`` says why nothing can be sent until somebody mends it; empty if all is well. Safe from any thread.

    ``lost``: edits fail, too. ``token_refused``: nothing works until the process starts with another token.
    """

    clock: Callable[[], float] = time.monotonic
    off: str = ""
    lost: bool = False
    token_refused: bool = False
    _refusals: int = 0
    _probe_requested: bool = False
    _probe_at: float = 0.0
    _probe_interval_s: float = FIRST_PROBE_S
    _local: threading.local = field(default_factory=threading.local)

    def turn_off(self, refused: Refused) -> bool:
        """Note why nothing can be sent; False if that was known. Another reason than before takes its place."""
        why = f"Telegram is off: {describe_refusal(refused)} ({refused.detail}). {cure_for(refused.detail)}"
        if self.token_refused or why == self.off:
            return False
        if not self.off:
            self._probe_interval_s = FIRST_PROBE_S
            self._probe_at = self.clock() + self._probe_interval_s
        self.token_refused = isinstance(refused, TokenRefused)
        self.lost = is_lost(refused.description or refused.detail)
        self.off = why
        return True

    def restore_off(self, why: str) -> None:
        """The process before this one left it off: look at once."""
        self.off = why
        self.lost = bool(why) and is_lost(why)

    def turn_on(self) -> None:
        self.off, self.lost, self.token_refused, self._refusals, self._probe_requested = "", False, False, 0, False

    def refusal_for(self, *, ours: bool, to_send: bool) -> Refused | None:
        """The error for a call that would be made in vain; ``ours``: to our chat and topic."""
        if not self.off or getattr(self._local, "probing", False):
            return None
        if self.token_refused:
            return TokenRefused(self.off)
        return ChatUnusable(self.off) if ours and (to_send or self.lost) else None

    def count_refusal(self) -> None:
        """A message was refused in every form: it may be the message, or the chat."""
        self._refusals += 1
        if self._refusals >= REFUSALS_BEFORE_PROBE:
            self.request_probe()

    def record_success(self) -> None:
        """A message was taken."""
        self._refusals = 0

    def request_probe(self) -> None:
        """Something changed, or is in doubt: look the next time somebody can."""
        self._probe_requested = True

    @property
    def is_probe_due(self) -> bool:
        """Whether it is time to try the chat again."""
        if self.token_refused:
            return False
        return self._probe_requested or bool(self.off and self.clock() >= self._probe_at)

    @contextmanager
    def probing(self) -> Iterator[None]:
        """This thread tries the chat, whatever is known of it; the next look comes later than the last."""
        self._probe_requested = False
        self._probe_at = self.clock() + self._probe_interval_s
        self._probe_interval_s = min(2 * self._probe_interval_s, LONGEST_PROBE_INTERVAL_S)
        self._local.probing = True
        try:
            yield
        finally:
            self._local.probing = False


def describe_refusal(refused: Refused) -> str:
    """What was refused, in a few words."""
    return "the token is wrong or revoked" if isinstance(refused, TokenRefused) else "the chat cannot be written to"
