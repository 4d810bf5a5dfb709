"""Whether our chat accepts messages, and when to probe it after a refusal.

Telegram does not announce that a topic was reopened or that permissions of a group changed. So the
chat is probed at growing intervals while the channel is off, and at once after a sign of a change.
"""

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

from escalation.errors import ChatUnusable, Refused, TokenRefused
from escalation.telegram.api.error_mapping import cure_for, is_lost

FIRST_PROBE_S, LONGEST_PROBE_INTERVAL_S = 30.0, 300.0
REFUSALS_BEFORE_PROBE = 3
"""After so many consecutive messages that Telegram refused in every form, the chat is probed."""


@dataclass(slots=True)
class ChatState:
    """``off`` is the reason why nothing can be sent until an operator fixes it.

    It is empty while the chat works. Safe from any thread.

    ``lost``: edits fail too. ``token_refused``: no call works until the process starts with another
    token.
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
        """Record the reason of a refusal.

        Return False if it is known. A different reason replaces the former one.
        """
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
        """Take over the ``off`` reason of the previous process, and probe at once."""
        self.off = why
        self.lost = bool(why) and is_lost(why)

    def turn_on(self) -> None:
        self.off, self.lost, self.token_refused, self._refusals, self._probe_requested = "", False, False, 0, False

    def refusal_for(self, *, ours: bool, to_send: bool) -> Refused | None:
        """Return the error for a call that cannot succeed, or None.

        ``ours``: it goes to our chat and topic.
        """
        if not self.off or getattr(self._local, "probing", False):
            return None
        if self.token_refused:
            return TokenRefused(self.off)
        return ChatUnusable(self.off) if ours and (to_send or self.lost) else None

    def count_refusal(self) -> None:
        """Count a message that was refused in every form.

        The message or the chat may be the cause.
        """
        self._refusals += 1
        if self._refusals >= REFUSALS_BEFORE_PROBE:
            self.request_probe()

    def record_success(self) -> None:
        """Record that the chat accepted a message."""
        self._refusals = 0

    def request_probe(self) -> None:
        """Request a probe at the next opportunity, because something changed or is in doubt."""
        self._probe_requested = True

    @property
    def is_probe_due(self) -> bool:
        """True if the chat should be probed now."""
        if self.token_refused:
            return False
        return self._probe_requested or bool(self.off and self.clock() >= self._probe_at)

    @contextmanager
    def probing(self) -> Iterator[None]:
        """Let this thread call the chat regardless of its state.

        Double the interval to the next probe.
        """
        self._probe_requested = False
        self._probe_at = self.clock() + self._probe_interval_s
        self._probe_interval_s = min(2 * self._probe_interval_s, LONGEST_PROBE_INTERVAL_S)
        self._local.probing = True
        try:
            yield
        finally:
            self._local.probing = False


def describe_refusal(refused: Refused) -> str:
    """Return in a few words what was refused."""
    return "the token is wrong or revoked" if isinstance(refused, TokenRefused) else "the chat cannot be written to"
