"""The feeds of this process, and what wakes them: notifications, messages published with ``hub``, a periodic sweep."""

import asyncio
import contextlib
from collections.abc import Callable
from dataclasses import dataclass

from orchestra.db import notify
from orchestra.db.async_notify import in_thread
from orchestra.realtime import live, registry
from orchestra.realtime.feeds import COMPARE_S, ListFeed, LogFeed, log_failure

LINGER_S = 30.0  # how long a topic without subscribers is kept


@dataclass
class _OpenLog:
    """A log's feed, and what ends its subscription to streaming text."""

    feed: LogFeed
    stop: contextlib.ExitStack


class FeedRegistry:
    """Lives on one event loop; made when the first socket subscribes. One listener serves all feeds."""

    def __init__(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._lists: dict[str, ListFeed] = {}
        self._logs: dict[str, _OpenLog] = {}
        self._unused_since: dict[str, float] = {}
        notify.listener.add(self._on_notification)
        self._task = asyncio.create_task(self._sweep())

    async def list_feed(self, name: str) -> ListFeed:
        """Return the feed of a list topic, compared with the database just now."""
        feed = self._lists.get(name)
        if feed is None:
            feed = self._lists[name] = ListFeed(name, registry.lists[name])
        self._unused_since.pop(name, None)
        await feed.wait_until_current()
        return feed

    def log_feed(self, name: str, key: str, log: registry.LogSource, head: int) -> LogFeed:
        """Return the feed of a log whose newest entry was ``head`` a moment ago."""
        known = self._logs.get(name)
        if known is None:
            feed = LogFeed(name, key, log, head)
            feed.read_soon()  # entries that came since then notified no feed
            stop = contextlib.ExitStack()
            inbox = stop.enter_context(live.inbox(name, lambda: self._soon(lambda: self._hand_on(feed, inbox))))
            known = self._logs[name] = _OpenLog(feed, stop)
        elif head > known.feed.head:
            known.feed.read_soon()
        self._unused_since.pop(name, None)
        return known.feed

    def _on_notification(self, topic: str, key: str) -> None:
        """Runs on the listener's thread."""
        self._soon(lambda: self._notify(topic, key))

    def _soon(self, work: Callable[[], None]) -> None:
        with contextlib.suppress(RuntimeError):  # the loop has ended
            self._loop.call_soon_threadsafe(work)

    def _notify(self, topic: str, key: str) -> None:
        for feed in self._lists.values():
            feed.on_notification(topic, key)
        for prefix, log in registry.logs.items():
            if log.notification_topic == topic and (known := self._logs.get(f"{prefix}:{key}")):
                known.feed.read_soon()

    def _hand_on(self, feed: LogFeed, inbox: live.Inbox) -> None:
        while inbox:
            text = inbox.popleft().get("text")
            if isinstance(text, str):
                for subscriber in list(feed.subscribers):
                    subscriber.add_text(text)

    async def _sweep(self) -> None:
        while True:
            await asyncio.sleep(COMPARE_S)
            self._end_unused()
            try:
                await self._compare_logs()
            except Exception as error:
                log_failure("of logs", error)

    async def _compare_logs(self) -> None:
        for log in set(registry.logs.values()):
            mine = {known.feed.key: known.feed for known in self._logs.values() if known.feed.log is log}
            heads = await in_thread(log.newest_numbers, list(mine)) if mine else {}
            for key, head in heads.items():
                if head > mine[key].head:
                    mine[key].read_soon()

    def _end_unused(self) -> None:
        now = self._loop.time()
        for name in [n for n, feed in self._lists.items() if not feed.subscribers]:
            if now - self._unused_since.setdefault(name, now) > LINGER_S:
                self._lists.pop(name).end()
                del self._unused_since[name]
        for name in [n for n, known in self._logs.items() if not known.feed.subscribers]:
            if now - self._unused_since.setdefault(name, now) > LINGER_S:
                known = self._logs.pop(name)
                known.feed.end()
                known.stop.close()
                del self._unused_since[name]
