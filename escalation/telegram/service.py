"""The one process that talks to the Bot API.

It takes the lease, sends, receives, and records its state.
"""

import logging
import os
import socket
import threading
import time
import uuid
from collections.abc import Callable
from datetime import timedelta
from typing import Any
from uuid import UUID

from django.conf import settings
from django.db import DatabaseError, close_old_connections, connections, transaction
from django.utils import timezone

from approvals.stop.commands import TOPIC as STOP
from escalation import conf, outbox, receivers
from escalation.errors import BotApiError, TokenRefused
from escalation.telegram import status
from escalation.telegram.api.breaker import Breaker
from escalation.telegram.api.client import BotApi
from escalation.telegram.inbound import bot_commands, rejections
from escalation.telegram.inbound.receiver import ALLOWED_UPDATES, Receiver
from escalation.telegram.messages.channel import Telegram
from escalation.telegram.sender import Sender
from orchestra.db import leases, notify

logger = logging.getLogger(__name__)

LEASE = timedelta(seconds=15)
KEEP_EVERY_S = 3.0
TRY_EVERY_S = 2.0
WRITE_EVERY_S = 5.0
SHUTDOWN_TIMEOUT_S = 5.0


class Service:
    """Waits for the lease, works while it holds the lease, and waits again after losing it."""

    def __init__(self) -> None:
        self._owner = f"{socket.gethostname()}:{os.getpid()}:{uuid.uuid4().hex[:8]}"
        self._stop = threading.Event()

    def stop(self) -> None:
        """Stop the service, from any thread or signal handler."""
        self._stop.set()

    def run(self) -> None:
        """Run until ``stop`` is called."""
        is_logged = False
        while not self._stop.is_set():
            try:
                fence = leases.acquire(status.LEASE, self._owner, LEASE)
            except DatabaseError as error:
                logger.warning("telegram waits for the database (%s)", type(error).__name__)
                fence = None
            if fence is not None:
                LeaseTerm(self._owner, fence, stopped=self._stop).serve()
                is_logged = False
            elif not is_logged:
                logger.info("telegram: another process holds the lease; this one waits to take over")
                is_logged = True
            close_old_connections()
            self._stop.wait(TRY_EVERY_S)


