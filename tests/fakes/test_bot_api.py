"""The stand-in answers as Telegram would; one that lies would make every other test worthless."""

import http.client
import http.server
import json
import subprocess
import sys
import threading
import time
import urllib.parse

import pytest

from tests.fakes.bot_api import FakeBotApi
from tests.fakes.bot_api.rules import SPEC, parse_html, spec_errors

TOKEN, GROUP, ALICE, BOB = "123456:TEST-token", -1001234, 42, 43
YES_NO = {
    "inline_keyboard": [
        [{"text": "Approve", "callback_data": "ok:1"}, {"text": "Reject", "callback_data": "no:1"}],
        [{"text": "Open", "url": "https://example.org/1"}],
    ]
}


class Client:
    """The plainest possible client: one JSON POST per call."""

    def __init__(self, fake: FakeBotApi, timeout: float = 60.0) -> None:
        self.fake, self.timeout = fake, timeout

    def raw(
        self,
        method: str,
        body: bytes | str = b"",
        kind: str = "application/json",
        verb: str = "POST",
        path: str | None = None,
    ) -> tuple[int, bytes, http.client.HTTPResponse]:
        link = http.client.HTTPConnection("127.0.0.1", self.fake.port, timeout=self.timeout)
        try:
            link.request(verb, path or f"/bot{TOKEN}/{method}", body, {"Content-Type": kind} if kind else {})
            answer = link.getresponse()
            return answer.status, answer.read(), answer
        finally:
            link.close()

    def __call__(self, method: str, **params: object) -> dict:
        return json.loads(self.raw(method, json.dumps(params))[1])

    def ok(self, method: str, **params: object):
        answer = self(method, **params)
        assert answer["ok"], answer
        for kind in SPEC["methods"][method]["returns"].split("|"):
            if not spec_errors(answer["result"], kind, method):
                return answer["result"]
        raise AssertionError(f"{method} returned something the spec does not have: {answer['result']}")

    def fails(self, method: str, code: int, contains: str, **params: object) -> dict:
        answer = self(method, **params)
        assert not answer["ok"] and answer["error_code"] == code, answer
        assert contains in answer["description"], answer
        return answer


@pytest.fixture
def tg():
    with FakeBotApi(TOKEN, [GROUP], {ALICE: "alice", BOB: "bob"}, flood=False, poll_throttle=False) as fake:
        yield fake


@pytest.fixture
def api(tg):
    return Client(tg)


class Hook:
    """A webhook receiver that answers with the given statuses in turn (the last one for ever)."""

    def __init__(self, *statuses: int, delay: float = 0.0, body: bytes = b"") -> None:
        self.got: list[tuple[dict, dict]] = []
        hook, left = self, list(statuses) or [200]

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                data = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
                hook.got.append((data, dict(self.headers)))
                time.sleep(delay)
                self.send_response(left.pop(0) if len(left) > 1 else left[0])
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *args: object) -> None:
                pass

        self.server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_port}/hook/"

    def __enter__(self) -> "Hook":
        threading.Thread(target=self.server.serve_forever, daemon=True).start()
        return self

    def __exit__(self, *exc: object) -> None:
        self.server.shutdown()
        self.server.server_close()

    def wait(self, count: int, timeout: float = 60.0) -> list[dict]:
        end = time.monotonic() + timeout
        while len(self.got) < count and time.monotonic() < end:
            time.sleep(0.01)
        assert len(self.got) >= count, f"{len(self.got)} of {count} deliveries"
        return [data for data, _ in self.got]


