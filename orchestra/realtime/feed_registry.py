"""The feeds of this process, and what wakes them: the doorbell, the hub's own messages, the clock."""

import asyncio
import contextlib
from collections.abc import Callable
from dataclasses import dataclass

from orchestra.db import notify
from orchestra.db.async_notify import in_thread
from orchestra.realtime import live, registry
from orchestra.realtime.feeds import COMPARE_S, ListFeed, LogFeed, log_failure

LINGER_S = 30.0  # a topic that everybody left is kept so long


@dataclass
class _Followed:
    """A log's feed, and what ends its subscription to what is said in between."""

    feed: LogFeed
    rings: str
    stop: contextlib.ExitStack


class FeedRegistry:
    """Lives on one event loop; made when the first socket opens."""

    def __init__(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._lists: dict[str, ListFeed] = {}
        self._logs: dict[str, _Followed] = {}
        self._left_at: dict[str, float] = {}
        notify.listener.add(self._heard)
        self._task = asyncio.create_task(self._sweep())

    async def list_feed(self, name: str) -> ListFeed:
        """The feed of a list topic, compared with the database just now."""
        feed = self._lists.get(name)
        if feed is None:
            feed = self._lists[name] = ListFeed(name, registry.lists[name])
        self._left_at.pop(name, None)
        await feed.compared()
        return feed

    def log_feed(self, name: str, key: str, log: registry.Log, head: int) -> LogFeed:
        """The feed of a log whose newest entry was ``head`` a moment ago."""
        followed = self._logs.get(name)
        if followed is None:
            feed = LogFeed(name, key, log, head)
            feed.ring()  # what came since then rang nobody
            stop = contextlib.ExitStack()
            inbox = stop.enter_context(live.inbox(name, lambda: self._soon(lambda: self._say(feed, inbox))))
            followed = self._logs[name] = _Followed(feed, log.rings, stop)
        elif head > followed.feed.head:
            followed.feed.ring()
        self._left_at.pop(name, None)
        return followed.feed

    def _heard(self, topic: str, key: str) -> None:
        """On the listener's thread."""
        self._soon(lambda: self._ring(topic, key))

    def _soon(self, work: Callable[[], None]) -> None:
        with contextlib.suppress(RuntimeError):  # the loop has ended
            self._loop.call_soon_threadsafe(work)

    def _ring(self, topic: str, key: str) -> None:
        for feed in self._lists.values():
            feed.ring(topic, key)
        for prefix, log in registry.logs.items():
            if log.rings == topic and (followed := self._logs.get(f"{prefix}:{key}")):
                followed.feed.ring()

    def _say(self, feed: LogFeed, inbox: live.Inbox) -> None:
        while inbox:
            words = inbox.popleft().get("text")
            if isinstance(words, str):
                for viewer in list(feed.viewers):
                    viewer.say(words)

    async def _sweep(self) -> None:
        while True:
            await asyncio.sleep(COMPARE_S)
            self._forget_the_left()
            try:
                await self._compare_logs()
            except Exception as error:
                log_failure("of logs", error)

    async def _compare_logs(self) -> None:
        for log in set(registry.logs.values()):
            mine = {f.feed.key: f.feed for f in self._logs.values() if f.feed.log is log}
            heads = await in_thread(log.heads, list(mine)) if mine else {}
            for key, head in heads.items():
                if head > mine[key].head:
                    mine[key].ring()

    def _forget_the_left(self) -> None:
        now = self._loop.time()
        for name in [n for n, feed in self._lists.items() if not feed.viewers]:
            if now - self._left_at.setdefault(name, now) > LINGER_S:
                self._lists.pop(name).end()
                del self._left_at[name]
        for name in [n for n, followed in self._logs.items() if not followed.feed.viewers]:
            if now - self._left_at.setdefault(name, now) > LINGER_S:
                followed = self._logs.pop(name)
                followed.feed.end()
                followed.stop.close()
                del self._left_at[name]
