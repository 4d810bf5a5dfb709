"""What this process knows of the topics that have subscribers: read once, shared by all sockets.

A notification marks what to read again. Every few seconds the rows are compared with what was published, so a
lost notification costs that long. A socket has no queue, only the number up to which it was sent: a slow one
gets the newest state of each row, or the log from where it was. Feeds live on the event loop; threads read
the database.
"""

import asyncio
import contextlib
import logging
import time
from bisect import bisect_right
from collections.abc import Sequence
from dataclasses import dataclass, replace
from operator import itemgetter
from typing import Protocol

from django.db import Error as DatabaseError

from orchestra.db.async_notify import in_thread
from orchestra.errors import Unavailable
from orchestra.realtime.registry import ListTopic, LogSource, Row, RowSource
from orchestra.realtime.wire import joined, text

logger = logging.getLogger(__name__)

COMPARE_S = 5.0
RETRY_S = 1.0
FRESH_S = 1.0
PATIENCE_S = 10.0
ROWS_AT_ONCE = 200
ENTRIES_AT_ONCE = 50
BETWEEN_READS_S = 0.1  # the least time between two reads of a log: at most ten bursts a second, each of any length
LONGEST_TAIL = 1000  # entries, and
BIGGEST_TAIL = 2 * 1024 * 1024  # characters, of a log kept for subscribers that are nearly up to date


class Subscriber(Protocol):
    """A subscription to a feed."""

    @property
    def seen(self) -> int:
        """The number up to which it was sent."""

    def wake(self) -> None:
        """There may be something new. Must return at once."""


class LogSubscriber(Subscriber, Protocol):
    """A subscription to a log, and to the text that streams between its entries."""

    def add_text(self, text: str) -> None: ...


@dataclass(slots=True)
class PublishedRow:
    """A row as of the patch that published it; ``version`` is 0 if the row was there before the first subscriber."""

    row: Row
    version: int
    kind: str
    _payload: str = ""
    _fresh_until: float = 0.0

    def payload(self) -> str:
        """Return the row's JSON object; its volatile fields are computed once a second, not once a socket."""
        now = time.monotonic()
        if now >= self._fresh_until:
            self._payload = joined(self.row.json_text, self.row.volatile_fields())
            self._fresh_until = now + FRESH_S
        return self._payload


class ListFeed:
    """One list topic."""

    def __init__(self, name: str, topic: ListTopic) -> None:
        self.name = name
        self.subscribers: set[Subscriber] = set()
        self.version = 0
        self._topic = topic
        self._published: dict[tuple[RowSource, str], PublishedRow] = {}  # in the order of their versions
        self._dirty: dict[RowSource, set[str]] = {source: set() for source in topic.sources}
        self._delisted: dict[RowSource, set[str]] = {}  # listed until the last comparison
        self._has_work = asyncio.Event()
        self._is_loaded = False
        self._comparison: asyncio.Future[None] | None = None
        self._task = asyncio.create_task(self._follow())

    async def wait_until_current(self) -> None:
        """Wait until a comparison that began after this call is published; simultaneous callers share one.

        Raises:
            Unavailable: the database does not answer.
        """
        if self._comparison is None:
            self._comparison = asyncio.get_running_loop().create_future()
            self._has_work.set()
        try:
            await asyncio.wait_for(asyncio.shield(self._comparison), PATIENCE_S)
        except TimeoutError:
            raise Unavailable("The database does not answer just now.") from None

    def on_notification(self, topic: str, key: str) -> None:
        for source, keys in self._dirty.items():
            published = self._published.get((source, key))
            if source.is_affected_by(topic, published.row if published else None):
                keys.add(key)
                self._has_work.set()

    def snapshot(self, owner: str | None) -> list[PublishedRow]:
        """Return the listed rows, the most urgent first; only those of ``owner`` if one is given."""
        listed = [each for each in self._published.values() if each.row.is_listed and owner in (None, each.row.owner)]
        return sorted(listed, key=lambda each: each.row.sort_key)

    def changes_after(self, version: int, owner: str | None) -> list[PublishedRow]:
        """Return the rows published after ``version``, oldest first."""
        newer: list[PublishedRow] = []
        for published in reversed(self._published.values()):
            if published.version <= version:
                break
            if owner in (None, published.row.owner):
                newer.append(published)
        return newer[::-1]

    def end(self) -> None:
        self._task.cancel()

    async def _follow(self) -> None:
        compare_at, comparison = 0.0, None
        while True:
            try:
                comparison, self._comparison = self._comparison or comparison, None
                if comparison or time.monotonic() >= compare_at:
                    await self._compare()
                    compare_at = time.monotonic() + COMPARE_S
                await self._read_dirty()
                self._is_loaded = True
                if comparison:
                    comparison.set_result(None)
                    comparison = None
                with contextlib.suppress(TimeoutError):
                    await asyncio.wait_for(self._has_work.wait(), max(0.0, compare_at - time.monotonic()))
                self._has_work.clear()
            except Exception as error:
                log_failure(self.name, error)
                compare_at = 0.0
                await asyncio.sleep(RETRY_S)

    async def _compare(self) -> None:
        """Mark the rows dirty whose fingerprint is not the published one; forget closed rows that all were sent."""
        for source in self._topic.sources:
            fingerprints = await in_thread(source.fingerprints)
            mine = {key: published for (owner, key), published in self._published.items() if owner is source}
            dirty = self._dirty[source]
            dirty.update(
                key
                for key, fingerprint in fingerprints.items()
                if key not in mine or mine[key].row.fingerprint != fingerprint
            )
            self._delisted[source] = {
                key for key, published in mine.items() if published.row.is_listed and key not in fingerprints
            }
            dirty |= self._delisted[source]
            for key, published in mine.items():
                if not published.row.is_listed and key not in fingerprints and self._was_sent_to_all(published):
                    del self._published[source, key]

    def _was_sent_to_all(self, published: PublishedRow) -> bool:
        return all(published.version <= subscriber.seen for subscriber in self.subscribers)

    async def _read_dirty(self) -> None:
        for source, dirty in self._dirty.items():
            while dirty:
                keys = [dirty.pop() for _ in range(min(len(dirty), ROWS_AT_ONCE))]
                try:
                    found = await in_thread(source.rows, keys)
                except DatabaseError:
                    dirty.update(keys)
                    raise  # any other error is about these very keys; the next comparison decides on them
                self._publish(source, keys, found)

    def _publish(self, source: RowSource, keys: Sequence[str], found: Sequence[Row]) -> None:
        before = self.version
        for key in set(keys) - {row.key for row in found}:
            self._published.pop((source, key), None)
        delisted = self._delisted.get(source, set())
        for row in (replace(row, is_listed=False) if row.key in delisted else row for row in found):
            old = self._published.get((source, row.key))
            if old is not None and old.row.fingerprint == row.fingerprint:
                self._published[source, row.key] = PublishedRow(row, old.version, old.kind)
                continue
            if self._is_loaded:
                self.version += 1
            self._published.pop((source, row.key), None)
            kind = source.changed if old else source.created
            self._published[source, row.key] = PublishedRow(row, self.version, kind)
        if self.version != before:
            for subscriber in list(self.subscribers):
                subscriber.wake()