# ---------------------------------------------------------------- calls, parameters, bodies
def test_send_press_answer_edit(tg, api):
    sent = api.ok("sendMessage", chat_id=GROUP, text="<b>Deploy?</b> a &amp; b", parse_mode="HTML", reply_markup=YES_NO)
    assert sent["text"] == "Deploy? a & b" and sent["entities"] == [{"type": "bold", "offset": 0, "length": 7}]
    query = tg.press(ALICE, GROUP, sent["message_id"], "Approve")
    (update,) = api.ok("getUpdates", timeout=2)
    press = update["callback_query"]
    assert press["data"] == "ok:1" and press["from"]["id"] == ALICE and press["id"] == query
    assert press["message"]["reply_markup"] == YES_NO
    assert api.ok("answerCallbackQuery", callback_query_id=query, text="Thanks", show_alert=True) is True
    api.ok("editMessageText", chat_id=GROUP, message_id=1, text="Approved by alice")
    seen = tg.message(GROUP, 1)
    assert seen["text"] == "Approved by alice" and seen["buttons"] == [] and len(seen["history"]) == 1
    assert tg.answer(query)["text"] == "Thanks" and tg.answer(query)["show_alert"]
    with pytest.raises(ValueError):
        tg.press(ALICE, GROUP, 1, "Approve")  # the button is gone
    tg.assert_clean()


def test_every_kind_of_body_is_read(tg, api):
    form = urllib.parse.urlencode({"chat_id": GROUP, "text": "form", "reply_markup": json.dumps(YES_NO)})
    assert api.raw("sendMessage", form, "application/x-www-form-urlencoded")[0] == 200
    assert api.raw("", "", "", "GET", f"/bot{TOKEN}/sendMessage?chat_id={GROUP}&text=get")[0] == 200
    part = '--X\r\nContent-Disposition: form-data; name="{}"\r\n\r\n{}\r\n'
    body = part.format("chat_id", GROUP) + part.format("text", "mult\u00ed") + "--X--\r\n"
    assert api.raw("SENDMESSAGE", body.encode(), "multipart/form-data; boundary=X")[0] == 200
    assert api("sendMessage", chat_id=str(GROUP), text="json", reply_markup=json.dumps(YES_NO))["ok"]
    assert [m["text"] for m in tg.messages(GROUP)] == ["form", "get", "mult\u00ed", "json"]
    tg.assert_clean()


def test_misuse_is_refused_or_flagged(tg, api):
    assert json.loads(api.raw("x", path="/bot999:wrong/getMe")[1])["description"] == "Unauthorized"
    assert json.loads(api.raw("x", path="/botnonsense/getMe")[1])["error_code"] == 404
    api.fails("sendMesage", 404, "Not Found: method not found")
    api.fails("sendMessage", 400, "Bad Request: chat_id is empty", text="x")
    api.fails("sendMessage", 400, "Bad Request: message text is empty", chat_id=GROUP)
    api.fails("sendMessage", 400, "Bad Request: message text is empty", chat_id=GROUP, text="")
    api.fails("sendMessage", 400, "Bad Request: text must be non-empty", chat_id=GROUP, text=" \n")
    api.fails("sendMessage", 400, "Bad Request: chat not found", chat_id=-5, text="x")
    api.fails("sendMessage", 400, "disable_notification", chat_id=GROUP, text="x", disable_notification="perhaps")
    api.fails("sendMessage", 400, "[strict] parse_mode", chat_id=GROUP, text="x", parse_mode=None)
    assert api("sendMessage", chat_id=GROUP, text="x", reply_to=5)["ok"]
    assert api.raw("sendMessage", b"{broken")[0] == 400
    kinds = {problem["kind"] for problem in tg.problems()}
    assert kinds == {"missing_parameter", "mistyped_parameter", "unknown_parameter", "unreadable_body"}
    with pytest.raises(AssertionError):
        tg.assert_clean()


def test_lax_mode_takes_what_the_real_server_takes():
    with FakeBotApi(TOKEN, [GROUP], strict=False, flood=False) as fake:
        assert Client(fake)("sendMessage", chat_id=GROUP, text="x", disable_notification="perhaps")["ok"]
        assert fake.problems()


