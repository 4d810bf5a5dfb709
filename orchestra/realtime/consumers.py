"""``/ws/hub``: the consumer of one socket. ``registry`` holds its topics and commands, docs/api.md its messages."""

import asyncio
import logging
from collections.abc import Mapping, Sequence
from functools import cache
from typing import Any

from channels.generic.websocket import AsyncJsonWebsocketConsumer
from django.conf import settings

from orchestra.auth.actor import Actor, acting
from orchestra.auth.permissions import rights_of
from orchestra.db.async_notify import in_thread
from orchestra.errors import Forbidden, Invalid, NotFound, OrchestraError
from orchestra.realtime import registry, wire
from orchestra.realtime.credentials import Credential, credential_of_token, find_account
from orchestra.realtime.feed_registry import FeedRegistry
from orchestra.realtime.limits import (
    BURST_BEFORE_SIGN_IN,
    COUNTED_AS_ONE,
    LARGEST_MESSAGE,
    LARGEST_MESSAGE_BEFORE_SIGN_IN,
    RateLimiter,
)
from orchestra.realtime.registry import Caller
from orchestra.realtime.sockets import SocketRegistry
from orchestra.realtime.subscriptions import ListSubscription, LogSubscription, Subscription
from orchestra.rest.viewsets import answer_for_error

logger = logging.getLogger(__name__)

SIGN_IN_S = 5.0
SLOW_S = 10.0  # how long messages may wait for a client that does not read
MOST_SUBSCRIPTIONS = 100
MESSAGES_AT_ONCE = 20  # between two looks at whether the topic is still subscribed
LARGEST_NUMBER = 2**63 - 1
ENVELOPE = ("type", "ref")
HOW = 'Send {"type": "authenticate", "token": "<key>"}; make a key with `./manage.py create_token USER`.'
SIGN_IN_FIRST = f"Unauthenticated. {HOW}"
BAD_TOKEN = f"Unauthenticated. This token is unknown or has expired, or its account is closed. {HOW}"
NOT_SIGNED_IN, TOO_MANY, TOO_LONG, FAILED, SLOW_READER = 4401, 4429, 1009, 1011, 1013
MESSAGE_LIMIT = "orchestra.message_limit"  # an ASGI extension of ``daphne_server``


class CloseSocket(Exception):
    """Raised while a message is handled to close the socket with ``code``."""

    def __init__(self, code: int) -> None:
        super().__init__(code)
        self.code = code


class NotAuthenticated(OrchestraError):
    """The socket is not signed in, or its token is wrong."""

    code = "not_authenticated"


class UnknownType(Invalid):
    """There is no message of this type."""

    code = "unknown_type"


class UnknownTopic(NotFound):
    """There is no such topic."""

    code = "unknown_topic"


class TooManySubscriptions(Forbidden):
    """This socket has as many subscriptions as one socket may have."""

    code = "too_many_subscriptions"


@cache
def feeds() -> FeedRegistry:
    """Return the feeds of this process; they live on its event loop."""
    return FeedRegistry()


@cache
def sockets() -> SocketRegistry:
    """Return the signed-in sockets of this process."""
    return SocketRegistry()


