"""Notifying other processes that a row has changed.

A notification may be lost, so every listener also reads the rows periodically. On PostgreSQL a
notification is a NOTIFY inside the writing transaction, which the server sends exactly when the
transaction commits. On SQLite it is a Redis PUBLISH after the commit: without Redis listeners
react more slowly, and no change is lost.
"""

import contextlib
import logging
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextvars import ContextVar
from functools import cache, partial
from typing import TYPE_CHECKING, Any

from django.conf import settings
from django.db import connection, transaction

from orchestra.db import sql

if TYPE_CHECKING:
    import redis  # imported late everywhere: it takes 0.25 s, and commands that only read never notify

logger = logging.getLogger(__name__)

CHANNEL = "orchestra_doorbell"  # processes of the previous release listen to this name during an upgrade
RECONNECT_S = 1.0
LISTEN_SLICE_S = 5.0

_suppressed: ContextVar[bool] = ContextVar("suppressed", default=False)

Handler = Callable[[str, str], None]
"""Called as ``handler(topic, key)`` on the listener's thread. It must return without blocking."""


def send(topic: str, key: str) -> None:
    """Notify listeners that ``key`` of ``topic`` has changed; call it inside the writing
    transaction.

    A Redis failure is logged and not raised. A PostgreSQL failure fails the transaction.
    """
    if is_suppressed():
        return
    if connection.vendor == "postgresql":
        notify = notification(topic, key)
        sql.row(f"SELECT {notify.text}", *notify.values)
    else:
        transaction.on_commit(partial(publish, _redis_channel(), f"{topic} {key}"), robust=True)


def send_many(topic: str, keys: Sequence[str]) -> None:
    """Send a notification for each of ``keys``; one statement on PostgreSQL."""
    if connection.vendor == "postgresql" and keys and not is_suppressed():
        payloads = [f"{topic} {key}" for key in keys]
        sql.row("SELECT count(pg_notify(%s, payload)) FROM unnest(%s::text[]) AS payload", CHANNEL, payloads)
        return
    for key in keys:
        send(topic, key)


@contextlib.contextmanager
def suppressed() -> Iterator[None]:
    """Suppress all notifications within the ``with``: other processes do not see these rows yet."""
    token = _suppressed.set(True)
    try:
        yield
    finally:
        _suppressed.reset(token)


def is_suppressed() -> bool:
    """Return whether the caller runs inside ``suppressed()``."""
    return _suppressed.get()


def notification(topic: str, key: str) -> sql.Statement:
    """Return a NOTIFY as an SQL expression, which the caller includes in a statement of its own."""
    if is_suppressed():
        return sql.Statement("NULL")
    return sql.Statement("pg_notify(%s, %s)", (CHANNEL, f"{topic} {key}"))


def publish(channel: str, message: str | bytes) -> bool:
    """Publish on Redis over this process's connection pool; return False if Redis did not accept
    it.
    """
    import redis

    try:
        redis_client().publish(channel, message)
    except (redis.RedisError, OSError) as error:
        logger.warning("redis publish failed: %s", type(error).__name__)
        return False
    return True


@cache
def redis_client() -> "redis.Redis":
    """Return a client for short commands: 0.5 s to connect, 1 s to answer, and no retries."""
    import redis

    return redis.Redis.from_url(
        settings.ORCHESTRA.redis_url, socket_connect_timeout=0.5, socket_timeout=1.0, retry=None
    )


def _redis_channel() -> str:
    return f"{CHANNEL}:{settings.ORCHESTRA.instance}"


class Listener:
    """The listening thread of a process, which calls every registered handler for every
    notification.

    On PostgreSQL the thread has its own connection, outside the pool and in autocommit.
    """

    def __init__(self) -> None:
        self._handlers: list[Handler] = []
        self._thread: threading.Thread | None = None
        self._lock = threading.Lock()
        self.listening = threading.Event()

    def add(self, handler: Handler) -> None:
        """Register ``handler``; the first registration starts the thread."""
        with self._lock:
            self._handlers.append(handler)
            if self._thread is None:
                self._thread = threading.Thread(target=self._run, name="notification listener", daemon=True)
                self._thread.start()

    def remove(self, handler: Handler) -> None:
        """Stop calling ``handler``; do nothing if it is not registered."""
        with self._lock, contextlib.suppress(ValueError):
            self._handlers.remove(handler)

    def _run(self) -> None:
        import redis

        listen = self._listen_postgres if connection.vendor == "postgresql" else self._listen_redis
        while True:
            try:
                listen()
            except (redis.RedisError, OSError) as error:
                self.listening.clear()
                logger.warning(
                    "notification connection lost (%s); sweeps repair the delay until it is back", type(error).__name__
                )
                time.sleep(RECONNECT_S)

    def _listen_postgres(self) -> None:
        """Raises ConnectionError when the connection is lost."""
        import psycopg  # takes 0.3 s, which an SQLite installation does not need

        try:
            self._receive_notifies(psycopg.connect)
        except psycopg.Error as error:
            raise ConnectionError(type(error).__name__) from error

    def _receive_notifies(self, connect: Callable[..., Any]) -> None:
        params = connection.get_connection_params()
        for django_only in ("cursor_factory", "context", "pool"):
            params.pop(django_only, None)
        with connect(**params, autocommit=True) as own:
            own.execute(f"LISTEN {CHANNEL}")
            self.listening.set()
            while True:
                for notify in own.notifies(timeout=LISTEN_SLICE_S):
                    self._dispatch(notify.payload)
                own.execute("SELECT 1")  # fails on a half-open connection, which notifies() does not detect

    def _listen_redis(self) -> None:
        import redis

        client = redis.Redis.from_url(
            settings.ORCHESTRA.redis_url, socket_connect_timeout=0.5, socket_timeout=30, health_check_interval=10
        )
        with client.pubsub(ignore_subscribe_messages=True) as pubsub:  # type: ignore[no-untyped-call]
            pubsub.subscribe(_redis_channel())
            self.listening.set()
            while True:
                message = pubsub.get_message(timeout=LISTEN_SLICE_S)
                if message is not None:
                    self._dispatch(message["data"].decode())

    def _dispatch(self, payload: str) -> None:
        topic, _, key = payload.partition(" ")
        for handler in list(self._handlers):
            try:
                handler(topic, key)
            except Exception:
                logger.exception("a notification handler failed")


listener = Listener()
