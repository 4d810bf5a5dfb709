"""One socket's subscription to one topic: the number up to which it was sent."""

from collections.abc import Callable
from typing import Protocol

from orchestra.realtime.feeds import ListFeed, LogFeed
from orchestra.realtime.wire import message, text

ROWS_IN_A_SNAPSHOT = 200
LONGEST_DELTA = 64 * 1024  # characters that wait for a socket; the rest is dropped, since the entry follows anyway


class Subscription(Protocol):
    sees_all: bool
    """Whether it shows rows of all owners, which takes more than an asker's right to its own rows."""

    async def next(self) -> list[str]:
        """Return the messages to send now, a bounded number; none when there is nothing new."""

    def end(self) -> None:
        """Leave the feed."""


class ListSubscription:
    """Patches of a list topic, numbered for this socket."""

    def __init__(self, feed: ListFeed, owner: str | None, wake: Callable[[], None]) -> None:
        self.feed = feed
        self.seen = feed.version
        self.wake = wake
        self.sees_all = owner is None
        self._owner = owner
        self._seq = 0
        self._head = text({"type": "event", "topic": feed.name})[:-1]
        feed.subscribers.add(self)

    def snapshot(self, ref: object) -> str:
        """Return the listed rows as of the version from which the patches go on."""
        rows = self.feed.snapshot(self._owner)
        items = ",".join(published.payload() for published in rows[:ROWS_IN_A_SNAPSHOT])
        head = message("snapshot", ref, topic=self.feed.name, count=len(rows), last_seq=self._seq)
        return f'{head[:-1]},"items":[{items}]}}'

    async def next(self) -> list[str]:
        newer = self.feed.changes_after(self.seen, self._owner)
        self.seen = self.feed.version
        return [self._patch(published.kind, published.payload()) for published in newer]

    def end(self) -> None:
        self.feed.subscribers.discard(self)

    def _patch(self, kind: str, payload: str) -> str:
        self._seq += 1
        return f'{self._head},"seq":{self._seq},"kind":"{kind}","payload":{payload}}}'


class LogSubscription:
    """Entries of a log after a number, each once and in order; between them streaming text."""

    def __init__(self, feed: LogFeed, after: int, wake: Callable[[], None]) -> None:
        self.feed = feed
        self.seen = after
        self.wake = wake
        self.sees_all = True
        self._text = ""
        feed.subscribers.add(self)

    def add_text(self, text: str) -> None:
        """Queue streaming text; it is dropped if the socket is slow, and never repeated."""
        if len(self._text) + len(text) <= LONGEST_DELTA:
            self._text += text
            self.wake()

    async def next(self) -> list[str]:
        messages = []
        if self._text:
            messages.append(message("delta", topic=self.feed.name, text=self._text))
            self._text = ""
        entries = await self.feed.entries_after(self.seen)
        if entries:
            self.seen = entries[-1][0]
        return [*messages, *(entry for _, entry in entries)]

    def end(self) -> None:
        self.feed.subscribers.discard(self)
