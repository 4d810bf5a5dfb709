"""The author of the present change and the surface it came through, for the audit of changes.

A request, a socket message or a terminal command sets the actor. Receivers of model signals, which
do not see the request, read it. Where none is set the system itself acts: a worker, beat, a
migration.
"""

import contextlib
import getpass
import os
from collections.abc import Callable, Iterator
from contextvars import ContextVar
from dataclasses import dataclass
from inspect import iscoroutinefunction
from typing import Any

from django.conf import settings
from django.http import HttpRequest
from django.http.response import HttpResponseBase
from django.utils.decorators import sync_and_async_middleware


@dataclass(frozen=True, slots=True)
class Actor:
    """An account's name, or ``shell:<login>``; ``surface`` is a value of
    ``approvals.models.DecisionSource``.
    """

    name: str = ""
    surface: str = "system"
    address: str = ""


_current: ContextVar[Callable[[], Actor] | None] = ContextVar("orchestra_actor", default=None)


def current() -> Actor:
    """Return the actor of this context."""
    known = _current.get()
    return known() if known else Actor()


@contextlib.contextmanager
def acting(find: Callable[[], Actor]) -> Iterator[None]:
    """Make the result of ``find`` the actor within this block. ``find`` is called only when an
    actor is read.
    """
    token = _current.set(find)
    try:
        yield
    finally:
        _current.reset(token)


def at_terminal() -> contextlib.AbstractContextManager[None]:
    """Make the login of this machine the actor within this block, unless this is one of Orchestra's
    own processes.
    """
    return acting(_at_terminal)


@sync_and_async_middleware
def by_request(get_response: Any) -> Any:
    """Middleware, after the authentication: make the account of the request the actor.

    The account is read late, because REST sets the one of a token only inside the view.
    """

    async def answer_async(request: HttpRequest) -> HttpResponseBase:
        with acting(lambda: _of_request(request)):
            return await get_response(request)  # type: ignore[no-any-return]

    def answer(request: HttpRequest) -> HttpResponseBase:
        with acting(lambda: _of_request(request)):
            return get_response(request)  # type: ignore[no-any-return]

    return answer_async if iscoroutinefunction(get_response) else answer


def _of_request(request: HttpRequest) -> Actor:
    user = getattr(request, "user", None)
    name = user.get_username() if user is not None and user.is_authenticated else ""
    return Actor(name, _surface_of(request.path), str(request.META.get("REMOTE_ADDR") or ""))


def _surface_of(path: str) -> str:
    if path.startswith("/admin/"):
        return "admin"
    return "api" if path.startswith("/api/") else "dashboard"


def _at_terminal() -> Actor:
    if settings.ORCHESTRA.process:
        return Actor()
    connection = os.environ.get("SSH_CONNECTION", "").split()
    return Actor(f"shell:{getpass.getuser()}", "cli", connection[0] if connection else "terminal")
