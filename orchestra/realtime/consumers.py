"""``/ws/hub``: one socket. What it shows and does is in the registry; API.md's table is what it says."""

import asyncio
import contextlib
import logging
import time
from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from functools import cache
from http.cookies import CookieError, SimpleCookie
from typing import Any

from django.conf import settings

from orchestra.auth.actor import Actor, acting
from orchestra.auth.permissions import rights_of
from orchestra.db.async_notify import in_thread
from orchestra.errors import Forbidden, Invalid, NotFound, OrchestraError
from orchestra.middleware import console_host
from orchestra.realtime import origin, registry, wire
from orchestra.realtime.allowance import Allowance
from orchestra.realtime.attendance import Attendance
from orchestra.realtime.daphne import TooSlow, Wire
from orchestra.realtime.keeper import Keeper
from orchestra.realtime.people import Credential, by_token, person
from orchestra.realtime.registry import Caller
from orchestra.realtime.subscriptions import ListSubscription, LogSubscription, Subscription
from orchestra.rest.viewsets import answer_for_error

logger = logging.getLogger(__name__)

SIGN_IN_S = 5.0
SLOW_S = 10.0  # how long the far side may leave 64 KiB unread
LARGEST_MESSAGE = 1024 * 1024  # bytes; anything longer goes through REST
LARGEST_INTRODUCTION = 8 * 1024  # bytes, of a message before the sign-in
MOST_SUBSCRIPTIONS = 100
FRAMES_AT_ONCE = 20  # between two looks at whether the far side reads
LARGEST_NUMBER = 2**63 - 1
ENVELOPE = ("type", "ref")
HOW = 'Send {"type": "authenticate", "token": "<key>"}; make a key with `./manage.py create_token USER`.'
SIGN_IN_FIRST = f"Unauthenticated. {HOW}"
BAD_TOKEN = f"Unauthenticated. This token is unknown or has expired, or its account is closed. {HOW}"
NOT_SIGNED_IN, FOREIGN_ORIGIN, TOO_MANY, SLOW_READER, FAILED = 4401, 4403, 4429, 1013, 1011

Receive = Callable[[], Awaitable[Mapping[str, Any]]]
Send = Callable[[Mapping[str, Any]], Awaitable[None]]


class Gone(Exception):
    """The far side has closed the socket."""


class Closing(Exception):
    """We close it, with this code."""

    def __init__(self, code: int) -> None:
        super().__init__(code)
        self.code = code


class NotAuthenticated(OrchestraError):
    """Nobody has signed in on this socket, or not successfully."""

    code = "not_authenticated"


class UnknownType(Invalid):
    """There is no message of this type."""

    code = "unknown_type"


class UnknownTopic(NotFound):
    """There is no such topic."""

    code = "unknown_topic"


class TooManySubscriptions(Forbidden):
    """This socket follows as much as one socket may."""

    code = "too_many_subscriptions"


async def hub(scope: Mapping[str, Any], receive: Receive, send: Send) -> None:
    """The ASGI application."""
    await Socket(scope, receive, send).run()


async def nowhere(scope: Mapping[str, Any], receive: Receive, send: Send) -> None:
    """The ASGI application of every other address: no handshake."""
    await receive()
    await send({"type": "websocket.close"})


@cache
def keeper() -> Keeper:
    """This process's feeds."""
    return Keeper()


@cache
def attendance() -> Attendance:
    """This process's sockets."""
    return Attendance()