class LeaseTerm:
    """The work of one process while it holds the lease once."""

    def __init__(self, owner: str, fence: int, *, stopped: threading.Event) -> None:
        self._owner, self._fence, self._stopped = owner, fence, stopped
        self._held_until = time.monotonic() + LEASE.total_seconds()
        stored = leases.read_state(status.LEASE)
        self.api = BotApi(
            settings.TELEGRAM,
            breaker=Breaker(settings.TELEGRAM.breaker, owner=owner),
            moved={int(old): int(new) for old, new in stored.get("moved", {}).items()},
            on_moved=self._on_chat_moved,
            on_flood=self._record_flood,
            on_off=lambda why: self._record_state(off=why),
        )
        if stored.get("setup") == status.setup_fingerprint():  # other settings make the stored state void
            self.api.chat_state.restore_off(stored.get("off", ""))
        self._quiet_until: dict[str, float] = dict(stored.get("quiet_until", {}))
        for chat, until in self._quiet_until.items():
            self.api.rate_limiter.pause_chat(int(chat), max(0.0, float(until) - time.time()))
        self._sender = Sender(self.api, Telegram(self.api), may_continue=self.holds_lease)
        self._receiver = Receiver(self.api, may_continue=self.holds_lease, on_chat_change=self._sender.wake)

    def holds_lease(self) -> bool:
        """Return True while this process may use the Bot API."""
        # the local clock: a process that was frozen must stop without reading the database
        return not self.api.stop.is_set() and time.monotonic() < self._held_until

    def serve(self) -> None:
        """Work until the service is stopped or the lease is lost."""
        logger.info("telegram started: %s, chat %s", settings.TELEGRAM.mode, self.api.chat)
        notify.listener.add(self._on_notification)
        receivers.set_listener(self._sender.wake)
        sender = self._thread("sender", self._sender.run)
        self._thread("receiver", self._receive)
        self._record_state(
            off=self.api.off,
            mode=settings.TELEGRAM.mode,
            chat=self.api.chat,
            setup=status.setup_fingerprint(),
            started_at=_now(),
        )
        try:
            self._renew_lease()
        finally:
            self.api.stop.set()
            self._sender.wake()
            notify.listener.remove(self._on_notification)
            receivers.set_listener(None)
            self._receiver.finish(SHUTDOWN_TIMEOUT_S)
            sender.join(SHUTDOWN_TIMEOUT_S)
            self._save_counters()
            self._release_lease()
            logger.info("telegram stopped")

    def _renew_lease(self) -> None:
        """Renew the lease and save the counters until the term ends."""
        written = 0.0
        while not self._stopped.wait(KEEP_EVERY_S):
            try:
                if not leases.renew(status.LEASE, self._owner, self._fence, LEASE):
                    logger.warning("telegram: the lease was lost to another process")
                    return
                self._held_until = time.monotonic() + LEASE.total_seconds()
            except DatabaseError:
                if not self.holds_lease():
                    return
            if time.monotonic() - written >= WRITE_EVERY_S:
                written = time.monotonic()
                self._save_counters()
            self._close_due_rejections()
            close_old_connections()

    def _receive(self) -> None:
        """Prepare the bot, then receive by polling or webhook, as configured."""
        while self.holds_lease():
            try:
                me = self.api.call_once("getMe", timeout_s=10.0)
                self._record_state(bot=me.get("username", ""))
                self.api.call_once("setMyCommands", timeout_s=10.0, commands=bot_commands.build_menu())
                if settings.TELEGRAM.mode == conf.WEBHOOK:
                    self._set_webhook()
                break
            except TokenRefused:
                break  # logged already; no call can succeed before a restart with another token
            except BotApiError as error:
                logger.warning("telegram is not ready yet: %s", error.detail)
                self.api.stop.wait(3.0)
        if settings.TELEGRAM.mode == conf.WEBHOOK:
            self._receiver.apply_stored()
        else:
            self._receiver.poll()

    def _close_due_rejections(self) -> None:
        try:
            for task in rejections.close_due_rejections():
                self._receiver.run_later(task, self.api)
        except DatabaseError as error:
            logger.warning("telegram: rejections wait for the database (%s)", type(error).__name__)

    def _set_webhook(self) -> None:
        self.api.call_once(
            "setWebhook",
            url=conf.webhook_url(),
            secret_token=settings.TELEGRAM.webhook_secret,
            allowed_updates=ALLOWED_UPDATES,
        )

    def _on_notification(self, topic: str, key: str) -> None:
        """Wake the threads that a notification concerns.

        The listener thread calls this, so it returns at once.
        """
        if topic in ("approval", "approval_expiring"):
            self._sender.wake(UUID(key))
        elif topic == STOP:
            self._sender.wake_for_stop()
        elif topic == status.TOPIC:
            if key == status.PROBE_CHAT:
                self.api.chat_state.request_probe()
            self._receiver.wake()
            self._sender.wake()

    def _thread(self, name: str, work: Callable[[], None]) -> threading.Thread:
        def run() -> None:
            try:
                work()
            except Exception:
                logger.exception("telegram %s failed: a bug; the process starts again", name)
                self._stopped.set()
            finally:
                self._sender.wake()
                connections.close_all()

        thread = threading.Thread(target=run, name=f"telegram {name}", daemon=True)
        thread.start()
        return thread

    def _on_chat_moved(self, old: int, new: int) -> None:
        """Save the new chat number and resend open requests.

        It may run inside the transaction of an update.
        """
        self._record_state(moved={str(one): other for one, other in self.api.moved.items()}, chat=self.api.chat)
        number = outbox.resend_after_chat_move(old)
        logger.warning("telegram: %d open approval requests are sent again to %s", number, new)
        transaction.on_commit(self._sender.wake)

    def _record_flood(self, chat: int, seconds: float) -> None:
        self._quiet_until[str(chat)] = time.time() + seconds
        self._record_state(quiet_until=self._quiet_until)

    def _save_counters(self) -> None:
        self.api.counters.flush()
        if self.api.answered_at:
            self._record_state(answered_at=self.api.answered_at)

    def _record_state(self, **facts: Any) -> None:
        try:
            leases.merge_state(status.LEASE, **facts)
        except DatabaseError as error:
            logger.warning("telegram: its state was not saved (%s)", type(error).__name__)

    def _release_lease(self) -> None:
        try:
            leases.release(status.LEASE, self._owner, self._fence)
        except DatabaseError:
            logger.warning("telegram: the lease ends by itself, the database does not answer")


def _now() -> str:
    return timezone.now().isoformat(timespec="seconds")