@pytest.mark.parametrize(
    "markup, error",
    [
        ([], "object expected as reply markup"),
        (
            {"inline_keyboard": [{"text": "a"}]},
            'field "inline_keyboard" of the InlineKeyboardMarkup must be an Array of Arrays',
        ),
        (
            {"inline_keyboard": [[{"callback_data": "a"}]]},
            "can't parse inline keyboard button: Can't find field \"text\"",
        ),
        (
            {"inline_keyboard": [[{"text": "a"}]]},
            "can't parse inline keyboard button: Text buttons are unallowed in the inline keyboard",
        ),
        ({"inline_keyboard": [[{"text": "a", "callback_data": "\u00e9" * 33}]]}, "BUTTON_DATA_INVALID"),
        (
            {"inline_keyboard": [[{"text": "a", "url": "http://localhost:8000/x"}]]},
            "inline keyboard button URL 'http://localhost:8000/x' is invalid: Wrong HTTP URL",
        ),
        ({"inline_keyboard": [[{"text": "a", "callback_data": "x"}]] * 101}, "reply markup is too long"),
        ({"inline_keyboard": [[{"text": "a", "callback_data": 5}]]}, "[strict]"),
        ("{not json", "can't parse reply keyboard markup JSON object"),
    ],
)
def test_bad_keyboards(api, markup, error):
    api.fails("sendMessage", 400, f"Bad Request: {error}", chat_id=GROUP, text="x", reply_markup=markup)


def test_64_bytes_of_callback_data_are_fine(api):
    keys = {"inline_keyboard": [[{"text": "a", "callback_data": "x" * 64}]]}
    api.ok("sendMessage", chat_id=GROUP, text="x", reply_markup=keys)


# ---------------------------------------------------------------- texts
@pytest.mark.parametrize(
    "source, error",
    [
        ("a < b", 'Unsupported start tag "" at byte offset 2'),
        ("line<br/>", 'Unsupported start tag "br/" at byte offset 4'),
        ("\u00e9<p>x</p>", 'Unsupported start tag "p" at byte offset 2'),
        ("<b>x", 'Can\'t find end tag corresponding to start tag "b"'),
        ("x</b>", "Unexpected end tag at byte offset 1"),
        ("<b><i>x</b></i>", 'Unmatched end tag at byte offset 7, expected "</i>", found "</b>"'),
        ("<b", "Unclosed start tag at byte offset 0"),
        ("<span>x</span>", 'Tag "span" must have class "tg-spoiler" at byte offset 0'),
    ],
)
def test_html_errors(api, source, error):
    api.fails(
        "sendMessage", 400, f"Bad Request: can't parse entities: {error}", chat_id=GROUP, text=source, parse_mode="HTML"
    )


def test_parsers_read_what_telegram_reads():
    text, marks = parse_html('\U0001f600 <a href="https://e.org/?a=1&amp;b=2">k</a> <code>1&lt;2</code> &nbsp;')
    assert text == "\U0001f600 k 1<2 &nbsp;"
    assert marks == [
        {"type": "text_link", "offset": 3, "length": 1, "url": "https://e.org/?a=1&b=2"},
        {"type": "code", "offset": 5, "length": 3},
    ]
    assert parse_html('<pre><code class="language-py">x</code></pre>')[1] == [
        {"type": "pre", "offset": 0, "length": 1, "language": "py"}
    ]
    assert parse_html('<a href="http://localhost/">x</a>')[1] == []  # unusable link: dropped silently


def test_length_counts_after_parsing(api):
    api.ok("sendMessage", chat_id=GROUP, text="<b>" + "x" * 4096 + "</b>", parse_mode="HTML")
    api.ok("sendMessage", chat_id=GROUP, text="&lt;" * 4096, parse_mode="HTML")
    api.fails("sendMessage", 400, "Bad Request: message is too long", chat_id=GROUP, text="x" * 4097)
    api.fails("sendMessage", 400, "Bad Request: text is too long", chat_id=GROUP, text="x" * 32769)
    api.fails("sendMessage", 400, "unsupported parse_mode", chat_id=GROUP, text="x", parse_mode="bbcode")
    sent = api.ok("sendMessage", chat_id=GROUP, text=" \n <b>x</b> y  ", parse_mode="HTML")
    assert sent["text"] == "x y" and sent["entities"] == [{"type": "bold", "offset": 0, "length": 1}]


