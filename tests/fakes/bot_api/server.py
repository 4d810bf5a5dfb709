"""HTTP, long polling, the webhook and the faults of the stand-in."""

import asyncio
import concurrent.futures
import http.client
import json
import math
import random
import re
import socket
import ssl
import struct
import sys
import threading
import time
import urllib.parse
from collections import deque
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

from tests.fakes.bot_api import phone
from tests.fakes.bot_api.controls import CONTROL, Controls
from tests.fakes.bot_api.methods import (
    DEFAULT_UPDATES,
    MAX_UPLOAD,
    BotMethods,
    Call,
    Chat,
    Fault,
    Message,
    Update,
    User,
)
from tests.fakes.bot_api.rules import REASONS, SPEC, ApiError, Json
from tests.fakes.bot_api.topics import Topics

METHODS: dict[str, str] = {name.lower(): name for name in [*SPEC["methods"], *SPEC["not_played"]]}
TWO_POLLERS = "terminated by other getUpdates request; make sure that only one bot instance is running"
HOOK_ACTIVE = "can't use getUpdates method while webhook is active; use deleteWebhook to delete the webhook first"


class Dropped(Exception):
    """The connection is to be reset."""


@dataclass
class Reply:
    status: int
    body: bytes
    headers: Json = field(default_factory=dict)
    cut: bool = False  # send half of the body, then close


def json_reply(status: int, data: Any) -> Reply:
    return Reply(status, json.dumps(data, ensure_ascii=False, default=vars).encode())


