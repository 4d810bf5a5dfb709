"""The Bot API over HTTP. A call returns its result or raises one of a few errors.

Bot API, "Making requests": ``{"ok": true, "result"}`` or ``{"ok": false, "error_code",
"description", "parameters"?}``. A proxy in between may also send HTML or an empty body.
"""

import logging
import random
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import requests
import tenacity
from requests.exceptions import ConnectTimeout

from escalation.conf import TelegramSettings
from escalation.errors import BotApiError, ChatMoved, ChatUnusable, NotReached, Refused, TokenRefused, TooManyRequests
from escalation.telegram.api.breaker import Breaker
from escalation.telegram.api.chat_state import ChatState, describe_refusal
from escalation.telegram.api.counters import CallCounters
from escalation.telegram.api.error_mapping import NOTHING_CHANGED, cure_for, error_for, is_lost
from escalation.telegram.api.rate_limiter import ALL_CHATS, RateLimiter, is_rate_limited

logger = logging.getLogger(__name__)

GAVE_UP = "Maximum retry attempts exceeded"
JITTER = 0.25  # fraction of a delay that is added to it at most


@dataclass(slots=True)
class BotApi:
    """Calls ``{url}/bot{token}/{method}``.

    Each call is timed, counted, rate limited and guarded by the breaker.

    ``moved`` maps chats that became supergroups to their new numbers. ``on_moved``, ``on_flood``
    and ``on_off`` are called when such a state changes. ``chat_state`` knows whether our chat
    accepts messages. Messages to our chat go to our topic, if one is configured, unless
    ``message_thread_id`` is given: 0 for General. Safe from any thread, because each thread has its
    own HTTP session.
    """

    settings: TelegramSettings
    breaker: Breaker | None = None
    rate_limiter: RateLimiter = field(default_factory=RateLimiter)
    counters: CallCounters = field(default_factory=CallCounters)
    stop: threading.Event = field(default_factory=threading.Event)
    moved: dict[int, int] = field(default_factory=dict)
    on_moved: Callable[[int, int], None] = lambda old, new: None
    on_flood: Callable[[int, float], None] = lambda chat, seconds: None
    on_off: Callable[[str], None] = lambda why: None
    chat_state: ChatState = field(default_factory=ChatState)
    answered_at: float = 0.0
    _local: threading.local = field(default_factory=threading.local)

    @property
    def chat(self) -> int:
        """The present number of the configured chat."""
        return self.moved.get(self.settings.chat_id, self.settings.chat_id)

    @property
    def off(self) -> str:
        """Why nothing can be sent to our chat until an operator fixes it; empty if it works."""
        return self.chat_state.off

    @property
    def doubtful(self) -> bool:
        """True if the last ``call`` of this thread lost a response and may have been carried out
        twice.
        """
        return bool(getattr(self._local, "doubtful", False))

    def call(self, method: str, **params: Any) -> Any:
        """Return ``result`` of the response, after quick retries (1, 2, 4 … 16 s).

        ``None`` parameters are left out.

        A value ``(file name, bytes)`` is uploaded. "Message is not modified" counts as a success.

        Raises:
            BotApiError: one of the subclasses in ``escalation.errors``.
        """
        retrying = tenacity.Retrying(
            retry=tenacity.retry_if_exception(self._is_retryable),
            wait=self._delay,
            stop=tenacity.stop_after_attempt(self.settings.retries + 1) | tenacity.stop_when_event_set(self.stop),
            sleep=tenacity.sleep_using_event(self.stop),
            before_sleep=lambda attempt: self._record_retry(method, attempt),
            reraise=True,
        )
        self._local.doubtful = False
        try:
            return retrying(self.call_once, method, **params)
        except (NotReached, TooManyRequests) as error:
            logger.warning("telegram %s failed: %s (%s)", method, GAVE_UP, error.detail)
            raise

    def call_once(self, method: str, *, timeout_s: float | None = None, **params: Any) -> Any:
        """Call without retries, for calls that are soon useless, such as callback answers.

        Raises:
            BotApiError: as `call`.
        """
        params = {name: value for name, value in params.items() if value is not None}
        chat = int(params.get("chat_id") or ALL_CHATS)
        if method.startswith("send"):
            self._set_topic(chat, params)
        if chat in self.moved:
            chat = params["chat_id"] = self._moved_chat_id(chat, params)
        try:
            return self._checked_call(method, chat, params, timeout_s)
        except NotReached as lost:
            self._local.doubtful = self.doubtful or lost.may_have_succeeded
            raise
        except ChatMoved as moved:
            self.record_chat_move(chat, moved.chat)
            params["chat_id"] = self._moved_chat_id(chat, params)
            return self._checked_call(method, moved.chat, params, timeout_s)

    def _checked_call(self, method: str, chat: int, params: dict[str, Any], timeout_s: float | None) -> Any:
        ours, to_send = chat == self.chat, method.startswith("send")
        our_topic = ours and (not to_send or params.get("message_thread_id", 0) == self.settings.topic_id)
        if refused := self.chat_state.refusal_for(ours=our_topic, to_send=to_send):
            raise refused
        if self.breaker and self.breaker.enter():
            # a probe with the message itself could send it twice, if its response is lost
            self._timed_call("getMe", {}, timeout_s=10.0, probe=True)
        if is_rate_limited(method) and (wait_s := self.rate_limiter.reserve(chat)):
            raise TooManyRequests("Telegram takes no more messages for a moment.", retry_after_s=wait_s)
        try:
            result = self._timed_call(method, params, timeout_s=timeout_s)
        except TooManyRequests as flood:
            self.rate_limiter.pause_chat(chat, flood.retry_after_s)
            self.on_flood(chat, flood.retry_after_s)
            raise
        except (TokenRefused, ChatUnusable) as refused:
            is_our_chat = our_topic and (to_send or is_lost(refused.description))
            if isinstance(refused, TokenRefused) or is_our_chat:
                self.turn_off(refused)
            raise
        if our_topic and to_send:
            self._record_success()
        return result

    def _timed_call(self, method: str, params: dict[str, Any], *, timeout_s: float | None, probe: bool = False) -> Any:
        started, error = time.monotonic(), None
        try:
            result = self._exchange(method, params, timeout_s)
            self.answered_at = time.time()
            return result
        except BotApiError as failure:
            error = failure
            logger.warning("telegram %s failed: %s", method, failure.detail)
            raise
        finally:
            is_long_poll = method == "getUpdates"
            self.counters.record_call(time.monotonic() - started, failed=error is not None, is_long_poll=is_long_poll)
            if self.breaker and not isinstance(error, TooManyRequests):
                self.breaker.record(failed=isinstance(error, NotReached), probe=probe)

    def _exchange(self, method: str, params: dict[str, Any], timeout_s: float | None) -> Any:
        """Make one request.

        Exceptions of the HTTP library never leave this method: their text contains the URL with the
        token.
        """
        url = f"{self.settings.api_url}/bot{self.settings.token}/{method}"
        read_s = timeout_s or self.settings.request_timeout.total_seconds()
        files = {name: value for name, value in params.items() if isinstance(value, tuple)}
        plain = {name: value for name, value in params.items() if name not in files}
        body: dict[str, Any] = {"data": plain, "files": files} if files else {"json": plain}
        timeouts = (min(self.settings.connect_timeout.total_seconds(), read_s), read_s)
        try:
            # a redirect would pass the token to another host
            response = self._session.post(url, timeout=timeouts, allow_redirects=False, **body)
            answer = response.json()
        except ConnectTimeout:
            raise NotReached("Telegram could not be reached: no connection in time") from None
        except requests.exceptions.JSONDecodeError:
            raise error_for(response.status_code, "", {}, response.headers.get("Retry-After")) from None
        except (requests.RequestException, OSError, ValueError) as failure:
            done = not _was_never_sent(failure)
            raise NotReached(
                f"Telegram could not be reached: {type(failure).__name__}", may_have_succeeded=done
            ) from None
        return self._result(response, answer)

    def _result(self, response: requests.Response, answer: Any) -> Any:
        if not isinstance(answer, dict) or "ok" not in answer:
            raise error_for(response.status_code, "", {}, None)
        if answer["ok"] is True:
            return answer.get("result")
        description = str(answer.get("description", ""))
        if NOTHING_CHANGED in description.lower():
            return True
        code = answer.get("error_code")
        code = code if isinstance(code, int) else response.status_code
        parameters = answer.get("parameters")
        parameters = parameters if isinstance(parameters, dict) else {}
        raise error_for(code, description, parameters, response.headers.get("Retry-After"))

    @property
    def _session(self) -> requests.Session:
        session: requests.Session | None = getattr(self._local, "session", None)
        if session is None:
            session = self._local.session = requests.Session()
            # requests would read proxies and certificates of the environment before every call
            environment = session.merge_environment_settings(self.settings.api_url, {}, None, None, None)
            session.proxies, session.verify = environment["proxies"], environment["verify"]
            session.trust_env = False
        return session

    def _moved_chat_id(self, chat: int, params: dict[str, Any]) -> int:
        """Return the new number of a chat that moved.

        Old message numbers are refused: in the new chat they denote others.
        """
        new = self.moved[chat]
        if "message_id" in params:
            raise ChatMoved("The group became a supergroup; its old messages stayed behind.", chat=new)
        params.pop("reply_parameters", None)
        return new

    def record_chat_move(self, old: int, new: int) -> None:
        """Record that a group became a supergroup, and log it once."""
        if self.moved.get(old) == new:
            return
        self.moved[old] = new
        logger.warning("telegram: the group %s became the supergroup %s; set TELEGRAM_CHAT_ID=%s", old, new, new)
        self.on_moved(old, new)

    def turn_on(self) -> None:
        """Mark the chat as usable again."""
        self.chat_state.turn_on()
        self.on_off("")

    def turn_off(self, refused: Refused) -> None:
        """Turn the channel off until an operator fixes the cause that Telegram named."""
        if self.chat_state.turn_off(refused):
            logger.critical(
                "telegram channel failed and is off: %s (%s). %s",
                describe_refusal(refused), refused.detail, cure_for(refused.detail),
            )  # fmt: skip
            self.on_off(self.off)

    def _record_success(self) -> None:
        """Record that our chat accepted a message."""
        self.chat_state.record_success()
        if self.off:
            logger.warning("telegram channel is usable again")
            self.turn_on()

    def _set_topic(self, chat: int, params: dict[str, Any]) -> None:
        """Set the topic of a message. General has no topic number."""
        if chat in (self.chat, self.settings.chat_id):
            params.setdefault("message_thread_id", self.settings.topic_id)
        if not params.get("message_thread_id"):
            params.pop("message_thread_id", None)

    def _is_retryable(self, error: BaseException) -> bool:
        if isinstance(error, TooManyRequests):
            return 429 in self.settings.retry_on and error.retry_after_s <= self.settings.longest_delay.total_seconds()
        return isinstance(error, NotReached) and (error.status is None or error.status in self.settings.retry_on)

    def _delay(self, attempt: tenacity.RetryCallState) -> float:
        error = attempt.outcome.exception() if attempt.outcome else None
        settings = self.settings
        if isinstance(error, TooManyRequests):
            seconds, margin_s = error.retry_after_s, 0.05
        else:
            doubled = settings.first_delay.total_seconds() * 2.0 ** (attempt.attempt_number - 1)
            seconds, margin_s = min(doubled, settings.longest_delay.total_seconds()), 0.0
        jitter_s = random.uniform(0, JITTER * max(seconds, 0.1)) if settings.jitter else 0.0  # noqa: S311 - no secret
        return seconds + margin_s + jitter_s

    def _record_retry(self, method: str, attempt: tenacity.RetryCallState) -> None:
        self.counters.record_retry()
        wait = attempt.next_action.sleep if attempt.next_action else 0.0
        logger.info("telegram %s: retry attempt %d in %.1f s", method, attempt.attempt_number, wait)


def _was_never_sent(failure: Exception) -> bool:
    """Return True if no connection was established, so Telegram cannot have got the request."""
    return "NewConnectionError" in repr(failure) or "NameResolutionError" in repr(failure)
