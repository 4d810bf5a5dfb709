"""Every signed-in socket of this process; sockets whose credential no longer counts are closed.

``announcements`` notifies of a sign-out, of a deleted token or session, and of a changed password, group or account.
A periodic sweep finds what no notification announced.
"""

import asyncio
import contextlib
from typing import Any, Protocol

from orchestra.db import notify
from orchestra.db.async_notify import in_thread
from orchestra.realtime.announcements import TOPIC
from orchestra.realtime.credentials import Credential, find_accounts
from orchestra.realtime.feeds import log_failure

SWEEP_S = 10.0
PAUSE_S = 0.5  # between two checks, however many notifications arrive


class SignedInSocket(Protocol):
    """An open socket with an account."""

    @property
    def credential(self) -> Credential | None: ...

    @property
    def username(self) -> str: ...

    async def apply_access(self, user: Any | None) -> None:
        """Close the socket if ``user`` is None, has lost a right that its subscriptions need, or was renamed."""


class SocketRegistry:
    """The signed-in sockets; lives on the event loop of the process."""

    def __init__(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._sockets: set[SignedInSocket] = set()
        self._has_changes = asyncio.Event()
        notify.listener.add(self._on_notification)
        self._task = asyncio.create_task(self._check_periodically())

    def add(self, socket: SignedInSocket) -> None:
        self._sockets.add(socket)

    def remove(self, socket: SignedInSocket) -> None:
        self._sockets.discard(socket)

    def count_of(self, username: str) -> int:
        """Return the number of open sockets of an account."""
        return sum(socket.username == username for socket in self._sockets)

    def _on_notification(self, topic: str, key: str) -> None:
        """Runs on the listener's thread."""
        if topic == TOPIC:
            with contextlib.suppress(RuntimeError):  # the loop has ended
                self._loop.call_soon_threadsafe(self._has_changes.set)

    async def _check_periodically(self) -> None:
        while True:
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._has_changes.wait(), SWEEP_S)
            self._has_changes.clear()
            try:
                await self._check_access()
            except Exception as error:
                log_failure("of people", error)
            await asyncio.sleep(PAUSE_S)

    async def _check_access(self) -> None:
        sockets = [(socket, socket.credential) for socket in self._sockets]
        known = {credential for _, credential in sockets if credential}
        accounts = await in_thread(find_accounts, known) if known else {}
        for socket, credential in sockets:
            if credential in accounts:
                await socket.apply_access(accounts[credential])