# ---------------------------------------------------------------- messages
def test_edit_and_delete_rules(tg, api):
    api.ok("sendMessage", chat_id=GROUP, text="one", reply_markup=YES_NO)
    api.fails(
        "editMessageText",
        400,
        "Bad Request: message is not modified",
        chat_id=GROUP,
        message_id=1,
        text="one",
        reply_markup=YES_NO,
    )
    api.ok("editMessageReplyMarkup", chat_id=GROUP, message_id=1)
    assert tg.message(GROUP, 1)["buttons"] == []
    api.fails("editMessageReplyMarkup", 400, "message is not modified", chat_id=GROUP, message_id=1)
    api.fails("editMessageText", 400, "message to edit not found", chat_id=GROUP, message_id=99, text="x")
    api.fails("editMessageText", 400, "message identifier is not specified", text="x")
    api.ok("sendMessage", chat_id=GROUP, text="why?", reply_markup={"force_reply": True, "selective": True})
    api.fails("editMessageText", 400, "message can't be edited", chat_id=GROUP, message_id=2, text="x")
    api.fails(
        "editMessageText",
        400,
        "inline keyboard expected",
        chat_id=GROUP,
        message_id=1,
        text="x",
        reply_markup={"force_reply": True},
    )
    said = tg.send_text(ALICE, "hello", GROUP)
    api.fails("deleteMessage", 400, "message can't be deleted", chat_id=GROUP, message_id=said["message_id"])
    tg.advance(47 * 3600)
    assert api.ok("deleteMessage", chat_id=GROUP, message_id=2)
    api.fails("deleteMessage", 400, "message to delete not found", chat_id=GROUP, message_id=2)
    tg.advance(2 * 3600)
    api.fails("deleteMessage", 400, "message can't be deleted for everyone", chat_id=GROUP, message_id=1)
    api.ok("editMessageText", chat_id=GROUP, message_id=1, text="a bot's own message can be edited at any age")


def test_replies(tg, api):
    api.ok("sendMessage", chat_id=GROUP, text="Reason?", reply_markup={"force_reply": True})
    tg.send_text(ALICE, "because", GROUP, reply_to=1)
    (update,) = api.ok("getUpdates")
    assert update["message"]["reply_to_message"]["message_id"] == 1
    api.ok("sendMessage", chat_id=GROUP, text="noted", reply_parameters={"message_id": 2})
    assert tg.last_message(GROUP)["reply_to"] == 2
    api.fails(
        "sendMessage",
        400,
        "message to be replied not found",
        chat_id=GROUP,
        text="x",
        reply_parameters={"message_id": 77},
    )
    api.ok(
        "sendMessage", chat_id=GROUP, text="x", reply_parameters={"message_id": 77, "allow_sending_without_reply": True}
    )


def test_documents(tg, api):
    head = "".join(
        f'--X\r\nContent-Disposition: form-data; name="{k}"\r\n\r\n{v}\r\n'
        for k, v in {"chat_id": GROUP, "caption": "<i>log</i>", "parse_mode": "HTML"}.items()
    )
    part = (
        '--X\r\nContent-Disposition: form-data; name="document"; filename="a.txt"\r\nContent-Type: text/plain\r\n\r\n'
    )
    status, body, _ = api.raw(
        "sendDocument", (head + part).encode() + b"\x00\r\n--data\r\n--X--\r\n", "multipart/form-data; boundary=X"
    )
    sent = json.loads(body)["result"]
    assert status == 200 and not spec_errors(sent, "Message", "sendDocument")
    assert sent["caption"] == "log" and sent["document"]["file_size"] == 9
    file = api.ok("getFile", file_id=sent["document"]["file_id"])
    assert api.raw("", verb="GET", path=f"/file/bot{TOKEN}/{file['file_path']}")[1] == b"\x00\r\n--data"
    api.ok("sendDocument", chat_id=GROUP, document=sent["document"]["file_id"])
    api.fails("sendDocument", 400, "there is no document in the request", chat_id=GROUP)
    api.fails("sendDocument", 400, "wrong file identifier/HTTP URL specified", chat_id=GROUP, document="nope")
    api.fails(
        "sendDocument",
        400,
        "message caption is too long",
        chat_id=GROUP,
        caption="x" * 1025,
        document=sent["document"]["file_id"],
    )
    api.fails("editMessageText", 400, "there is no text in the message to edit", chat_id=GROUP, message_id=1, text="x")
    api.ok("editMessageCaption", chat_id=GROUP, message_id=1, caption="new")