class HubConsumer(AsyncJsonWebsocketConsumer):
    """One socket, from the handshake to its end.

    Two coroutines send: the handler of the client's messages, which Channels calls one after the other, and
    ``_send_changes``. Both wait while the client does not read, if the server's ``send`` waits
    (``daphne_server``); after ``SLOW_S`` the socket is closed. A socket has no queue of its own.
    """

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.credential: Credential | None = None
        self.username = ""
        self._address = ""
        self._is_closing = False
        self._rate_limiter = RateLimiter(BURST_BEFORE_SIGN_IN)
        self._subscriptions: dict[str, Subscription] = {}
        self._has_changes = asyncio.Event()
        self._sign_in_deadline: asyncio.Task[None] | None = None

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        """Serve the socket; whatever ends it, an error or a stop of the server included, frees what it held."""
        sender = asyncio.create_task(self._send_changes())
        try:
            await super().__call__(scope, receive, send)
        finally:
            self._is_closing = True
            sender.cancel()
            self._cancel_sign_in_deadline()
            if self.credential:
                sockets().remove(self)
            for subscription in self._subscriptions.values():
                subscription.end()

    async def dispatch(self, message: Mapping[str, Any]) -> None:
        try:
            await super().dispatch(message)
        except CloseSocket as closing:
            await self.close(closing.code)

    # --- signing in

    async def connect(self) -> None:
        self._address = str((self.scope.get("client") or [""])[0])
        await self.accept()
        if self.scope["user"].is_authenticated:
            await self._sign_in(Credential("session", self.scope["session"].session_key), None)
        else:
            self._sign_in_deadline = asyncio.create_task(self._close_after_deadline())

    async def _close_after_deadline(self) -> None:
        await asyncio.sleep(SIGN_IN_S)
        await self.close(NOT_SIGNED_IN)

    def _cancel_sign_in_deadline(self) -> None:
        if self._sign_in_deadline is not None:
            self._sign_in_deadline.cancel()

    async def _authenticate(self, data: Mapping[str, Any], ref: object) -> None:
        if self.credential is not None:
            raise Invalid("This socket is signed in already.")
        self._cancel_sign_in_deadline()  # from here on the token decides, however long the database takes
        token = data.get("token")
        credential = await in_thread(credential_of_token, token) if isinstance(token, str) else None
        if credential is None:
            await self._reply("error", ref, code=NotAuthenticated.code, detail=BAD_TOKEN)
            raise CloseSocket(NOT_SIGNED_IN)
        await self._sign_in(credential, ref)

    async def _sign_in(self, credential: Credential, ref: object) -> None:
        caller = await in_thread(self._find_caller, credential)
        limit = settings.ORCHESTRA.sockets_per_account
        if limit and sockets().count_of(caller.username) >= limit:
            raise CloseSocket(TOO_MANY)
        self.credential, self.username = credential, caller.username
        self._rate_limiter = RateLimiter()
        sockets().add(self)
        if MESSAGE_LIMIT in self.scope.get("extensions", {}):
            await self.base_send({"type": MESSAGE_LIMIT, "bytes": LARGEST_MESSAGE})
        await self._reply("authenticated", ref, user=caller.username, rights=sorted(caller.rights))

    async def apply_access(self, user: Any | None) -> None:
        """See ``sockets.SignedInSocket``."""
        rights = rights_of(user)
        shown = self._subscriptions.items()
        lost = [topic for topic, one in shown if not _rights_for(topic, own=not one.sees_all) & rights]
        if user is None or lost or user.get_username() != self.username:  # lists of own rows go by the name
            await self.close(NOT_SIGNED_IN)

    # --- requests

    async def receive(self, text_data: str | None = None, bytes_data: bytes | None = None, **kwargs: Any) -> None:
        if self._is_closing:
            return
        limit = LARGEST_MESSAGE if self.credential else LARGEST_MESSAGE_BEFORE_SIGN_IN
        size = len(text_data or bytes_data or "")
        if size > limit:  # under servers without the extension
            raise CloseSocket(TOO_LONG)
        if not self._rate_limiter.take(1 + size // COUNTED_AS_ONE):
            raise CloseSocket(TOO_MANY)
        ref: object = None
        try:
            content = await self.decode_json(text_data or "")  # binary messages have no meaning here
            ref = wire.ref_of(content)
            await self.receive_json(content, ref=ref)
        except CloseSocket:
            raise
        except Exception as error:
            await self._reply("error", ref, **await in_thread(_describe_error, error))

    async def receive_json(self, content: dict[str, Any], ref: object = None, **kwargs: Any) -> None:
        kind = content["type"]
        if kind == "authenticate":
            await self._authenticate(content, ref)
        elif self.credential is None:
            raise NotAuthenticated(SIGN_IN_FIRST)
        elif kind == "ping":
            await self._reply("pong", ref)
        elif kind == "subscribe":
            await self._subscribe(_topic_of(content), _after(content), ref)
        elif kind == "unsubscribe":
            topic = _topic_of(content)
            self._unsubscribe(topic)
            await self._reply("unsubscribed", ref, topic=topic)
        elif kind in registry.commands:
            await self._reply("accepted", ref, **await in_thread(self._run_command, kind, content))
        else:
            raise UnknownType("There is no message of this type.")

    def _run_command(self, kind: str, content: Mapping[str, Any]) -> Mapping[str, object]:
        """On a thread: run a command with the caller's current rights."""
        command, caller = registry.commands[kind], self._find_caller(self.credential)
        if not command.rights & caller.rights:
            raise Forbidden("You have no right to do this.")
        surface = "dashboard" if caller.by_cookie else "websocket"
        with acting(lambda: Actor(caller.username, surface, self._address)):
            return command.run(caller, {name: content[name] for name in content if name not in ENVELOPE})

    def _find_caller(self, credential: Credential | None) -> Caller:
        """On a thread: return the account with its current rights.

        Raises:
            CloseSocket: the credential no longer counts.
        """
        user = find_account(credential) if credential else None
        if user is None or credential is None:
            raise CloseSocket(NOT_SIGNED_IN)
        return Caller(user, self._address, by_cookie=credential.kind == "session")

    # --- subscriptions

    async def _subscribe(self, topic: str, after: int, ref: object) -> None:
        wanted = _rights_for(topic)
        caller = await in_thread(self._find_caller, self.credential)
        if not wanted & caller.rights:
            raise Forbidden("You have no right to see this.")
        if topic not in self._subscriptions and len(self._subscriptions) >= MOST_SUBSCRIPTIONS:
            raise TooManySubscriptions(f"A socket follows {MOST_SUBSCRIPTIONS} topics at most.")
        if topic in registry.lists:
            await self._subscribe_to_list(topic, caller, ref)
        else:
            await self._subscribe_to_log(topic, after, ref)
        self._has_changes.set()

    async def _subscribe_to_list(self, topic: str, caller: Caller, ref: object) -> None:
        sees_all = registry.lists[topic].rights & caller.rights
        feed = await feeds().list_feed(topic)
        self._unsubscribe(topic)
        subscription = ListSubscription(feed, None if sees_all else caller.username, self._has_changes.set)
        await self.send(text_data=subscription.snapshot(ref))
        self._subscriptions[topic] = subscription

    async def _subscribe_to_log(self, topic: str, after: int, ref: object) -> None:
        prefix, _, given_key = topic.partition(":")
        log = registry.logs[prefix]
        key, fields, head = await in_thread(log.snapshot, given_key)
        topic = f"{prefix}:{key}"
        self._unsubscribe(topic)
        await self._reply("snapshot", ref, topic=topic, **fields, last_seq=head)
        feed = feeds().log_feed(topic, key, log, head)
        self._subscriptions[topic] = LogSubscription(feed, after, self._has_changes.set)

    def _unsubscribe(self, topic: str) -> None:
        if old := self._subscriptions.pop(topic, None):
            old.end()

    async def _send_changes(self) -> None:
        """Send what is new in each topic in turn, as fast as the client reads."""
        try:
            while not self._is_closing:
                await self._has_changes.wait()
                self._has_changes.clear()
                while await self._send_next_changes():
                    pass
        except Exception:
            logger.exception("the changes of a socket could not be sent")
            await self.close(FAILED)

    async def _send_next_changes(self) -> bool:
        """Send a bounded number of messages of each topic; return whether there may be more."""
        may_have_more = False
        for topic, subscription in list(self._subscriptions.items()):
            texts = await subscription.next()
            for start in range(0, len(texts), MESSAGES_AT_ONCE):
                if self._is_closing or self._subscriptions.get(topic) is not subscription:
                    break
                await self._send_texts(texts[start : start + MESSAGES_AT_ONCE])
                may_have_more = True
        return may_have_more

    # --- sending

    @classmethod
    async def decode_json(cls, text_data: str) -> dict[str, Any]:
        return wire.parsed(text_data)

    @classmethod
    async def encode_json(cls, content: object) -> str:
        return wire.text(content)

    async def _reply(self, kind: str, ref: object, **fields: object) -> None:
        await self.send_json(wire.envelope(kind, ref, **fields))

    async def send_json(self, content: object, close: bool = False) -> None:
        """Channels' own ``send_json`` calls its parent's ``send`` and so would miss the one below."""
        await self.send(text_data=await self.encode_json(content))

    async def send(self, text_data: str | None = None, bytes_data: bytes | None = None, close: bool = False) -> None:
        if text_data is not None:
            await self._send_texts([text_data])

    async def _send_texts(self, texts: Sequence[str]) -> None:
        """Send messages, unless the socket is closing; close it if the client does not read for ``SLOW_S``."""
        try:
            async with asyncio.timeout(SLOW_S):
                for text in texts:
                    if not self._is_closing:
                        await super().send(text_data=text)
        except TimeoutError:
            if not self._is_closing:
                logger.info("a socket from %s is closed, for it does not read", self._address)
                await self.close(SLOW_READER)

    async def close(self, code: int | None = None, reason: str | None = None) -> None:
        """Start the closing handshake once; nothing is sent afterwards."""
        if not self._is_closing:
            self._is_closing = True
            await super().close(code=code, reason=reason)


def _rights_for(topic: str, *, own: bool = True) -> frozenset[Any]:
    """Return the rights of which any one opens ``topic``; with ``own`` also those that open the caller's own rows.

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


def _topic_of(content: Mapping[str, Any]) -> str:
    topic = content.get("topic")
    if not isinstance(topic, str):
        raise Invalid("The request is not valid: topic: a text.", {"topic": ["A text."]})
    return topic


def _after(content: Mapping[str, Any]) -> int:
    after = content.get("after")
    if after is None:
        return 0
    if type(after) is not int or not 0 <= after <= LARGEST_NUMBER:
        raise Invalid("The request is not valid: after: a number.", {"after": ["A whole number, 0 or more."]})
    return after


def _describe_error(error: Exception) -> dict[str, Any]:
    """Return the code, detail and facts that REST would answer with."""
    response = answer_for_error(error, {})
    if response is not None:
        return dict(response.data)
    if isinstance(error, OrchestraError):
        return {"code": error.code, "detail": error.detail, **error.facts}
    logger.error("a message of a socket failed", exc_info=error)
    return {"code": "error", "detail": "Something went wrong on our side; it was logged."}
