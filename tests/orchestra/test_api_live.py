"""What only a real web process shows: waiting, streams, chunked bodies, a dead Redis, static files."""

import http.client
import json
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest
from django.test import Client as Browser
from knox.models import AuthToken

from approvals.commands import decide_approval
from approvals.models import Approval
from orchestra.realtime import hub
from sessions_app.transcript import writer
from tests.factories import make_approval, make_session, make_user
from tests.web import PATIENCE_S, Web, running, until

pytestmark = pytest.mark.django_db(transaction=True)

WAITERS = 30


@pytest.fixture
def web(tmp_path: Path) -> Iterator[Web]:
    with running(tmp_path) as web:
        yield web


class Waiting(threading.Thread):
    """One client that waits for an approval to be closed."""

    def __init__(self, web: Web, approval: Approval, seconds: int) -> None:
        super().__init__(daemon=True)
        self.web, self.path = web, f"/api/approvals/{approval.pk}?wait={seconds}"
        self.shown: dict[str, Any] = {}
        self.start()

    def run(self) -> None:
        self.shown = json.load(self.web.ask("GET", self.path))


def test_many_wait_for_an_answer_and_hold_neither_threads_nor_connections(web: Web) -> None:
    approval = make_approval()
    before = web.threads()
    clients = [Waiting(web, approval, seconds=60) for _ in range(WAITERS)]
    # all are in: the process has that many more sockets, and its shared threads have come to rest
    until(
        lambda: (
            len([c for c in psutil.Process(web.process.pid).net_connections("tcp") if c.status == "ESTABLISHED"])
            >= WAITERS
        )
    )
    until(lambda: web.threads() < before + WAITERS // 2)
    time.sleep(2)
    assert all(client.is_alive() for client in clients)
    assert web.threads() < before + WAITERS // 2
    assert 1 < web.connections() <= 4 + 1  # its pool and its doorbell
    decide_approval(approval_id=approval.pk, decision="approved", by="ben", via="admin")
    for client in clients:
        client.join(PATIENCE_S)
        assert client.shown["status"] == "approved"


def test_who_waits_in_vain_gets_the_open_approval(web: Web) -> None:
    approval = make_approval()
    shown = json.load(web.ask("GET", f"/api/approvals/{approval.pk}?wait=1"))
    assert (shown["id"], shown["status"]) == (str(approval.pk), "pending")


def test_a_page_that_waits_is_shown_nothing_once_its_right_is_gone(web: Web) -> None:
    approval, vera, browser = make_approval(), make_user("vera", group="Viewer"), Browser()
    browser.force_login(vera)
    cookie = f"sessionid={browser.cookies['sessionid'].value}"
    found: list[int] = []
    path = f"/api/approvals/{approval.pk}?wait=60"
    waiting = threading.Thread(
        target=lambda: found.append(web.ask("GET", path, Authorization="", Cookie=cookie).status)
    )
    waiting.start()
    time.sleep(2)
    assert waiting.is_alive()
    vera.groups.clear()
    decide_approval(approval_id=approval.pk, decision="approved", by="ben", via="admin")
    waiting.join(PATIENCE_S)
    assert found == [403]


def frames(stream: http.client.HTTPResponse, count: int) -> list[tuple[int, str, Any]]:
    """The next ``count`` events of a stream; comments are passed over."""
    found: list[tuple[int, str, Any]] = []
    fields: dict[str, str] = {}
    while len(found) < count:
        row = stream.readline().decode()
        assert row, "the stream ended"
        if row.strip():
            name, _, value = row.rstrip("\n").partition(": ")
            fields[name] = value
        elif "id" in fields:
            found.append((int(fields["id"]), fields["event"], json.loads(fields["data"])))
            fields = {}
    return found


def test_a_stream_tells_what_was_and_what_comes_in_order(web: Web) -> None:
    session = make_session()
    writer.append(session.pk, [writer.line("text", text=str(number)) for number in range(700)])
    stream = web.ask("GET", f"/api/sessions/{session.pk}/events/stream", Accept="text/event-stream")
    assert (stream.status, stream.getheader("Content-Type")) == (200, "text/event-stream")
    past = frames(stream, 700)
    for _ in range(20):
        writer.append(session.pk, [writer.line("text", text="a\nb"), writer.line("status", status="x")])
    seen = past + frames(stream, 40)
    assert [seq for seq, _, _ in seen] == list(range(1, 741))
    assert seen[-1][1:] == ("status", seen[-1][2])
    assert seen[-2][2]["payload"] == {"text": "a\nb"}
    stream.close()


def test_text_streams_as_the_model_says_it(web: Web) -> None:
    session = make_session()
    stream = web.ask("GET", f"/api/sessions/{session.pk}/events/stream", Accept="text/event-stream")
    stop = threading.Event()

    def speak() -> None:  # again and again: what nobody has subscribed to yet is heard by nobody
        while not stop.wait(0.1):
            hub.publish(f"session:{session.pk}", {"type": "delta", "text": "once upon"})

    speaker = threading.Thread(target=speak)
    speaker.start()
    try:
        while (row := stream.readline().decode()) != "event: delta\n":
            assert row, "the stream ended"
        assert json.loads(stream.readline().decode().removeprefix("data: ")) == {"text": "once upon"}
    finally:
        stop.set()
        speaker.join()
        stream.close()


def test_a_browser_that_reconnects_goes_on_where_it_was(web: Web) -> None:
    session = make_session()
    writer.append(session.pk, [writer.line("text", text=str(number)) for number in range(10)])
    path = f"/api/sessions/{session.pk}/events/stream"
    assert frames(web.ask("GET", f"{path}?after=4"), 1)[0][0] == 5
    assert frames(web.ask("GET", f"{path}?after=4", **{"Last-Event-ID": "7"}), 1)[0][0] == 8


def test_a_stream_is_refused_in_json(web: Web) -> None:
    session = make_session()
    unknown = web.ask("GET", "/api/sessions/x/events/stream", Accept="text/event-stream")
    assert (unknown.status, json.load(unknown)["code"]) == (404, "session_not_found")
    nobody = web.ask("GET", f"/api/sessions/{session.pk}/events/stream", Authorization="Token wrong")
    assert (nobody.status, json.load(nobody)["code"]) == (401, "not_authenticated")


def test_a_stream_ends_for_who_may_no_longer_look(web: Web) -> None:
    session = make_session()
    stream = web.ask("GET", f"/api/sessions/{session.pk}/events/stream")
    AuthToken.objects.all().delete()
    assert stream.read() == b": connected\n\n"


def test_open_streams_hold_neither_threads_nor_connections(web: Web) -> None:
    session = make_session()
    writer.append(session.pk, [writer.line("text", text="x")])
    before = web.threads()
    streams = [web.ask("GET", f"/api/sessions/{session.pk}/events/stream") for _ in range(WAITERS)]
    assert all(frames(stream, 1) for stream in streams)
    until(lambda: web.threads() < before + WAITERS // 2)
    assert 1 < web.connections() <= 4 + 1
    writer.append(session.pk, [writer.line("text", text="y")])
    assert all(frames(stream, 1)[0][0] == 2 for stream in streams)


def test_a_transcript_comes_whole_as_lines_and_for_people(web: Web) -> None:
    session = make_session(title="Tidy *up*")
    exact = '{"id": "t1", "name": "Bash", "input": {"command": "ls", "n": 123456789012345678901234567890}}'
    writer.append(session.pk, [writer.line("prompt", turn=1, text="go\n# not a heading"), ("tool_use", exact)])
    writer.append(session.pk, [writer.line("tool_result", content="```\n<b>\u202e", is_error=True)] * 1200)
    rows = web.ask("GET", f"/api/sessions/{session.pk}/transcript?as=jsonl").read().decode().splitlines()
    assert [json.loads(row)["seq"] for row in rows] == list(range(1, 1203))
    assert exact in rows[1]
    page = web.ask("GET", f"/api/sessions/{session.pk}/transcript?as=md")
    assert page.getheader("Content-Type") == "text/markdown; charset=utf-8"
    text = page.read().decode()
    assert text.startswith("# Tidy \\*up\\*\n")
    assert "\n> # not a heading\n" in text
    assert "\n````\n```\n<b>\\u202e\n````\n" in text
    assert web.ask("GET", f"/api/sessions/{session.pk}/transcript?as=pdf").status == 400


def test_a_chunked_body_counts_like_any_other(web: Web) -> None:
    """Taken for empty, it would approve."""
    approval = make_approval()
    body = iter([b'{"approved"', b': false, "reason": "no"}'])
    answer = web.ask("POST", f"/api/approvals/{approval.pk}/approve", body, **{"Transfer-Encoding": "chunked"})
    assert (answer.status, json.load(answer)["status"]) == (200, "rejected")
    approval.refresh_from_db()
    assert approval.status == "rejected"


def test_the_api_page_needs_no_other_host(web: Web) -> None:
    assert web.ask("GET", "/swagger/").status == 302
    page = web.ask("GET", "/swagger/index.html", Authorization="").read().decode()
    assert "swagger" in page
    assert "//" not in page.replace("<!--", "").replace("http://www.w3.org", "")
    assets = [part.split('"')[0] for part in page.split('="/static/')[1:]]
    assert assets
    for asset in assets:
        answer = web.ask("GET", f"/static/{asset}", Authorization="")
        assert (answer.status, len(answer.read()) > 0) == (200, True)
    assert web.ask("GET", "/static/nothing.js").status == 404


def test_static_files_are_cached_and_asked_for_again_by_their_tag(web: Web) -> None:
    icon = web.ask("GET", "/favicon.ico", Authorization="").getheader("Location") or ""
    assert icon.startswith("/static/")
    answer = web.ask("GET", icon, Authorization="")
    assert (answer.status, answer.getheader("Content-Type")) == (200, "image/svg+xml")
    assert answer.getheader("Cache-Control") == "max-age=60, public"
    assert answer.getheader("Access-Control-Allow-Origin") is None
    assert answer.getheader("X-Request-ID")
    assert answer.read().startswith(b"<svg")
    tag = answer.getheader("ETag") or ""
    again = web.ask("GET", icon, Authorization="", **{"If-None-Match": tag})
    assert (again.status, again.read()) == (304, b"")


def test_no_client_chooses_where_the_site_begins(web: Web) -> None:
    assert web.ask("GET", "/health/live").status == 200
    assert web.ask("GET", "/api/health/live", **{"Daphne-Root-Path": "/api"}).status == 404


def test_with_redis_dead_people_start_decide_and_are_told_what_cannot_be(tmp_path: Path) -> None:
    with running(tmp_path, REDIS_URL=f"unix://{tmp_path}/nobody.sock") as web:
        assert web.ask("POST", "/api/sessions", json.dumps({"prompt": "x"})).status == 201
        approval = make_approval()
        assert web.ask("POST", f"/api/approvals/{approval.pk}/approve").status == 200
        answer = web.ask("POST", "/api/agents/discover")
        assert (answer.status, json.load(answer)["code"]) == (503, "unavailable")
        assert answer.getheader("Retry-After")
