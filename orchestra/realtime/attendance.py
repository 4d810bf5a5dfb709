"""Who is in: sockets end when what they were opened with no longer counts, at once where it is announced.

``announcements`` tells of a sign-out, a token or session deleted, a changed password, group or account; a sweep finds
what no signal told.
"""

import asyncio
import contextlib
import logging
from typing import Any, Protocol

from orchestra.db import notify
from orchestra.db.async_notify import in_thread
from orchestra.realtime.announcements import TOPIC
from orchestra.realtime.feeds import complain
from orchestra.realtime.people import Credential, people

logger = logging.getLogger(__name__)

SWEEP_S = 10.0
PAUSE_S = 0.5  # between two rounds, however often it rings


class Guest(Protocol):
    """An open socket somebody signed in on."""

    @property
    def credential(self) -> Credential | None: ...

    @property
    def username(self) -> str: ...

    async def judge(self, user: Any | None) -> None:
        """Go on as ``user`` is now, or end for None."""


class Attendance:
    """All sockets of this process; lives on its event loop."""

    def __init__(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._guests: set[Guest] = set()
        self._rung = asyncio.Event()
        notify.listener.add(self._heard)
        self._task = asyncio.create_task(self._watch())

    def enter(self, guest: Guest) -> None:
        self._guests.add(guest)

    def sockets_of(self, username: str) -> int:
        """How many an account has open."""
        return sum(guest.username == username for guest in self._guests)

    def leave(self, guest: Guest) -> None:
        self._guests.discard(guest)

    def _heard(self, topic: str, key: str) -> None:
        if topic == TOPIC:
            with contextlib.suppress(RuntimeError):  # the loop has ended
                self._loop.call_soon_threadsafe(self._rung.set)

    async def _watch(self) -> None:
        while True:
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._rung.wait(), SWEEP_S)
            self._rung.clear()
            try:
                await self._look()
            except Exception as error:
                complain("of people", error)
            await asyncio.sleep(PAUSE_S)

    async def _look(self) -> None:
        guests = [(guest, guest.credential) for guest in self._guests]
        known = {credential for _, credential in guests if credential}
        found = await in_thread(people, known) if known else {}
        for guest, credential in guests:
            if credential in found:
                await guest.judge(found[credential])
