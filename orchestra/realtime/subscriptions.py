"""One socket's place in one topic: a number, up to which it was told."""

from collections.abc import Callable
from typing import Protocol

from orchestra.realtime.feeds import ListFeed, LogFeed
from orchestra.realtime.wire import message, text

ROWS_IN_A_SNAPSHOT = 200
LONGEST_DELTA = 64 * 1024  # characters that wait for a socket; more is dropped, the entry follows anyway


class Subscription(Protocol):
    sees_all: bool
    """Whether it shows rows of all owners, which takes more than an asker's right to its own rows."""

    async def next(self) -> list[str]:
        """The messages to send now, a bounded number; none when there is nothing new."""

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
        feed.viewers.add(self)

    def snapshot(self, ref: object) -> str:
        """What is listed, as of the version from which the patches go on."""
        rows = self.feed.snapshot(self._owner)
        items = ",".join(told.payload() for told in rows[:ROWS_IN_A_SNAPSHOT])
        head = message("snapshot", ref, topic=self.feed.name, count=len(rows), last_seq=self._seq)
        return f'{head[:-1]},"items":[{items}]}}'

    async def next(self) -> list[str]:
        newer = self.feed.since(self.seen, self._owner)
        self.seen = self.feed.version
        return [self._patch(told.kind, told.payload()) for told in newer]

    def end(self) -> None:
        self.feed.viewers.discard(self)

    def _patch(self, kind: str, payload: str) -> str:
        self._seq += 1
        return f'{self._head},"seq":{self._seq},"kind":"{kind}","payload":{payload}}}'


class LogSubscription:
    """Entries of a log after a number, each once and in order; between them text as it is said."""

    def __init__(self, feed: LogFeed, after: int, wake: Callable[[], None]) -> None:
        self.feed = feed
        self.seen = after
        self.wake = wake
        self.sees_all = True
        self._said = ""
        feed.viewers.add(self)

    def say(self, words: str) -> None:
        """Text on its way: for those who keep up, never repeated."""
        if len(self._said) + len(words) <= LONGEST_DELTA:
            self._said += words
            self.wake()

    async def next(self) -> list[str]:
        frames = []
        if self._said:
            frames.append(message("delta", topic=self.feed.name, text=self._said))
            self._said = ""
        entries = await self.feed.after(self.seen)
        if entries:
            self.seen = entries[-1][0]
        return [*frames, *(frame for _, frame in entries)]

    def end(self) -> None:
        self.feed.viewers.discard(self)
