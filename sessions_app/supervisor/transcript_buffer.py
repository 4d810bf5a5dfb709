"""Collects the transcript of one run until it is written."""

import time
from collections.abc import Callable
from functools import partial
from uuid import UUID

from django.conf import settings

from orchestra.realtime import hub
from sessions_app.conf import MEGABYTE
from sessions_app.errors import SessionFull
from sessions_app.models import Event
from sessions_app.supervisor import database_access
from sessions_app.supervisor.database_access import UNAVAILABLE, Unavailable
from sessions_app.supervisor.outcomes import Outcome, failed
from sessions_app.transcript import writer
from sessions_app.transcript.writer import Line

FLUSH_ROWS = 200
FLUSH_S = 0.2
DELTA_S = 0.1
MOST_UNWRITTEN_ROWS = 2000  # while more are unwritten, the agent's output is not read


class TranscriptBuffer:
    """Lines that are not written yet, and text that is shown to viewers while the model writes it."""

    def __init__(self, session_id: UUID, fence: int, *, stored_bytes: int) -> None:
        self.session_id = session_id
        self.fence = fence
        self.stored_bytes = stored_bytes
        self.flush_at = float("inf")
        self.publish_at = float("inf")
        self._lines: list[Line] = []
        self._text = ""

    @property
    def is_empty(self) -> bool:
        return not self._lines

    @property
    def is_backed_up(self) -> bool:
        """Whether so much is unwritten that the agent's output should not be read."""
        return len(self._lines) > MOST_UNWRITTEN_ROWS

    def add(self, *lines: Line) -> bool:
        """Keep lines to be written. Return False once the session has stored as much as it may.

        From then on only lines about its approvals are kept.
        """
        cap = settings.AGENTS.session_cap_bytes
        if self.stored_bytes > cap:
            lines = tuple(line for line in lines if line[0] == Event.Kind.APPROVAL)
        if lines and not self._lines:
            self.flush_at = time.monotonic() + FLUSH_S
        self._lines.extend(lines)
        self.stored_bytes += writer.size_of(lines)
        return self.stored_bytes <= cap

    def flush_soon(self) -> None:
        """Be due for a flush although there may be no lines."""
        self.flush_at = min(self.flush_at, time.monotonic() + FLUSH_S)

    def is_due(self, now: float) -> bool:
        return now >= self.flush_at or len(self._lines) >= FLUSH_ROWS

    def write(self, run: Callable[[Callable[[], int]], int | Unavailable]) -> None:
        """Write all lines, at most ``FLUSH_ROWS`` in a transaction, each of which ``run`` carries
        out.

        Lines that cannot be written are kept and tried again later.

        Raises:
            StaleFence: the session has another supervisor by now, or is gone.
        """
        while self._lines:
            batch = self._lines[:FLUSH_ROWS]
            if run(partial(writer.append, self.session_id, batch, fence=self.fence)) is UNAVAILABLE:
                self.flush_at = time.monotonic() + database_access.RETRY_S
                return
            del self._lines[: len(batch)]
        self.flush_at = float("inf")

    def add_text(self, text: str) -> None:
        """Show a piece of text to viewers soon; it is not stored."""
        self._text += text
        self.publish_at = min(self.publish_at, time.monotonic() + DELTA_S)

    def publish_text(self) -> None:
        """Send the collected pieces of text to viewers."""
        hub.publish(f"session:{self.session_id}", {"type": "delta", "text": self._text})
        self._text, self.publish_at = "", float("inf")


def session_full_outcome() -> Outcome:
    """The end of a turn whose session has stored as much as it may."""
    megabytes = settings.AGENTS.session_cap_bytes / MEGABYTE
    detail = (
        f"The transcript has grown beyond {megabytes:g} MB (AGENT_MAX_SESSION_MEGABYTES); what follows is not kept."
    )
    return failed(SessionFull.code, detail)