def test_button_presses_expire_and_are_answered_once(tg, api):
    api.ok("sendMessage", chat_id=GROUP, text="q", reply_markup=YES_NO)
    stale = "Bad Request: query is too old and response timeout expired or query ID is invalid"
    first = tg.press(ALICE, GROUP, 1, [0, 1])
    api.fails("answerCallbackQuery", 400, "MESSAGE_TOO_LONG", callback_query_id=first, text="x" * 201)
    api.ok("answerCallbackQuery", callback_query_id=first)
    api.fails("answerCallbackQuery", 400, stale, callback_query_id=first)
    api.fails("answerCallbackQuery", 400, stale, callback_query_id="12")
    second = tg.press(BOB, GROUP, 1, "no:1")
    tg.advance(16)
    api.fails("answerCallbackQuery", 400, stale, callback_query_id=second)
    assert [p["kind"] for p in tg.problems()] == ["unanswered_button_press"]
    with pytest.raises(ValueError):
        tg.press(ALICE, GROUP, 1, "Open")  # a link, not a callback
    tg.set_member(GROUP, BOB, "left")
    with pytest.raises(ValueError):
        tg.press(BOB, GROUP, 1, "Approve")


def test_information_methods_fit_the_spec(tg, api):
    assert api.ok("getMe")["is_bot"]
    api.ok("getChat", chat_id=GROUP)
    for status in ("creator", "administrator", "member", "restricted", "left", "kicked"):
        tg.set_member(GROUP, ALICE, status)
        assert api.ok("getChatMember", chat_id=GROUP, user_id=ALICE)["status"] == status
    api.ok("getChatAdministrators", chat_id=GROUP)
    assert api.ok("getChatMemberCount", chat_id=GROUP) == 2
    api.ok("setMyCommands", commands=[{"command": "queue", "description": "What is waiting"}])
    assert api.ok("getMyCommands")[0]["command"] == "queue"
    api.fails("setMyCommands", 400, "BOT_COMMAND_INVALID", commands=[{"command": "Queue!", "description": "x"}])
    api.ok("sendChatAction", chat_id=GROUP, action="typing")
    api.fails("sendChatAction", 400, "wrong parameter action in request", chat_id=GROUP, action="dance")
    api.fails("sendPhoto", 501, "stand-in", chat_id=GROUP, photo="x")


# ---------------------------------------------------------------- chats that stop working
def test_blocked_deactivated_and_unknown_people(tg, api):
    tg.add_user(44, "carol", started=False)
    api.fails("sendMessage", 403, "Forbidden: bot can't initiate conversation with a user", chat_id=44, text="x")
    tg.send_text(44, "/start")
    api.ok("sendMessage", chat_id=44, text="welcome")
    tg.block_bot(44)
    api.fails("sendMessage", 403, "Forbidden: bot was blocked by the user", chat_id=44, text="x")
    updates = api.ok("getUpdates")
    assert updates[-1]["my_chat_member"]["new_chat_member"]["status"] == "kicked"
    tg.block_bot(44, False)
    api.ok("sendMessage", chat_id=44, text="x")
    tg.deactivate_user(44)
    api.fails("sendMessage", 403, "Forbidden: user is deactivated", chat_id=44, text="x")
    tg.kick_bot(GROUP)
    api.fails("sendMessage", 403, "Forbidden: bot was kicked from the supergroup chat", chat_id=GROUP, text="x")


def test_group_becomes_supergroup(tg, api):
    tg.add_chat(-500, "Ops")
    api.ok("sendMessage", chat_id=-500, text="x")
    new = tg.migrate_chat(-500)
    error = api.fails(
        "sendMessage", 400, "Bad Request: group chat was upgraded to a supergroup chat", chat_id=-500, text="x"
    )
    assert error["parameters"] == {"migrate_to_chat_id": new}
    api.ok("sendMessage", chat_id=new, text="x")
    notes = [u["message"] for u in api.ok("getUpdates")]
    assert notes[0]["migrate_to_chat_id"] == new and notes[1]["migrate_from_chat_id"] == -500