class Socket:
    """From the handshake to the end."""

    def __init__(self, scope: Mapping[str, Any], receive: Receive, send: Send) -> None:
        self._receive = receive
        self._send = send
        self._headers = {name.decode("latin1"): value.decode("latin1") for name, value in scope["headers"]}
        self._address = str((scope.get("client") or [""])[0])
        self._wire = Wire(send)
        self._allowance = Allowance()
        self._subscriptions: dict[str, Subscription] = {}
        self._news = asyncio.Event()
        self._closed = False
        self.credential: Credential | None = None
        self.username = ""

    async def run(self) -> None:
        """Serve the socket until one side closes it."""
        await self._receive()  # websocket.connect
        await self._send({"type": "websocket.accept"})  # a close before this would reach nobody with its code
        self._wire.take_at_most(LARGEST_INTRODUCTION)
        teller = asyncio.create_task(self._tell())
        try:
            await self._serve()
        except Gone:
            self._closed = True
        except Closing as closing:
            await self._close(closing.code)
        except TooSlow:
            await self._close_slow()
        finally:
            attendance().leave(self)
            teller.cancel()
            for subscription in self._subscriptions.values():
                subscription.end()

    async def judge(self, user: Any | None) -> None:
        """See ``attendance.Guest``: whoever may no longer see what they follow is out."""
        rights = rights_of(user)
        shown = self._subscriptions.items()
        lost = [topic for topic, one in shown if not _rights_for(topic, own=not one.sees_all) & rights]
        if user is None or lost:
            await self._close(NOT_SIGNED_IN)

    # --- signing in

    async def _serve(self) -> None:
        page = self._headers.get("origin")
        if page is not None and not origin.allowed(page, self._headers.get("host", "")):
            raise Closing(FOREIGN_ORIGIN)
        if page is not None and console_host.keeps_sessions(self._headers.get("host", "")):
            await self._sign_in_by_cookie()
        deadline = time.monotonic() + SIGN_IN_S
        while self.credential is None:
            try:
                frame = await asyncio.wait_for(self._frame(), deadline - time.monotonic())
            except TimeoutError:
                raise Closing(NOT_SIGNED_IN) from None
            await self._answer(frame)
        self._wire.take_at_most(LARGEST_MESSAGE)
        while True:
            await self._answer(await self._frame())

    async def _sign_in_by_cookie(self) -> None:
        cookies = SimpleCookie()
        with contextlib.suppress(CookieError):
            cookies.load(self._headers.get("cookie", ""))
        if key := cookies.get(settings.SESSION_COOKIE_NAME):
            credential = Credential("session", key.value)
            if await in_thread(person, credential) is not None:
                await self._welcome(credential, None)

    async def _authenticate(self, data: Mapping[str, Any], ref: object) -> None:
        if self.credential is not None:
            raise Invalid("Somebody is signed in on this socket already.")
        token = data.get("token")
        credential = await in_thread(by_token, token) if isinstance(token, str) else None
        if credential is None:
            await self._say(wire.message("error", ref, code=NotAuthenticated.code, detail=BAD_TOKEN))
            raise Closing(NOT_SIGNED_IN)
        await self._welcome(credential, ref)

    async def _welcome(self, credential: Credential, ref: object) -> None:
        caller = await in_thread(self._caller, credential)
        most = settings.ORCHESTRA.sockets_per_account
        if most and attendance().sockets_of(caller.username) >= most:
            raise Closing(TOO_MANY)
        self.credential, self.username = credential, caller.username
        attendance().enter(self)
        await self._say(wire.message("authenticated", ref, user=caller.username, rights=sorted(caller.rights)))

    # --- requests

    async def _frame(self) -> str:
        """The next message of the client."""
        message = await self._receive()
        if message["type"] == "websocket.disconnect":
            raise Gone
        if self._closed:
            return await self._frame()
        if not self._allowance.spend():
            raise Closing(TOO_MANY)
        return str(message.get("text") or "")  # bytes are no message of ours

    async def _answer(self, frame: str) -> None:
        ref: object = None
        try:
            data = wire.parsed(frame)
            ref = wire.ref_of(data)
            await self._obey(data["type"], data, ref)
        except (Gone, Closing, TooSlow):
            raise
        except Exception as error:
            await self._say(await in_thread(_refusal, error, ref))

    async def _obey(self, kind: str, data: Mapping[str, Any], ref: object) -> None:
        if kind == "authenticate":
            await self._authenticate(data, ref)
        elif self.credential is None:
            raise NotAuthenticated(SIGN_IN_FIRST)
        elif kind == "ping":
            await self._say(wire.message("pong", ref))
        elif kind == "subscribe":
            await self._subscribe(_topic_of(data), _after(data), ref)
        elif kind == "unsubscribe":
            topic = _topic_of(data)
            self._drop(topic)
            await self._say(wire.message("unsubscribed", ref, topic=topic))
        elif kind in registry.commands:
            await self._say(wire.message("accepted", ref, **await in_thread(self._perform, kind, data)))
        else:
            raise UnknownType("There is no message of this type.")

    def _perform(self, kind: str, data: Mapping[str, Any]) -> Mapping[str, object]:
        """On a thread: the caller's rights are those of this moment."""
        command, caller = registry.commands[kind], self._caller(self.credential)
        if not command.rights & caller.rights:
            raise Forbidden("You have no right to do this.")
        surface = "dashboard" if caller.by_cookie else "websocket"
        with acting(lambda: Actor(caller.username, surface, self._address)):
            return command.run(caller, {name: data[name] for name in data if name not in ENVELOPE})

    def _caller(self, credential: Credential | None) -> Caller:
        """On a thread.

        Raises:
            Closing: what they signed in with no longer counts.
        """
        user = person(credential) if credential else None
        if user is None or credential is None:
            raise Closing(NOT_SIGNED_IN)
        return Caller(user, self._address, by_cookie=credential.kind == "session")

    # --- what is shown

    async def _subscribe(self, topic: str, after: int, ref: object) -> None:
        wanted = _rights_for(topic)
        caller = await in_thread(self._caller, self.credential)
        if not wanted & caller.rights:
            raise Forbidden("You have no right to see this.")
        if topic not in self._subscriptions and len(self._subscriptions) >= MOST_SUBSCRIPTIONS:
            raise TooManySubscriptions(f"A socket follows {MOST_SUBSCRIPTIONS} topics at most.")
        if topic in registry.lists:
            await self._follow_list(topic, caller, ref)
        else:
            await self._follow_log(topic, after, ref)
        self._news.set()

    async def _follow_list(self, topic: str, caller: Caller, ref: object) -> None:
        sees_all = registry.lists[topic].rights & caller.rights
        feed = await keeper().list_feed(topic)
        self._drop(topic)
        subscription = ListSubscription(feed, None if sees_all else caller.username, self._news.set)
        await self._say(subscription.snapshot(ref))
        self._subscriptions[topic] = subscription

    async def _follow_log(self, topic: str, after: int, ref: object) -> None:
        prefix, _, spelled = topic.partition(":")
        log = registry.logs[prefix]
        key, fields, head = await in_thread(log.snapshot, spelled)
        topic = f"{prefix}:{key}"
        self._drop(topic)
        await self._say(wire.message("snapshot", ref, topic=topic, **fields, last_seq=head))
        feed = keeper().log_feed(topic, key, log, head)
        self._subscriptions[topic] = LogSubscription(feed, after, self._news.set)

    def _drop(self, topic: str) -> None:
        if old := self._subscriptions.pop(topic, None):
            old.end()

    async def _tell(self) -> None:
        """Send what is new, topic by topic, as fast as the far side reads."""
        try:
            while True:
                await self._news.wait()
                self._news.clear()
                while await self._tell_a_little():
                    pass
        except TooSlow:
            await self._close_slow()
        except Exception:
            logger.exception("a socket could not be told")
            await self._close(FAILED)

    async def _tell_a_little(self) -> bool:
        more = False
        for topic, subscription in list(self._subscriptions.items()):
            for frames in batched(await subscription.next(), FRAMES_AT_ONCE):
                await self._wire.room(SLOW_S)
                if self._closed or self._subscriptions.get(topic) is not subscription:
                    break
                await self._wire.send(frames)
                more = True
        return more

    # --- the way out

    async def _say(self, frame: str) -> None:
        await self._wire.room(SLOW_S)
        if not self._closed:
            await self._wire.send([frame])

    async def _close_slow(self) -> None:
        logger.info("a socket from %s is closed, for it does not read", self._address)
        await self._close(SLOW_READER)

    async def _close(self, code: int) -> None:
        if not self._closed:
            self._closed = True
            await self._wire.close(code)


