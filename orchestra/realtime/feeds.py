"""What this process knows of the topics somebody looks at: read once, shared by all sockets.

A ring says what to read again; every few seconds the rows are compared with what was told, so a lost ring costs so
much. A socket holds no queue, only the number up to which it was told: one that reads slowly gets the newest state of
each row, or the log from where it was. All of this lives on the event loop; the database is read on threads.
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
from orchestra.realtime.registry import ListTopic, Log, Row, Rows
from orchestra.realtime.wire import joined, text

logger = logging.getLogger(__name__)

COMPARE_S = 5.0
RETRY_S = 1.0
FRESH_S = 1.0
PATIENCE_S = 10.0
LINGER_S = 30.0  # a topic that everybody left is kept so long
ROWS_AT_ONCE = 200
ENTRIES_AT_ONCE = 50
BETWEEN_READS_S = 0.1  # one log is read at most so often: ten bursts a second, each as long as it may be
LONGEST_TAIL = 1000  # entries, and
BIGGEST_TAIL = 2 * 1024 * 1024  # characters, of a log kept for those who follow closely


class Viewer(Protocol):
    """Somebody who follows a feed."""

    @property
    def seen(self) -> int:
        """Up to which number they were told."""

    def wake(self) -> None:
        """There may be something new; must return at once."""


class Listener(Viewer, Protocol):
    """Somebody who follows a log, and what is said in between."""

    def say(self, words: str) -> None:
        """Text on its way."""


@dataclass(slots=True)
class Told:
    """A row as of the patch that told it; 0 for rows that were there before anybody looked."""

    row: Row
    version: int
    kind: str
    _payload: str = ""
    _fresh_until: float = 0.0

    def payload(self) -> str:
        """The row's JSON object; what changes by itself is worked out once a second, not once a socket."""
        now = time.monotonic()
        if now >= self._fresh_until:
            self._payload, self._fresh_until = joined(self.row.text, self.row.passing()), now + FRESH_S
        return self._payload


class ListFeed:
    """One list topic."""

    def __init__(self, name: str, topic: ListTopic) -> None:
        self.name = name
        self.viewers: set[Viewer] = set()
        self.version = 0
        self._topic = topic
        self._told: dict[tuple[Rows, str], Told] = {}  # in the order of their versions
        self._dirty: dict[Rows, set[str]] = {rows: set() for rows in topic.sources}
        self._fallen: dict[Rows, set[str]] = {}  # listed until the last look
        self._rung = asyncio.Event()
        self._loaded = False
        self._awaited: asyncio.Future[None] | None = None
        self._task = asyncio.create_task(self._follow())

    async def compared(self) -> None:
        """Until everything told is what stood in the database after this call; those who wait at once share a look.

        Raises:
            Unavailable: the database does not answer.
        """
        if self._awaited is None:
            self._awaited = asyncio.get_running_loop().create_future()
            self._rung.set()
        try:
            await asyncio.wait_for(asyncio.shield(self._awaited), PATIENCE_S)
        except TimeoutError:
            raise Unavailable("The database does not answer just now.") from None

    def ring(self, topic: str, key: str) -> None:
        for rows, keys in self._dirty.items():
            told = self._told.get((rows, key))
            if rows.hears(topic, told.row if told else None):
                keys.add(key)
                self._rung.set()

    def snapshot(self, owner: str | None) -> list[Told]:
        """What is listed now, the most urgent first; only that of ``owner`` if one is given."""
        listed = [told for told in self._told.values() if told.row.listed and owner in (None, told.row.owner)]
        return sorted(listed, key=lambda told: told.row.rank)

    def since(self, version: int, owner: str | None) -> list[Told]:
        """What was told after ``version``, oldest first."""
        newer: list[Told] = []
        for told in reversed(self._told.values()):
            if told.version <= version:
                break
            if owner in (None, told.row.owner):
                newer.append(told)
        return newer[::-1]

    def end(self) -> None:
        self._task.cancel()

    async def _follow(self) -> None:
        compare_at, awaited = 0.0, None
        while True:
            try:
                awaited, self._awaited = self._awaited or awaited, None
                if awaited or time.monotonic() >= compare_at:
                    await self._compare()
                    compare_at = time.monotonic() + COMPARE_S
                await self._read_dirty()
                self._loaded = True
                if awaited:
                    awaited.set_result(None)
                    awaited = None
                with contextlib.suppress(TimeoutError):
                    await asyncio.wait_for(self._rung.wait(), max(0.0, compare_at - time.monotonic()))
                self._rung.clear()
            except Exception as error:
                log_failure(self.name, error)
                compare_at = 0.0
                await asyncio.sleep(RETRY_S)

    async def _compare(self) -> None:
        for rows in self._topic.sources:
            marks = await in_thread(rows.marks)
            mine = {key: told for (source, key), told in self._told.items() if source is rows}
            dirty = self._dirty[rows]
            dirty.update(key for key, mark in marks.items() if key not in mine or mine[key].row.mark != mark)
            self._fallen[rows] = {key for key, told in mine.items() if told.row.listed and key not in marks}
            dirty |= self._fallen[rows]
            for key, told in mine.items():
                if not told.row.listed and key not in marks and self._known_to_all(told):
                    del self._told[rows, key]

    def _known_to_all(self, told: Told) -> bool:
        return all(told.version <= viewer.seen for viewer in self.viewers)

    async def _read_dirty(self) -> None:
        for rows, dirty in self._dirty.items():
            while dirty:
                keys = [dirty.pop() for _ in range(min(len(dirty), ROWS_AT_ONCE))]
                try:
                    found = await in_thread(rows.rows, keys)
                except DatabaseError:
                    dirty.update(keys)
                    raise  # anything else is about these very keys, and comparing does without them
                self._take(rows, keys, found)

    def _take(self, rows: Rows, keys: Sequence[str], found: Sequence[Row]) -> None:
        before = self.version
        for key in set(keys) - {row.key for row in found}:
            self._told.pop((rows, key), None)
        fallen = self._fallen.get(rows, set())
        for row in (replace(row, listed=False) if row.key in fallen else row for row in found):
            old = self._told.get((rows, row.key))
            if old is not None and old.row.mark == row.mark:
                self._told[rows, row.key] = Told(row, old.version, old.kind)
                continue
            if self._loaded:
                self.version += 1
            self._told.pop((rows, row.key), None)
            kind = rows.changed if old else rows.created
            self._told[rows, row.key] = Told(row, self.version, kind)
        if self.version != before:
            for viewer in list(self.viewers):
                viewer.wake()