def test_privacy_mode(tg, api):
    assert tg.send_text(ALICE, "just talking", GROUP)["update_id"] is None
    assert tg.send_text(ALICE, "/queue@other_bot", GROUP)["update_id"] is None
    assert tg.send_text(ALICE, "/queue@test_bot now", GROUP)["update_id"]
    assert tg.send_text(ALICE, "in private")["update_id"]
    command = api.ok("getUpdates")[0]["message"]
    assert command["entities"] == [{"type": "bot_command", "offset": 0, "length": 15}]


# ---------------------------------------------------------------- long polling
def test_offsets_confirm(tg, api):
    ids = [tg.send_text(ALICE, f"m{i}")["update_id"] for i in range(5)]
    assert [u["update_id"] for u in api.ok("getUpdates", limit=2)] == ids[:2]
    assert [u["update_id"] for u in api.ok("getUpdates")] == ids  # nothing was confirmed
    assert [u["update_id"] for u in api.ok("getUpdates", offset=ids[2])] == ids[2:]
    assert [u["update_id"] for u in api.ok("getUpdates")] == ids[2:]
    assert [u["update_id"] for u in api.ok("getUpdates", offset=-1)] == ids[4:]
    assert api.ok("getUpdates", offset=ids[4] + 1) == []
    assert tg.pending_updates() == []


def test_updates_do_not_wait_for_ever(tg, api):
    api.ok("sendMessage", chat_id=GROUP, text="q", reply_markup=YES_NO)
    tg.press(ALICE, GROUP, 1, "Approve")
    tg.send_text(ALICE, "text")
    tg.advance(151)
    assert ["message" in u for u in api.ok("getUpdates")] == [True]  # the press is gone after 150 s
    tg.advance(86400)
    assert api.ok("getUpdates") == []


def test_allowed_updates_stick(tg, api):
    api.ok("getUpdates", allowed_updates=["callback_query"])
    assert tg.send_text(ALICE, "x")["update_id"] is None
    api.ok("getUpdates")
    assert tg.send_text(ALICE, "x")["update_id"] is None
    api.ok("getUpdates", allowed_updates=[])
    assert tg.send_text(ALICE, "x")["update_id"]


def test_a_poll_wakes_up_and_two_polls_conflict(tg, api):
    answers: list[tuple[dict, float]] = []

    def poll(client: Client) -> None:
        answers.append((client("getUpdates", timeout=10), time.monotonic()))

    older = threading.Thread(target=poll, args=(api,))
    older.start()
    time.sleep(0.2)
    newer = threading.Thread(target=poll, args=(Client(tg),))
    newer.start()
    older.join(2)
    assert answers[0][0]["error_code"] == 409
    assert "Conflict: terminated by other getUpdates request; make sure" in answers[0][0]["description"]
    sent = time.monotonic()
    tg.send_text(ALICE, "wake up")
    newer.join(2)
    assert answers[1][0]["result"][0]["message"]["text"] == "wake up" and answers[1][1] - sent < 9
    started = time.monotonic()
    assert Client(tg).ok("getUpdates", timeout=1, offset=answers[1][0]["result"][0]["update_id"] + 1) == []
    assert time.monotonic() - started > 0.9


def test_tight_polling_is_slowed_down():
    with FakeBotApi(TOKEN, [], {ALICE: "alice"}) as fake:
        api = Client(fake)
        api.ok("getUpdates")
        started = time.monotonic()
        api.ok("getUpdates")
        assert time.monotonic() - started > 2.5


# ---------------------------------------------------------------- webhook
def test_webhook_secret_retries_and_conflict():
    with FakeBotApi(TOKEN, [GROUP], {ALICE: "alice"}, webhook_backoff=0.05) as fake, Hook(500, 503, 200) as hook:
        api = Client(fake)
        api.ok("setWebhook", url=hook.url, secret_token="s3cret_-A", allowed_updates=["message", "callback_query"])
        fake.send_text(ALICE, "hello")
        bodies = hook.wait(3)
        assert len({body["update_id"] for body in bodies}) == 1 and bodies[0]["message"]["text"] == "hello"
        assert hook.got[0][1]["X-Telegram-Bot-Api-Secret-Token"] == "s3cret_-A"
        fake.wait_for(lambda: not fake.pending_updates(), what="empty queue")
        assert [d["status"] for d in fake.deliveries] == [500, 503, 200]
        info = api.ok("getWebhookInfo")
        assert info["last_error_message"] == "Wrong response from the webhook: 503" and "secret_token" not in info
        api.fails("getUpdates", 409, "can't use getUpdates method while webhook is active")
        api.ok("deleteWebhook")
        assert api.ok("getUpdates") == []