class LogFeed:
    """One log, such as a session's transcript, and the text that streams between its entries."""

    def __init__(self, name: str, key: str, log: LogSource, head: int) -> None:
        self.name = name
        self.key = key
        self.log = log
        self.head = head
        self.subscribers: set[LogSubscriber] = set()
        self._tail: list[tuple[int, str]] = []
        self._size = 0
        self._has_work = asyncio.Event()
        self._task = asyncio.create_task(self._follow())

    def read_soon(self) -> None:
        self._has_work.set()

    async def entries_after(self, number: int) -> list[tuple[int, str]]:
        """Return the next entries as numbers and messages; none if ``number`` is the newest."""
        if number >= self.head:
            return []
        if self._tail and number >= self._tail[0][0] - 1:
            return self._tail[bisect_right(self._tail, number, key=itemgetter(0)) :]
        return await in_thread(self._read, number)

    def end(self) -> None:
        self._task.cancel()

    def _read(self, after: int) -> list[tuple[int, str]]:
        head = text({"type": "event", "topic": self.name})[:-1]
        messages: list[tuple[int, str]] = []
        size = 0
        for number, fields in self.log.entries(self.key, after, ENTRIES_AT_ONCE):
            messages.append((number, f'{head},"seq":{number},{fields[1:]}'))
            size += len(fields)
            if size > BIGGEST_TAIL:  # the most that a socket holds while its client does not read
                break
        return messages

    async def _follow(self) -> None:
        while True:
            await self._has_work.wait()
            self._has_work.clear()
            try:
                while entries := await in_thread(self._read, self.head):
                    self._keep(entries)
                await asyncio.sleep(BETWEEN_READS_S)
            except Exception as error:
                log_failure(self.name, error)
                self._has_work.set()
                await asyncio.sleep(RETRY_S)

    def _keep(self, entries: list[tuple[int, str]]) -> None:
        self._tail += entries
        self._size += sum(len(message) for _, message in entries)
        while len(self._tail) > LONGEST_TAIL or (self._size > BIGGEST_TAIL and len(self._tail) > 1):
            dropped, self._tail = self._tail[: LONGEST_TAIL // 4], self._tail[LONGEST_TAIL // 4 :]
            self._size -= sum(len(message) for _, message in dropped)
        self.head = entries[-1][0]
        for subscriber in list(self.subscribers):
            subscriber.wake()


def log_failure(name: str, error: Exception) -> None:
    """Log why a topic could not be read; an unreachable database is a warning, not a bug."""
    if isinstance(error, DatabaseError):
        logger.warning("topic %s: the database does not answer (%s)", name, type(error).__name__)
    else:
        logger.error("topic %s could not be read; trying again", name, exc_info=error)