class LogFeed:
    """One log, such as a session's transcript, and what is said in between."""

    def __init__(self, name: str, key: str, log: Log, head: int) -> None:
        self.name = name
        self.key = key
        self.log = log
        self.head = head
        self.viewers: set[Listener] = set()
        self._tail: list[tuple[int, str]] = []
        self._size = 0
        self._rung = asyncio.Event()
        self._task = asyncio.create_task(self._follow())

    def ring(self) -> None:
        self._rung.set()

    async def after(self, number: int) -> list[tuple[int, str]]:
        """The next entries as messages, with their numbers; none if ``number`` is the newest."""
        if number >= self.head:
            return []
        if self._tail and number >= self._tail[0][0] - 1:
            return self._tail[bisect_right(self._tail, number, key=itemgetter(0)) :]
        return await in_thread(self._read, number)

    def end(self) -> None:
        self._task.cancel()

    def _read(self, after: int) -> list[tuple[int, str]]:
        head = text({"type": "event", "topic": self.name})[:-1]
        frames: list[tuple[int, str]] = []
        size = 0
        for number, fields in self.log.entries(self.key, after, ENTRIES_AT_ONCE):
            frames.append((number, f'{head},"seq":{number},{fields[1:]}'))
            size += len(fields)
            if size > BIGGEST_TAIL:  # a socket that does not read waits with no more than this in hand
                break
        return frames

    async def _follow(self) -> None:
        while True:
            await self._rung.wait()
            self._rung.clear()
            try:
                while entries := await in_thread(self._read, self.head):
                    self._keep(entries)
                await asyncio.sleep(BETWEEN_READS_S)
            except Exception as error:
                log_failure(self.name, error)
                self._rung.set()
                await asyncio.sleep(RETRY_S)

    def _keep(self, entries: list[tuple[int, str]]) -> None:
        self._tail += entries
        self._size += sum(len(frame) for _, frame in entries)
        while len(self._tail) > LONGEST_TAIL or (self._size > BIGGEST_TAIL and len(self._tail) > 1):
            gone, self._tail = self._tail[: LONGEST_TAIL // 4], self._tail[LONGEST_TAIL // 4 :]
            self._size -= sum(len(frame) for _, frame in gone)
        self.head = entries[-1][0]
        for viewer in list(self.viewers):
            viewer.wake()


def log_failure(name: str, error: Exception) -> None:
    """Log why a topic could not be read; a database that is away is no bug."""
    if isinstance(error, DatabaseError):
        logger.warning("topic %s: the database does not answer (%s)", name, type(error).__name__)
    else:
        logger.error("topic %s could not be read; trying again", name, exc_info=error)
