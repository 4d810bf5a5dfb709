"""Receive updates by long polling, or from the table that the webhook fills.

One thread of the leased process.
"""

import json
import logging
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from typing import Any

from django.db import DatabaseError, InterfaceError, OperationalError, close_old_connections, connections

from escalation import commands, queries
from escalation.errors import BotApiError, CircuitOpen, PollerConflict, TooManyRequests
from escalation.telegram.api.client import BotApi
from escalation.telegram.inbound import updates as inbound
from escalation.telegram.inbound.after_commit import Task, run_task

logger = logging.getLogger(__name__)

Json = dict[str, Any]
ALLOWED_UPDATES = ["message", "callback_query", "my_chat_member"]
POLL_S = 25
POLL_GRACE_S = 10.0  # Bot API, getUpdates: the read timeout has to be longer than the poll
SWEEP_EVERY_S = 5.0
PAUSE_S = 3.0
CONFLICT_TOLERANCE_S = 60.0
MAX_FAILURES = 3
REPLY_THREADS = 4
PRESENT = ("member", "administrator", "creator")
CLOSED_SIGNS, REOPENED_SIGNS = (
    ("forum_topic_closed", "general_forum_topic_hidden"),
    ("forum_topic_reopened", "general_forum_topic_unhidden"),
)


class Receiver:
    """Passes every update to ``updates.handle``, in order.

    The offset moves only after an update was handled.
    """

    def __init__(self, api: BotApi, *, may_continue: Callable[[], bool], on_chat_change: Callable[[], None]) -> None:
        self._api = api
        self._may_continue = may_continue
        self._on_chat_change = on_chat_change
        self._wake_event = threading.Event()
        self._offset = 0
        self._failures: dict[int, int] = {}
        self._conflict_since = 0.0
        self._applying = threading.Lock()
        self._reply_pool = ThreadPoolExecutor(REPLY_THREADS, "telegram reply")

    def wake(self) -> None:
        """Apply stored updates now, because the webhook has added one."""
        self._wake_event.set()

    def run_later(self, task: Task, api: BotApi) -> None:
        """Run a task on another thread, so that the next update does not wait for it."""
        with suppress(RuntimeError):  # the pool is shut down; the decision itself is committed
            self._reply_pool.submit(_run_task, task, api)

    def finish(self, timeout_s: float) -> None:
        """Wait until no update is half applied.

        An unfinished poll loses nothing, because Telegram repeats its updates.
        """
        self._wake_event.set()
        if self._applying.acquire(timeout=timeout_s):
            self._applying.release()
        self._reply_pool.shutdown(wait=False, cancel_futures=True)

    def poll(self) -> None:
        """Poll until ``may_continue`` returns False."""
        while self._may_continue():
            try:
                self._poll_once()
                self._conflict_since = 0.0
            except PollerConflict as conflict:
                self._handle_conflict(conflict)
            except (BotApiError, DatabaseError) as error:
                self._api.stop.wait(self._retry_delay_s(error))
            finally:
                close_old_connections()

    def apply_stored(self) -> None:
        """Apply updates that the webhook stored, until ``may_continue`` returns False."""
        while self._may_continue():
            try:
                for update in queries.unapplied_updates():
                    if not self._apply(json.loads(update.payload)):
                        break
                self._check_connection()
            except (BotApiError, DatabaseError) as error:
                self._api.stop.wait(self._retry_delay_s(error))
            finally:
                close_old_connections()
            self._wake_event.wait(SWEEP_EVERY_S)
            self._wake_event.clear()

    def _poll_once(self) -> None:
        updates = self._api.call_once(
            "getUpdates",
            timeout_s=POLL_S + POLL_GRACE_S,
            timeout=POLL_S,
            allowed_updates=ALLOWED_UPDATES,
            offset=self._offset or None,
        )
        for update in updates:
            if not self._apply(update):
                return
            self._offset = int(update["update_id"]) + 1

    def _apply(self, update: Json) -> bool:
        """Return True if the update was applied, or is skipped after too many failures."""
        with self._applying:
            return self._may_continue() and self._handle(update)

    def _handle(self, update: Json) -> bool:
        number = int(update["update_id"])
        try:
            self._detect_chat_change(update)
            inbound.handle(update, self._api, run_later=self.run_later)
        except (OperationalError, InterfaceError) as error:  # other database errors would repeat for ever
            logger.warning("telegram update %s waits: the database does not answer (%s)", number, type(error).__name__)
            self._api.stop.wait(1.0)
            return False
        except Exception:
            self._failures[number] = self._failures.get(number, 0) + 1
            logger.exception("telegram update %s failed: a bug", number)
            if self._failures[number] < MAX_FAILURES:
                return False
            logger.error("telegram update %s failed %d times and is given up", number, MAX_FAILURES)
            commands.record_update(update)
        self._failures.pop(number, None)
        return True

    def _detect_chat_change(self, update: Json) -> None:
        """Request a probe after signs that our chat started or stopped accepting messages."""
        member, message = update.get("my_chat_member"), update.get("message") or {}
        if (member or message).get("chat", {}).get("id") != self._api.chat:
            return
        ours = message.get("message_thread_id", 0) == self._api.settings.topic_id
        removed = member is not None and member["new_chat_member"].get("status") not in PRESENT
        shut = ours and any(sign in message for sign in CLOSED_SIGNS)
        returned = (
            member
            or str(message.get("text", "")).startswith("/start")
            or any(sign in message for sign in REOPENED_SIGNS)
        )
        if removed or shut or (self._api.off and returned):
            self._api.chat_state.request_probe()
            self._on_chat_change()

    def _handle_conflict(self, conflict: PollerConflict) -> None:
        """Handle a 409: delete the webhook, or report that another process polls with our token."""
        if "webhook" in conflict.detail.lower():
            logger.warning("telegram getUpdates failed: a webhook is set; taking it away, as TELEGRAM_MODE is polling")
            try:
                self._api.call_once("deleteWebhook", drop_pending_updates=False)
            except BotApiError as error:
                self._api.stop.wait(self._retry_delay_s(error))
            return
        self._conflict_since = self._conflict_since or time.monotonic()
        is_lasting = time.monotonic() - self._conflict_since > CONFLICT_TOLERANCE_S
        level = logging.CRITICAL if is_lasting else logging.WARNING
        logger.log(level, "telegram getUpdates failed: another program polls with this bot's token")
        self._api.stop.wait(PAUSE_S)

    def _check_connection(self) -> None:
        if time.time() - self._api.answered_at > POLL_S:
            self._api.call_once("getMe", timeout_s=POLL_GRACE_S)

    def _retry_delay_s(self, error: Exception) -> float:
        if isinstance(error, TooManyRequests):
            return error.retry_after_s
        if isinstance(error, CircuitOpen) and self._api.breaker:
            return min(PAUSE_S, self._api.breaker.probe_in_s or 1.0)
        return PAUSE_S


def _run_task(task: Task, api: BotApi) -> None:
    try:
        run_task(task, api)
    finally:
        connections.close_all()
