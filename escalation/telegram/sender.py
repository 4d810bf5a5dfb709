"""The sender: wakes when an approval changes, tells people, keeps the messages true. One thread of the leased process.

A ring makes it happen now, a look every few seconds makes it happen anyway; in between no timer stands between a
question and its card.
"""

import logging
import threading
import time
from collections.abc import Callable
from uuid import UUID

from django.db import DatabaseError, close_old_connections

from escalation import commands, outbox, policy, queries
from escalation.channels.base import Channel
from escalation.errors import BotApiError, ChatUnusable, Refused
from escalation.telegram import stop_all
from escalation.telegram.api.client import BotApi
from escalation.telegram.messages.posting import prove_writable

logger = logging.getLogger(__name__)

LOOK_EVERY_S = 5.0
BATCH = 500


class Sender:
    """Feed it rings from any thread; run it on one."""

    def __init__(self, api: BotApi, channel: Channel, *, may_go_on: Callable[[], bool]) -> None:
        self._api = api
        self._channel = channel
        self._may_go_on = may_go_on
        self._bell = threading.Event()
        self._lock = threading.Lock()
        self._rung: dict[UUID, None] = {}
        self._stop_rung = True  # perhaps something happened while nobody was here to tell
        self._looked_at = 0.0
        self._silent = False
        self._idle = False
        self._was_off = False

    def ring(self, approval_id: UUID | None = None) -> None:
        """Something is new, about this approval if one is named; returns at once."""
        with self._lock:
            if approval_id is not None:
                self._rung[approval_id] = None
        self._bell.set()

    def ring_of_stop(self) -> None:
        """All agents were stopped, or go on; returns at once."""
        self._stop_rung = True
        self._bell.set()

    def run(self) -> None:
        """Until ``may_go_on`` says no."""
        wait_s = 0.0
        while self._may_go_on():
            self._bell.wait(wait_s)
            self._bell.clear()
            try:
                wait_s = self.work()
            except DatabaseError as error:
                logger.warning("telegram sender failed: the database does not answer (%s)", type(error).__name__)
                wait_s = 1.0
            finally:
                close_old_connections()

    def work(self) -> float:
        """Do what there is to do; seconds until it makes sense to look again."""
        with self._lock:
            rung, self._rung = list(self._rung), {}
        if time.monotonic() - self._looked_at >= LOOK_EVERY_S:
            self._look()
        self._try_the_chat()
        self._note(rung)
        self._tell_of_stop()
        while self._may_go_on():
            if blocked_s := self._blocked():
                return min(blocked_s, LOOK_EVERY_S)
            if not (self._settle_next() | self._send_next() | self._send_refused() | self._remind_next()):
                return LOOK_EVERY_S
            if self._bell.is_set():
                return 0.0
        return 0.0

    def _tell_of_stop(self) -> None:
        """Once, when it was rung for or looked for; what does not get through is said at the next look."""
        if not self._stop_rung or self._blocked():
            return
        self._stop_rung = False
        try:
            stop_all.tell(self._api)
        except BotApiError as error:
            logger.warning("telegram: the chat does not know of a stop yet: %s", error.detail)

    def _look(self) -> None:
        """Find what nobody rang for."""
        self._looked_at = time.monotonic()
        self._stop_rung = True
        commands.open_missing_deliveries(batch=BATCH)
        commands.close_unsent()
        self._silent = policy.is_silent(queries.who_has_muted())

    def _note(self, rung: list[UUID]) -> None:
        """A single question, with nothing waiting before it, is told by the shortest way."""
        if len(rung) == 1 and self._idle and not self._api.off and not self._blocked():
            commands.send_at_once(self._channel, rung[0], silent=self._silent)
            return
        for approval_id in rung:
            commands.open_delivery(approval_id)

    def _try_the_chat(self) -> None:
        """While the channel is off, or in doubt, find out whether our chat takes messages; then tell what waits."""
        api = self._api
        self._was_off = self._was_off or bool(api.off)
        if api.gate.wants_a_look and not (api.breaker and api.breaker.opens_in_s):
            with api.gate.looking():
                self._prove()
        if self._was_off and not api.off:
            outbox.come_due()
        self._was_off = bool(api.off)

    def _prove(self) -> None:
        try:
            prove_writable(self._api)
        except ChatUnusable:
            return  # the client has turned the channel off
        except Refused as refused:
            self._api.turn_off(refused)
        except BotApiError as error:
            logger.info("telegram: nobody can tell whether the chat takes messages: %s", error.detail)

    def _blocked(self) -> float:
        """Seconds until anything may be sent or edited, at least some if nobody can tell; 0 if it may now."""
        api = self._api
        if api.gate.lost or api.gate.token_refused:
            return LOOK_EVERY_S
        if api.breaker and api.breaker.opens_in_s:
            return api.breaker.opens_in_s
        return api.pacer.wait_for(api.chat)

    def _send_next(self) -> bool:
        waiting = queries.waiting_deliveries()
        self._idle = not waiting
        if not waiting or self._api.off or self._blocked():
            return False
        together = policy.how_many_together(waiting, room=self._api.pacer.room(self._api.chat))
        claimed = commands.claim_due_deliveries(limit=together)
        return bool(claimed) and commands.send(self._channel, claimed, silent=self._silent)

    def _send_refused(self) -> bool:
        """One that Telegram refused before, alone."""
        if self._api.off or self._blocked():
            return False
        claimed = commands.claim_refused_delivery()
        return bool(claimed) and commands.send(self._channel, claimed, silent=self._silent)

    def _settle_next(self) -> bool:
        place = queries.next_untrue_place()
        return place is not None and commands.settle(self._channel, place)

    def _remind_next(self) -> bool:
        room = self._api.pacer.room(self._api.chat)
        if room <= policy.RESERVE or self._api.off or self._blocked():
            return False
        due = queries.due_reminders(limit=policy.MOST_IN_A_LIST)
        together = policy.how_many_together(len(due), room=room)
        return bool(due) and commands.remind(self._channel, due[:together], silent=self._silent)