def test_webhook_deliveries_run_in_parallel_but_in_order_per_person(tg, api):
    with Hook(200, delay=0.3) as hook:
        api.ok("sendMessage", chat_id=GROUP, text="q", reply_markup=YES_NO)
        api.ok("setWebhook", url=hook.url)
        for user in (ALICE, BOB, ALICE):
            tg.press(user, GROUP, 1, "Approve")
        time.sleep(0.2)
        assert {body["callback_query"]["from"]["id"] for body in hook.wait(2)} == {ALICE, BOB} and len(hook.got) == 2
        hook.wait(3)


def test_webhook_answer_may_carry_a_call(tg, api):
    reply = json.dumps({"method": "sendMessage", "chat_id": ALICE, "text": "in the answer"}).encode()
    with Hook(200, body=reply) as hook:
        api.ok("setWebhook", url=hook.url)
        tg.send_text(ALICE, "hi")
        assert tg.wait_for_message("in the answer")["chat_id"] == ALICE


def test_webhook_rules():
    with FakeBotApi(TOKEN, public_webhooks_only=True, poll_throttle=False) as fake:
        api = Client(fake)
        api.fails("setWebhook", 400, "bad webhook: An HTTPS URL must be provided for webhook", url="http://a.example/x")
        api.fails("setWebhook", 400, "only on ports 80, 88, 443 or 8443", url="https://a.example:9000/x")
        api.fails(
            "setWebhook",
            400,
            "secret token contains unallowed characters",
            url="https://a.example/",
            secret_token="a b",
        )
        api.fails("setWebhook", 400, "secret token is too long", url="https://a.example/", secret_token="a" * 257)


# ---------------------------------------------------------------- trouble
def test_faults(tg, api):
    tg.inject("flood", seconds=7)
    status, body, answer = api.raw("sendMessage", json.dumps({"chat_id": GROUP, "text": "x"}))
    assert status == 429 and json.loads(body)["parameters"] == {"retry_after": 7}
    assert answer.getheader("Retry-After") == "7"
    assert json.loads(body)["description"] == "Too Many Requests: retry after 7"
    tg.inject("error", status=500)
    api.fails("getMe", 500, "Internal Server Error")
    tg.inject("html", count=2)
    assert [api.raw("getMe")[0] for _ in range(3)] == [502, 502, 200]
    tg.inject("garbage")
    with pytest.raises(ValueError):
        api("getMe")
    tg.inject("truncate")
    with pytest.raises(http.client.IncompleteRead):
        api("getMe")
    tg.inject("slow", seconds=0.3)
    started = time.monotonic()
    api.ok("getMe")
    assert time.monotonic() - started > 0.29
    tg.inject("hang", seconds=0.2)
    with pytest.raises(ConnectionError):
        api("getMe")
    tg.inject("reset", method="sendMessage", after=True)
    api.ok("getMe")  # another method: not touched
    with pytest.raises(ConnectionError):
        api("sendMessage", chat_id=BOB, text="sent, but the answer is lost")
    assert tg.last_message(BOB)["text"].startswith("sent, but")
    tg.outage("html")
    assert api.raw("getMe")[0] == 502
    tg.outage(None)
    api.ok("getMe")
    assert [call.fault for call in tg.calls("sendMessage")] == ["flood", "reset"]


