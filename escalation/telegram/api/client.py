"""The Bot API over HTTP: one call, its answer or one of a few errors.

Bot API, "Making requests": ``{"ok": true, "result"}`` or ``{"ok": false, "error_code", "description", "parameters"?}``;
a proxy in between may also send HTML or nothing.
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
from escalation.telegram.api.chat_state import Gate, reason
from escalation.telegram.api.counters import Figures
from escalation.telegram.api.error_mapping import NOTHING_CHANGED, error_for, is_lost
from escalation.telegram.api.rate_limiter import EVERYWHERE, Pacer, is_paced
from escalation.telegram.api.refusals import cure_for

logger = logging.getLogger(__name__)

GAVE_UP = "Maximum retry attempts exceeded"
JITTER = 0.25  # of a delay, on top of it


@dataclass(slots=True)
class BotApi:
    """Calls go to ``{url}/bot{token}/{method}``; every one is timed, counted, paced and guarded by the breaker.

    ``moved`` maps chats that became supergroups to their new numbers; ``on_moved``, ``on_flood`` and ``on_off`` hear of
    news that others have to know. ``gate`` knows whether our chat takes messages. What goes to our chat goes into our
    topic, if one is set, unless ``message_thread_id`` says otherwise: 0 for General. Safe from any thread: each has its
    own connection.
    """

    settings: TelegramSettings
    breaker: Breaker | None = None
    pacer: Pacer = field(default_factory=Pacer)
    figures: Figures = field(default_factory=Figures)
    stop: threading.Event = field(default_factory=threading.Event)
    moved: dict[int, int] = field(default_factory=dict)
    on_moved: Callable[[int, int], None] = lambda old, new: None
    on_flood: Callable[[int, float], None] = lambda chat, seconds: None
    on_off: Callable[[str], None] = lambda why: None
    gate: Gate = field(default_factory=Gate)
    answered_at: float = 0.0
    _local: threading.local = field(default_factory=threading.local)

    @property
    def chat(self) -> int:
        """The chat of the settings, under its present number."""
        return self.moved.get(self.settings.chat_id, self.settings.chat_id)

    @property
    def off(self) -> str:
        """Why nothing can be sent to our chat until somebody mends it; empty if all is well."""
        return self.gate.off

    @property
    def doubtful(self) -> bool:
        """Whether an answer was lost during this thread's last ``call``, so that it may have been carried out twice."""
        return bool(getattr(self._local, "doubtful", False))

    def call(self, method: str, **params: Any) -> Any:
        """``result`` of the answer; quick repetitions (1, 2, 4 … 16 s) are made in here. ``None`` params are left out.

        A value ``(file name, bytes)`` is uploaded. "Message is not modified" is a success.

        Raises:
            BotApiError: one of the family in ``escalation.errors``.
        """
        retrying = tenacity.Retrying(
            retry=tenacity.retry_if_exception(self._soon_again),
            wait=self._delay,
            stop=tenacity.stop_after_attempt(self.settings.retries + 1) | tenacity.stop_when_event_set(self.stop),
            sleep=tenacity.sleep_using_event(self.stop),
            before_sleep=lambda attempt: self._repeating(method, attempt),
            reraise=True,
        )
        self._local.doubtful = False
        try:
            return retrying(self.once, method, **params)
        except (NotReached, TooManyRequests) as error:
            logger.warning("telegram %s failed: %s (%s)", method, GAVE_UP, error.detail)
            raise

    def once(self, method: str, *, timeout_s: float | None = None, **params: Any) -> Any:
        """As ``call``, without repetitions; for what is not worth waiting for, such as the answer to a press."""
        params = {name: value for name, value in params.items() if value is not None}
        chat = int(params.get("chat_id") or EVERYWHERE)
        if method.startswith("send"):
            self._address(chat, params)
        if chat in self.moved:
            chat = params["chat_id"] = self._followed(chat, params)
        try:
            return self._guarded(method, chat, params, timeout_s)
        except NotReached as lost:
            self._local.doubtful = self.doubtful or lost.perhaps_done
            raise
        except ChatMoved as moved:
            self.remember_move(chat, moved.chat)
            params["chat_id"] = self._followed(chat, params)
            return self._guarded(method, moved.chat, params, timeout_s)

    def _guarded(self, method: str, chat: int, params: dict[str, Any], timeout_s: float | None) -> Any:
        ours, to_send = chat == self.chat, method.startswith("send")
        our_topic = ours and (not to_send or params.get("message_thread_id", 0) == self.settings.topic_id)
        if refused := self.gate.refuses(ours=our_topic, to_send=to_send):
            raise refused
        if self.breaker and self.breaker.enter():
            self._timed("getMe", {}, timeout_s=10.0, probe=True)
        if is_paced(method) and (wait_s := self.pacer.reserve(chat)):
            raise TooManyRequests("Telegram takes no more messages for a moment.", retry_after_s=wait_s)
        try:
            result = self._timed(method, params, timeout_s=timeout_s)
        except TooManyRequests as flood:
            self.pacer.leave_alone(chat, flood.retry_after_s)
            self.on_flood(chat, flood.retry_after_s)
            raise
        except (TokenRefused, ChatUnusable) as refused:
            blames_us = our_topic and (to_send or is_lost(refused.description))
            if isinstance(refused, TokenRefused) or blames_us:
                self.turn_off(refused)
            raise
        if our_topic and to_send:
            self._taken()
        return result

    def _timed(self, method: str, params: dict[str, Any], *, timeout_s: float | None, probe: bool = False) -> Any:
        began, error = time.monotonic(), None
        try:
            result = self._exchange(method, params, timeout_s)
            self.answered_at = time.time()
            return result
        except BotApiError as failure:
            error = failure
            logger.warning("telegram %s failed: %s", method, failure.detail)
            raise
        finally:
            waits = method == "getUpdates"
            self.figures.called(time.monotonic() - began, failed=error is not None, waits=waits)
            if self.breaker and not isinstance(error, TooManyRequests):
                self.breaker.record(failed=isinstance(error, NotReached), probe=probe)

    def _exchange(self, method: str, params: dict[str, Any], timeout_s: float | None) -> Any:
        """One request. No exception of the HTTP library leaves here: its text holds the URL, and the URL the token."""
        url = f"{self.settings.api_url}/bot{self.settings.token}/{method}"
        read_s = timeout_s or self.settings.request_timeout.total_seconds()
        files = {name: value for name, value in params.items() if isinstance(value, tuple)}
        plain = {name: value for name, value in params.items() if name not in files}
        body: dict[str, Any] = {"data": plain, "files": files} if files else {"json": plain}
        patience = (min(self.settings.connect_timeout.total_seconds(), read_s), read_s)
        try:
            response = self._session.post(url, timeout=patience, allow_redirects=False, **body)
            answer = response.json()
        except ConnectTimeout:
            raise NotReached("Telegram could not be reached: no connection in time") from None
        except requests.exceptions.JSONDecodeError:
            raise error_for(response.status_code, "", {}, response.headers.get("Retry-After")) from None
        except (requests.RequestException, OSError, ValueError) as failure:
            done = not _never_left(failure)
            raise NotReached(f"Telegram could not be reached: {type(failure).__name__}", perhaps_done=done) from None
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
            # proxies and certificates of the environment, looked up once and not before every call
            surroundings = session.merge_environment_settings(self.settings.api_url, {}, None, None, None)
            session.proxies, session.verify = surroundings["proxies"], surroundings["verify"]
            session.trust_env = False
        return session

    def _followed(self, chat: int, params: dict[str, Any]) -> int:
        """The present number of a chat that moved. Its messages stayed behind, and their numbers mean others there."""
        new = self.moved[chat]
        if "message_id" in params:
            raise ChatMoved("The group became a supergroup; its old messages stayed behind.", chat=new)
        params.pop("reply_parameters", None)
        return new

    def remember_move(self, old: int, new: int) -> None:
        """The group became a supergroup with another number; said once, whoever heard of it first."""
        if self.moved.get(old) == new:
            return
        self.moved[old] = new
        logger.warning("telegram: the group %s became the supergroup %s; set TELEGRAM_CHAT_ID=%s", old, new, new)
        self.on_moved(old, new)

    def usable_again(self) -> None:
        """Somebody mended the chat: go on."""
        self.gate.turn_on()
        self.on_off("")

    def turn_off(self, refused: Refused) -> None:
        """Nothing can be sent until somebody mends what Telegram named."""
        if self.gate.turn_off(refused):
            logger.critical(
                "telegram channel failed and is off: %s (%s). %s",
                reason(refused), refused.detail, cure_for(refused.detail),
            )  # fmt: skip
            self.on_off(self.off)

    def _taken(self) -> None:
        """Our chat took a message."""
        self.gate.passed()
        if self.off:
            logger.warning("telegram channel is usable again")
            self.usable_again()

    def _address(self, chat: int, params: dict[str, Any]) -> None:
        """Name the topic that a message goes to; General has no number."""
        if chat in (self.chat, self.settings.chat_id):
            params.setdefault("message_thread_id", self.settings.topic_id)
        if not params.get("message_thread_id"):
            params.pop("message_thread_id", None)

    def _soon_again(self, error: BaseException) -> bool:
        if isinstance(error, TooManyRequests):
            return 429 in self.settings.retry_on and error.retry_after_s <= self.settings.longest_delay.total_seconds()
        return isinstance(error, NotReached) and (error.status is None or error.status in self.settings.retry_on)

    def _delay(self, attempt: tenacity.RetryCallState) -> float:
        error = attempt.outcome.exception() if attempt.outcome else None
        settings = self.settings
        if isinstance(error, TooManyRequests):
            seconds, least = error.retry_after_s, 0.05
        else:
            doubled = settings.first_delay.total_seconds() * 2.0 ** (attempt.attempt_number - 1)
            seconds, least = min(doubled, settings.longest_delay.total_seconds()), 0.0
        extra = random.uniform(0, JITTER * max(seconds, 0.1)) if settings.jitter else 0.0  # noqa: S311 - no secret
        return seconds + least + extra

    def _repeating(self, method: str, attempt: tenacity.RetryCallState) -> None:
        self.figures.repeated()
        wait = attempt.next_action.sleep if attempt.next_action else 0.0
        logger.info("telegram %s: retry attempt %d in %.1f s", method, attempt.attempt_number, wait)


def _never_left(failure: Exception) -> bool:
    """Whether the request certainly did not reach Telegram, because no connection came about."""
    return "NewConnectionError" in repr(failure) or "NameResolutionError" in repr(failure)