class FakeBotApi(BotMethods, Controls, Topics):
    """The server; every public method may be called from any thread."""

    CALLBACK_TTL = 15  # seconds in which a button press can be answered (Telegram does not publish its figure)
    FLOOD = {"overall": (30, 1.0), "chat": (5, 5.0), "group": (20, 60.0)}  # messages, seconds
    LIFETIME = {"callback_query": 150.0}  # seconds an update waits for delivery; others 24 h

    def __init__(
        self,
        token: str = "123456:TEST-token",
        chats: Iterable[int] = (),
        users: dict[int, str] | None = None,
        *,
        host: str = "127.0.0.1",
        port: int = 0,
        strict: bool = True,
        flood: bool = True,
        privacy_mode: bool = True,
        poll_throttle: bool = True,
        public_webhooks_only: bool = False,
        webhook_backoff: float = 1.0,
        webhook_timeout: float = 30.0,
        log: bool = False,
    ) -> None:
        self.token, self.host, self.port, self.strict, self.log = token, host, port, strict, log
        self.flood_on, self.privacy_mode, self.poll_throttle = flood, privacy_mode, poll_throttle
        self.public_webhooks_only = public_webhooks_only  # else http:// and any port are fine on loopback
        self.webhook_backoff, self.webhook_timeout = webhook_backoff, webhook_timeout
        self.bot: Json = {
            "id": int(token.split(":", maxsplit=1)[0]),
            "is_bot": True,
            "first_name": "Test bot",
            "username": "test_bot",
        }
        self._changed = threading.Condition(threading.RLock())
        self._chats: dict[int, Chat] = {}
        self._users: dict[int, User] = {}
        self._messages: dict[tuple[int, int], Message] = {}
        self._files: dict[str, tuple[Json, bytes]] = {}
        self._commands: dict[str, list[Json]] = {}
        self._callbacks: dict[str, Json] = {}
        self._updates: deque[Update] = deque()
        self._past: list[Update] = []
        self._next_update = 700_000_001
        self._allowed = set(DEFAULT_UPDATES)
        self._webhook: Json = {"url": ""}
        self._hook_busy: set[Any] = set()
        self._calls: list[Call] = []
        self._problems: list[Json] = []
        self._faults: list[Fault] = []
        self._outage: Fault | None = None
        self._latency = (0.0, 0.0)
        self._skew = 0.0
        self._sent: dict[Any, deque[float]] = {}
        self._not_before: dict[Any, float] = {}
        self._poller: asyncio.Future[Exception | None] | None = None
        self._last_poll = (0, -1e9)
        self._next_set_webhook = 0.0
        self.deliveries: list[Json] = []  # webhook attempts
        self._next_conflict = 0.0
        self._loop: asyncio.AbstractEventLoop | None = None
        self._pool = concurrent.futures.ThreadPoolExecutor(32, "fake-bot-api")
        for user_id, username in (users or {}).items():
            self.add_user(user_id, username)
        for chat_id in chats:
            self.add_chat(chat_id)

    # ------------------------------------------------------------ life cycle
    def start(self) -> "FakeBotApi":
        ready: concurrent.futures.Future[int] = concurrent.futures.Future()
        self._thread = threading.Thread(target=lambda: asyncio.run(self._main(ready)), daemon=True, name="fake-bot-api")
        self._thread.start()
        self.port = ready.result(10)
        return self

    def stop(self) -> None:
        if self._loop and self._thread.is_alive():
            self._loop.call_soon_threadsafe(self._stopping.set)
            self._thread.join(10)
        self._pool.shutdown(wait=False, cancel_futures=True)

    __enter__ = start

    def __exit__(self, *exc: object) -> None:
        self.stop()

    @property
    def base_url(self) -> str:
        return f"http://{self.host}:{self.port}"

    @property
    def bot_url(self) -> str:
        return f"{self.base_url}/bot{self.token}"

    async def _main(self, ready: concurrent.futures.Future[int]) -> None:
        self._loop, self._stopping = asyncio.get_running_loop(), asyncio.Event()
        tasks: set[asyncio.Task[None]] = set()

        async def connected(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            task = asyncio.current_task()
            tasks.add(task)
            try:
                while await self._one_request(reader, writer):
                    pass
            except (ConnectionError, asyncio.IncompleteReadError, asyncio.LimitOverrunError):
                pass
            except Dropped:
                linger = struct.pack("ii", 1, 0)
                writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
                writer.transport.abort()
            except asyncio.CancelledError:
                pass
            finally:
                tasks.discard(task)
                writer.close()

        try:
            server = await asyncio.start_server(connected, self.host, self.port, limit=1 << 20, backlog=512)
        except OSError as error:
            ready.set_exception(error)
            return
        ready.set_result(server.sockets[0].getsockname()[1])
        await self._stopping.wait()
        server.close()
        for task in list(tasks):
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    # ------------------------------------------------------------ HTTP
    async def _one_request(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bool:
        """Serves one request; false when the connection should be closed."""
        head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").split("\r\n")
        _verb, target, _ = head[0].split(" ", 2)
        headers = {key.strip().lower(): value.strip() for key, _, value in (line.partition(":") for line in head[1:])}
        if headers.get("expect", "").lower() == "100-continue":
            writer.write(b"HTTP/1.1 100 Continue\r\n\r\n")
        body, too_big = b"", False
        if headers.get("transfer-encoding", "").lower() == "chunked":
            while size := int((await reader.readuntil(b"\r\n")).split(b";")[0], 16):
                body += (await reader.readexactly(size + 2))[:-2]
            await reader.readuntil(b"\r\n")
        elif size := int(headers.get("content-length") or 0):
            too_big = size > MAX_UPLOAD + (1 << 20)
            body = b"" if too_big else await reader.readexactly(size)
        path, _, query = target.partition("?")
        path = urllib.parse.unquote(path)
        if too_big:
            reply = json_reply(413, {"ok": False, "error_code": 413, "description": REASONS[413]})
        elif path.startswith("/_control/"):
            reply = await self._control(path[10:], body)
        elif path == "/" or path.startswith("/phone"):
            reply = self._looked_at(path, query, body)
        elif match := re.fullmatch(r"/file/bot([^/]+)/(.+)", path):
            found = next((data for info, data in self._files.values() if info["file_path"] == match[2]), None)
            known = match[1] == self.token and found is not None
            reply = Reply(200, found, {"Content-Type": "application/octet-stream"}) if known else json_reply(404, {})
        else:
            reply = await self._api(path, query, headers, body)
        close = reply.cut or too_big or headers.get("connection", "").lower() == "close" or head[0].endswith("1.0")
        fields = {"Content-Type": "application/json", "Content-Length": len(reply.body)} | reply.headers
        fields["Connection"] = "close" if close else "keep-alive"
        status_line = f"HTTP/1.1 {reply.status} {REASONS.get(reply.status, 'OK')}"
        lines = [status_line] + [f"{key}: {value}" for key, value in fields.items()]
        data = reply.body[: len(reply.body) // 2] if reply.cut else reply.body
        writer.write("\r\n".join([*lines, "", ""]).encode("latin-1") + data)
        await writer.drain()
        return not close

    def _looked_at(self, path: str, query: str, body: bytes) -> Reply:
        """The chats for a person at a terminal or a browser, who may press and write there."""
        wanted = phone.form(body or query.encode())
        user = wanted.get("user") or next(iter(self._users), 0)
        with self._changed:
            names = {known.id: known.first_name for known in self._users.values()}
            titles = {chat.id: chat.title for chat in self._chats.values()}
            try:
                if path == "/phone/press":
                    self.press(user, wanted["chat"], wanted["message"], wanted["data"])
                elif path == "/phone/say":
                    self.send_text(user, wanted["text"], wanted["chat"], wanted.get("reply"))
            except (ValueError, KeyError) as mistake:
                return Reply(400, repr(mistake).encode(), {"Content-Type": "text/plain; charset=utf-8"})
            if body:
                return Reply(303, b"", {"Location": f"/phone?user={user}"})
            if path == "/":
                text = phone.as_text(self.messages(), names)
                return Reply(200, text.encode(), {"Content-Type": "text/plain; charset=utf-8"})
            answers = [query for query in self._callbacks.values() if query["user_id"] == user]
            shown = phone.page(self.messages(), names, titles, user, answers)
            return Reply(200, shown.encode(), {"Content-Type": "text/html; charset=utf-8"})

    async def _control(self, name: str, body: bytes) -> Reply:
        if name not in CONTROL:
            return json_reply(404, {"ok": False, "error": f"no such control: {name}", "known": sorted(CONTROL)})
        try:
            arguments = json.loads(body or b"{}")
            call = lambda: getattr(self, name)(**arguments)  # noqa: E731
            return json_reply(200, {"ok": True, "result": await self._loop.run_in_executor(self._pool, call)})
        except Exception as error:  # a control mistake must reach the test that made it, not end the server
            return json_reply(400, {"ok": False, "error": f"{type(error).__name__}: {error}"})

    def _read_params(self, query: str, headers: Json, body: bytes) -> tuple[Json, Json, str]:
        """Parameters, files and what was wrong with the body; a body the real server cannot read is ignored."""
        params: Json = {}
        files: Json = {}
        kind, wrong = headers.get("content-type", ""), ""
        if kind.startswith("multipart/form-data"):
            boundary = re.search(r'boundary="?([^";]+)', kind)
            for part in body.split(b"--" + boundary[1].encode())[1:-1] if boundary else []:
                head, _, content = part.partition(b"\r\n\r\n")
                attrs = dict(re.findall(r'\b(name|filename)="((?:[^"\\]|\\.)*)"', head.decode("utf-8", "replace")))
                if "filename" in attrs:
                    mime = re.search(r"(?i)content-type: *([^\r\n]+)", head.decode("utf-8", "replace"))
                    files[attrs.get("name", "")] = (attrs["filename"], mime[1] if mime else "", content[:-2])
                else:
                    params[attrs.get("name", "")] = content[:-2].decode("utf-8", "replace")
        elif kind.startswith("application/json"):
            try:
                params = dict(json.loads(body or b"{}"))
            except (ValueError, TypeError) as error:
                wrong = f"the JSON body cannot be read: {error}"
        elif kind.startswith("application/x-www-form-urlencoded"):
            params = dict(urllib.parse.parse_qsl(body.decode("utf-8", "replace"), keep_blank_values=True))
        elif body:
            wrong = f"a body of type {kind or '(none)'} is ignored"
        return params | dict(urllib.parse.parse_qsl(query, keep_blank_values=True)), files, wrong

    async def _api(self, path: str, query: str, headers: Json, body: bytes) -> Reply:
        match = re.fullmatch(r"/bot([^/]+)/(?:test/)?([^/]*)", path)
        params, files, wrong = self._read_params(query, headers, body)
        name = (match[2] if match else "") or str(params.pop("method", ""))
        method = METHODS.get(name.lower(), name)
        call = Call(len(self._calls) + 1, method, params, time.monotonic())
        self._calls.append(call)
        try:
            fault = self._next_fault(method)
            call.fault = fault.kind if fault else ""
            delay = random.uniform(*self._latency) + (fault.seconds if fault and fault.kind == "slow" else 0.0)
            if delay > 0:
                await asyncio.sleep(delay)
            if fault and fault.kind != "slow":
                if fault.after:
                    await self._answer(match, call, files, wrong)
                    call.status = 0
                reply = await self._misbehave(fault, call)
            else:
                reply = await self._answer(match, call, files, wrong)
            call.status = reply.status
            return reply
        finally:
            call.finished = time.monotonic()
            with self._changed:
                self._changed.notify_all()
            if self.log:
                spent = 1000 * (call.finished - call.started)
                print(f"{method} {call.status} {spent:.1f} ms {call.fault} {call.description}", file=sys.stderr)

    async def _answer(self, match: re.Match[str] | None, call: Call, files: Json, wrong: str) -> Reply:
        try:
            if match is None or ":" not in match[1]:
                raise ApiError(404)
            if match[1] != self.token:
                raise ApiError(401)
            if wrong:
                self._problem("unreadable_body", call.method, wrong)
            return json_reply(200, {"ok": True, "result": await self._execute(call.method, call.params, files)})
        except ApiError as error:
            call.description = error.description
            data = {"ok": False, "error_code": error.code, "description": error.description}
            reply = json_reply(error.code, data | ({"parameters": error.parameters} if error.parameters else {}))
            if "retry_after" in error.parameters:
                reply.headers["Retry-After"] = error.parameters["retry_after"]
            return reply

    async def _execute(self, method: str, raw: Json, files: Json) -> Any:
        if method in SPEC["not_played"]:
            self._problem("not_in_stand_in", method, "the stand-in does not play this method")
            raise ApiError(501, f"the stand-in does not play {method}")
        if method not in SPEC["methods"]:
            raise ApiError(404, "method not found")
        with self._changed:
            params = self._checked(method, raw, files)
            if method != "getUpdates":
                self._flood_check(method, params)
                handler = getattr(self, f"_do_{method}")
                result = handler(params, files) if method in ("sendDocument", "setWebhook") else handler(params)
                self._changed.notify_all()
                return result
        return await self._get_updates(params)

    # ------------------------------------------------------------ updates: long polling and webhook
    def push_update(self, type: str, payload: Json, queue: Any = None) -> int | None:
        """Queues an update for the bot; None when allowed_updates keeps it away."""
        with self._changed:
            if type not in self._allowed:
                return None
            expires = self.now() + self.LIFETIME.get(type, 86400.0)
            update = Update(self._next_update, type, payload, expires, queue)
            self._next_update += 1
            self._updates.append(update)
        self._nudge()
        return update.id

    def _nudge(self) -> None:
        if self._loop and not self._loop.is_closed():
            self._loop.call_soon_threadsafe(self._wake, None)
            self._loop.call_soon_threadsafe(self._pump)

    def _wake(self, outcome: Exception | None) -> None:
        if self._poller and not self._poller.done():
            self._poller.set_result(outcome)

    def _expire(self) -> None:
        for update in [u for u in self._updates if u.expires < self.now()]:
            self._updates.remove(update)

    def _take(self, offset: int, limit: int) -> list[Json]:
        """What getUpdates returns: a positive offset forgets everything before it, a negative one all but the tail."""
        with self._changed:
            self._expire()
            forced = [u for u in self._updates if u.forced]
            drop = [u for u in self._updates if not u.forced and u.id < offset] if offset > 0 else []
            if offset < 0:
                drop = list(self._updates)[:offset]
            if offset > self._next_update + 10:
                self._problem("offset_in_future", "getUpdates", f"{offset} is ignored; next is {self._next_update}")
                drop = []
            for update in drop + forced:
                self._updates.remove(update)
            self._past += drop
            return [u.json() for u in (forced + [u for u in self._updates if not u.forced])[:limit]]

    async def _conflict(self, error: ApiError) -> ApiError:
        """Conflicts that come thick and fast are answered after 3 seconds."""
        if self.poll_throttle and time.monotonic() < self._next_conflict:
            await asyncio.sleep(3)
        else:
            self._next_conflict = time.monotonic() + 3
        return error

    async def _get_updates(self, p: Json) -> list[Json]:
        if self._webhook["url"]:
            raise await self._conflict(ApiError(409, HOOK_ACTIVE))
        offset, now = p.get("offset", 0), time.monotonic()
        limit, timeout = min(max(p.get("limit") or 100, 1), 100), min(max(p.get("timeout", 0), 0), 50)
        last_offset, last_time = self._last_poll
        if self.poll_throttle and offset == last_offset:  # polling in a tight loop is slowed down
            timeout = max(timeout, 3) if now < last_time + 3 else timeout
            limit = 1 if now < last_time + 0.5 else limit
        self._last_poll = (offset, now)
        with self._changed:
            self._allow(p)
            batch = self._take(offset, limit)
            if batch or not timeout:
                return batch
            self._wake(ApiError(409, TWO_POLLERS))  # the newer poller wins
            waiter = self._poller = self._loop.create_future()
        try:
            outcome = await asyncio.wait_for(waiter, timeout)
        except TimeoutError:
            outcome = None
        if outcome:
            raise await self._conflict(outcome)
        return self._take(offset, limit)

    def _pump(self) -> None:
        """Starts the webhook deliveries that are due; updates of one queue go one after another."""
        with self._changed:
            if not self._webhook["url"]:
                return
            self._expire()
            now, seen, later = time.monotonic(), set(self._hook_busy), []
            for update in list(self._updates):
                queue = update.id if update.queue is None else update.queue
                if queue in seen:
                    continue
                seen.add(queue)
                if update.retry_at > now:
                    later.append(update.retry_at)
                elif len(self._hook_busy) < self._webhook["max_connections"]:
                    self._hook_busy.add(queue)
                    task = self._loop.create_task(self._deliver(update, queue, self._webhook))
                    task.add_done_callback(lambda done: done.cancelled() or done.exception())
            if later:
                self._loop.call_later(max(0.0, min(later) - now), self._pump)

    async def _deliver(self, update: Update, queue: Any, hook: Json) -> None:
        started = time.monotonic()
        try:
            status, pause, body = await self._loop.run_in_executor(self._pool, self._post, hook, update.json())
            error = "" if 200 <= status < 300 else f"Wrong response from the webhook: {status}"
        except (OSError, http.client.HTTPException) as failure:
            status, pause, body, error = 0, 0, b"", str(failure) or type(failure).__name__
        with self._changed:
            self._hook_busy.discard(queue)
            self.deliveries.append(
                {
                    "update_id": update.id,
                    "status": status,
                    "error": error,
                    "started": started,
                    "finished": time.monotonic(),
                    "attempt": update.fails + 1,
                }
            )
            if not error:
                if update in self._updates:
                    self._updates.remove(update)
                    self._past.append(update)
            else:
                hook.update(last_error_date=self.now(), last_error_message=error)
                update.fails += 1  # the first retry is immediate, then 2, 4, 8 ... seconds; Retry-After is obeyed
                delay = pause or (0 if update.fails == 1 else min(2.0 ** (update.fails - 1), 60.0))
                update.retry_at = time.monotonic() + delay * self.webhook_backoff
            self._changed.notify_all()
        if not error:
            await self._webhook_reply(body)
        self._pump()

    async def _webhook_reply(self, body: bytes) -> None:
        """A 2xx answer may carry one method call; its outcome is not reported to anyone."""
        try:
            params = json.loads(body or b"null")
        except ValueError:
            return
        if isinstance(params, dict) and params.get("method") and not str(params["method"]).lower().startswith("get"):
            data = json.dumps(params).encode()
            await self._api(f"/bot{self.token}/", "", {"content-type": "application/json"}, data)

    def _post(self, hook: Json, data: Json) -> tuple[int, int, bytes]:
        parts = urllib.parse.urlsplit(hook["url"])
        if parts.scheme == "https":
            context = ssl._create_unverified_context() if parts.hostname in ("127.0.0.1", "localhost") else None
            link: http.client.HTTPConnection = http.client.HTTPSConnection(
                parts.hostname, parts.port, timeout=self.webhook_timeout, context=context
            )
        else:
            link = http.client.HTTPConnection(parts.hostname, parts.port, timeout=self.webhook_timeout)
        headers = {"Content-Type": "application/json", "Accept-Encoding": "gzip, deflate"}
        if hook["secret_token"]:
            headers["X-Telegram-Bot-Api-Secret-Token"] = hook["secret_token"]
        try:
            target = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
            link.request("POST", target, json.dumps(data, ensure_ascii=False).encode(), headers)
            response = link.getresponse()
            pause = response.getheader("Retry-After") or ""
            return response.status, min(int(pause), 3600) if pause.isdigit() else 0, response.read()
        finally:
            link.close()

    # ------------------------------------------------------------ faults
    def _next_fault(self, method: str) -> Fault | None:
        with self._changed:
            for fault in self._faults:
                if fault.method in (None, method):
                    fault.count -= 1
                    if fault.count <= 0:
                        self._faults.remove(fault)
                    return fault
            return self._outage

    async def _misbehave(self, fault: Fault, call: Call) -> Reply:
        if fault.kind == "hang":
            await asyncio.sleep(fault.seconds)
        if fault.kind in ("hang", "reset"):
            raise Dropped
        if fault.kind == "html":
            page = f"<html><head><title>{fault.status} {REASONS.get(fault.status, '')}</title></head></html>"
            return Reply(fault.status, page.encode(), {"Content-Type": "text/html"})
        if fault.kind == "garbage":
            return Reply(200, b'{"ok":tru\xff\x00 <<<')
        if fault.kind == "truncate":
            return Reply(200, b'{"ok":true,"result":{"message_id":1,"date":0,"chat":{"id":1}}}', cut=True)
        if fault.kind == "flood":
            error = self._too_many(math.ceil(fault.seconds), self._flood_key(call.params))
        else:
            error = ApiError(fault.status, fault.description)
        call.description = error.description
        data = {"ok": False, "error_code": error.code, "description": error.description}
        headers = {"Retry-After": error.parameters["retry_after"]} if error.parameters else {}
        reply = json_reply(error.code, data | ({"parameters": error.parameters} if error.parameters else {}))
        return Reply(reply.status, reply.body, headers)