def test_flood_limits_and_early_retries():
    with FakeBotApi(TOKEN, [GROUP], {ALICE: "alice"}) as fake:
        api = Client(fake)
        for number in range(5):
            api.ok("sendMessage", chat_id=ALICE, text=str(number))
        error = api.fails("sendMessage", 429, "Too Many Requests: retry after 5", chat_id=ALICE, text="x")
        assert error["parameters"]["retry_after"] == 5
        api.ok("sendMessage", chat_id=GROUP, text="another chat is fine")
        api.fails("sendMessage", 429, "retry after", chat_id=ALICE, text="too early")
        assert [p["kind"] for p in fake.problems()] == ["ignored_retry_after"]
        fake.set_flood(False)
        api.ok("sendMessage", chat_id=ALICE, text="x")


def test_duplicates_and_order(tg, api):
    first = tg.send_text(ALICE, "one")["update_id"]
    assert len(api.ok("getUpdates")) == 1
    assert api.ok("getUpdates", offset=first + 1) == []
    tg.resend_update(first)
    assert [u["update_id"] for u in api.ok("getUpdates", offset=first + 1)] == [first]
    assert api.ok("getUpdates", offset=first + 1) == []
    api.ok("sendMessage", chat_id=GROUP, text="q", reply_markup=YES_NO)
    tg.press(ALICE, GROUP, 1, "Approve")
    (press,) = api.ok("getUpdates", offset=first + 1)
    tg.resend_update(press["update_id"], new_id=True)  # one tap, two updates
    again = api.ok("getUpdates", offset=press["update_id"] + 1)[0]
    assert again["update_id"] > press["update_id"] and again["callback_query"]["id"] != press["callback_query"]["id"]
    assert again["callback_query"]["data"] == press["callback_query"]["data"]
    assert api.ok("answerCallbackQuery", callback_query_id=again["callback_query"]["id"])


def test_control_over_http(tg, api):
    def control(name: str, **arguments: object) -> dict:
        return json.loads(api.raw("", json.dumps(arguments), path=f"/_control/{name}")[1])

    api.ok("sendMessage", chat_id=GROUP, text="q", reply_markup=YES_NO)
    query = control("press", user_id=ALICE, chat_id=GROUP, message_id=1, button="Approve")["result"]
    api.ok("answerCallbackQuery", callback_query_id=query)
    assert control("wait_for_answer", query_id=query)["result"]["answered_at"]
    assert control("messages", chat_id=GROUP)["result"][0]["buttons"] == YES_NO["inline_keyboard"]
    assert control("calls", method="sendMessage")["result"][0]["status"] == 200
    assert control("problems")["result"] == []
    assert not control("press", user_id=ALICE, chat_id=GROUP, message_id=1, button="Maybe")["ok"]
    assert not control("__init__")["ok"]


def test_the_chat_is_readable_on_a_terminal_and_usable_in_a_browser(tg, api):
    bold = "<b>Deploy &lt;it&gt;</b> 🎉 now?"
    api.ok("sendMessage", chat_id=GROUP, text=bold, parse_mode="HTML", reply_markup=YES_NO)
    text = api.raw("", verb="GET", path="/")[1].decode()
    assert text == "── -1001234/1 bot\n│ Deploy <it> 🎉 now?\n│ [ Approve ] [ Reject ]\n│ [ Open ]\n"
    shown = api.raw("", verb="GET", path=f"/phone?user={BOB}")[1].decode()
    assert bold in shown
    fields = urllib.parse.urlencode({"user": BOB, "chat": GROUP, "message": 1, "data": "ok:1"})
    assert api.raw("", fields, "application/x-www-form-urlencoded", path="/phone/press")[0] == 303
    (update,) = api.ok("getUpdates")
    assert (update["callback_query"]["from"]["id"], update["callback_query"]["data"]) == (BOB, "ok:1")


def test_as_a_program_it_serves_until_it_is_told_to_stop():
    program = [sys.executable, "-m", "tests.fakes.bot_api"]
    command = [*program, "--port", "0", "--token", TOKEN, "--chat", f"{GROUP}:Ops", "--user", "42:alice"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        port = int(process.stdout.readline().rsplit(":", 1)[1])
        link = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
        link.request("GET", f"/bot{TOKEN}/getChat?chat_id={GROUP}")
        assert json.loads(link.getresponse().read())["result"]["title"] == "Ops"
        link.close()
        process.terminate()
        assert process.wait(60) == 0