def batched(frames: Sequence[str], size: int) -> Iterator[Sequence[str]]:
    """``frames`` in pieces of ``size``."""
    return (frames[start : start + size] for start in range(0, len(frames), size))


def _rights_for(topic: str, *, own: bool = True) -> frozenset[Any]:
    """Return the rights of which one opens ``topic``; with ``own`` also those that open the caller's own rows.

    Raises:
        UnknownTopic: there is no such topic.
    """
    prefix, colon, key = topic.partition(":")
    if topic in registry.lists:
        known = registry.lists[topic]
        return known.rights | known.own_rights if own else known.rights
    if colon and key and prefix in registry.logs:
        return registry.logs[prefix].rights
    raise UnknownTopic("There is no such topic.")


def _topic_of(data: Mapping[str, Any]) -> str:
    topic = data.get("topic")
    if not isinstance(topic, str):
        raise Invalid("The request is not valid: topic: a text.", {"topic": ["A text."]})
    return topic


def _after(data: Mapping[str, Any]) -> int:
    after = data.get("after")
    if after is None:
        return 0
    if type(after) is not int or not 0 <= after <= LARGEST_NUMBER:
        raise Invalid("The request is not valid: after: a number.", {"after": ["A whole number, 0 or more."]})
    return after


def _refusal(error: Exception, ref: object) -> str:
    """The same code, detail and facts as at the REST door."""
    response = answer_for_error(error, {})
    if response is None:
        if not isinstance(error, OrchestraError):
            logger.error("a message of a socket failed", exc_info=error)
            return wire.message("error", ref, code="error", detail="Something went wrong on our side; it was logged.")
        return wire.message("error", ref, code=error.code, detail=error.detail, **error.facts)
    return wire.message("error", ref, **response.data)
