"""The sender sends messages and keeps them up to date. It is one thread of the leased process.

A notification wakes it at once; a sweep every few seconds repairs lost notifications. No timer
delays an approval request that was announced by a notification.
"""

import logging
import threading
import time
from collections.abc import Callable
from uuid import UUID

from django.db import DatabaseError, close_old_connections

from escalation import outbox, policy, queries
from escalation.channels.base import Channel
from escalation.errors import BotApiError, ChatUnusable, Refused
from escalation.telegram.api.client import BotApi
from escalation.telegram.messages.posting import prove_writable
from escalation.telegram.messages.stop_messages import announce_stop

logger = logging.getLogger(__name__)

SWEEP_EVERY_S = 5.0
BATCH = 500


class Sender:
    """Wake it from any thread; run it on one."""

    def __init__(self, api: BotApi, channel: Channel, *, may_continue: Callable[[], bool]) -> None:
        self._api = api
        self._channel = channel
        self._may_continue = may_continue
        self._wake_event = threading.Event()
        self._lock = threading.Lock()
        self._changed_ids: dict[UUID, None] = {}
        self._stop_changed = True  # a stop may have happened while no sender ran
        self._swept_at = 0.0
        self._silent = False
        self._idle = False
        self._was_off = False

    def wake(self, approval_id: UUID | None = None) -> None:
        """Process changes now, starting with this approval if one is given. Returns at once."""
        with self._lock:
            if approval_id is not None:
                self._changed_ids[approval_id] = None
        self._wake_event.set()

    def wake_for_stop(self) -> None:
        """Announce a stop of all agents, or its end. Returns at once."""
        self._stop_changed = True
        self._wake_event.set()

    def run(self) -> None:
        """Work until ``may_continue`` returns False."""
        wait_s = 0.0
        while self._may_continue():
            self._wake_event.wait(wait_s)
            self._wake_event.clear()
            try:
                wait_s = self.work()
            except DatabaseError as error:
                logger.warning("telegram sender failed: the database does not answer (%s)", type(error).__name__)
                wait_s = 1.0
            finally:
                close_old_connections()

    def work(self) -> float:
        """Do everything that is due; return the seconds until the next sweep."""
        with self._lock:
            changed_ids, self._changed_ids = list(self._changed_ids), {}
        if time.monotonic() - self._swept_at >= SWEEP_EVERY_S:
            self._sweep()
        self._probe_chat_if_due()
        self._open_deliveries(changed_ids)
        self._announce_stop()
        while self._may_continue():
            if blocked_s := self._blocked_for_s():
                return min(blocked_s, SWEEP_EVERY_S)
            # `|` and not `or`: each kind of work gets one turn per round
            if not (self._settle_next() | self._send_next() | self._send_refused() | self._remind_next()):
                return SWEEP_EVERY_S
            if self._wake_event.is_set():
                return 0.0
        return 0.0

    def _announce_stop(self) -> None:
        """Announce a stop after a notification or a sweep.

        A failed announcement is repeated by the next sweep.
        """
        if not self._stop_changed or self._blocked_for_s():
            return
        self._stop_changed = False
        try:
            announce_stop(self._api)
        except BotApiError as error:
            logger.warning("telegram: the stop was not announced yet: %s", error.detail)

    def _sweep(self) -> None:
        """Find changes whose notification was lost."""
        self._swept_at = time.monotonic()
        self._stop_changed = True
        outbox.open_missing_deliveries(batch=BATCH)
        outbox.settle_undelivered()
        self._silent = policy.is_silent(queries.read_mute_states())

    def _open_deliveries(self, changed_ids: list[UUID]) -> None:
        """Add changed approvals to the outbox.

        A single one with nothing ahead of it is sent at once.
        """
        if len(changed_ids) == 1 and self._idle and not self._api.off and not self._blocked_for_s():
            outbox.open_and_send(self._channel, changed_ids[0], silent=self._silent)
            return
        for approval_id in changed_ids:
            outbox.open_delivery(approval_id)

    def _probe_chat_if_due(self) -> None:
        """Probe the chat while the channel is off or in doubt.

        After it recovers, make postponed deliveries due.
        """
        api = self._api
        self._was_off = self._was_off or bool(api.off)
        if api.chat_state.is_probe_due and not (api.breaker and api.breaker.probe_in_s):
            with api.chat_state.probing():
                self._probe_chat()
        if self._was_off and not api.off:
            outbox.retry_postponed_deliveries()
        self._was_off = bool(api.off)

    def _probe_chat(self) -> None:
        try:
            prove_writable(self._api)
        except ChatUnusable:
            return  # the client has turned the channel off already
        except Refused as refused:
            self._api.turn_off(refused)
        except BotApiError as error:
            logger.info("telegram: the probe of the chat failed: %s", error.detail)

    def _blocked_for_s(self) -> float:
        """Return the seconds until a message may be sent or edited; 0 if it may be now."""
        api = self._api
        if api.chat_state.lost or api.chat_state.token_refused:
            return SWEEP_EVERY_S
        if api.breaker and api.breaker.probe_in_s:
            return api.breaker.probe_in_s
        return api.rate_limiter.seconds_until_free(api.chat)

    def _send_next(self) -> bool:
        waiting = queries.count_waiting_deliveries()
        self._idle = not waiting
        if not waiting or self._api.off or self._blocked_for_s():
            return False
        together = policy.choose_batch_size(waiting, remaining=self._api.rate_limiter.remaining(self._api.chat))
        claimed = outbox.claim_due_deliveries(limit=together)
        return bool(claimed) and outbox.send_deliveries(self._channel, claimed, silent=self._silent)

    def _send_refused(self) -> bool:
        """Send one delivery that Telegram refused before, alone in its message."""
        if self._api.off or self._blocked_for_s():
            return False
        claimed = outbox.claim_refused_delivery()
        return bool(claimed) and outbox.send_deliveries(self._channel, claimed, silent=self._silent)

    def _settle_next(self) -> bool:
        place = queries.next_outdated_place()
        return place is not None and outbox.settle_message(self._channel, place)

    def _remind_next(self) -> bool:
        remaining = self._api.rate_limiter.remaining(self._api.chat)
        if remaining <= policy.RESERVE or self._api.off or self._blocked_for_s():
            return False
        due = queries.due_reminders(limit=policy.MOST_IN_A_LIST)
        together = policy.choose_batch_size(len(due), remaining=remaining)
        return bool(due) and outbox.send_reminder(self._channel, due[:together], silent=self._silent)
