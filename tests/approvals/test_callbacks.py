"""A program that asked is told the outcome where the operator allows it: signed, once taken, and until then again."""

import base64
import dataclasses
import hashlib
import hmac
import json
import logging
import os
import threading
from collections.abc import Iterator
from datetime import timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from uuid import UUID

import pytest
from django.core.exceptions import ImproperlyConfigured
from django.db.models.functions import Now
from pytest_django import Settings

from approvals.callbacks import webhook
from approvals.callbacks.addresses import address_problem, places
from approvals.callbacks.delivery import MOST_ATTEMPTS, post_due_callbacks
from approvals.checks import check_callbacks
from approvals.commands import cancel_approval, decide_approval, expire_due_approvals
from approvals.models import Approval, Callback
from tests.factories import client_of, make_user
from tests.threads import at_once

KEY = os.urandom(32)
SECRET = "whsec_" + base64.b64encode(KEY).decode()


class Listener(ThreadingHTTPServer):
    """A program that waits for outcomes; answers with ``status``."""

    def __init__(self) -> None:
        self.heard: list[tuple[str, dict[str, str], bytes]] = []
        self.status = 204
        super().__init__(("127.0.0.1", 0), Answering)

    @property
    def place(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}"


class Answering(BaseHTTPRequestHandler):
    server: Listener

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        self.server.heard.append((self.path, dict(self.headers), body))
        self.send_response(self.server.status)
        if 300 <= self.server.status < 400:
            self.send_header("Location", "/elsewhere")
        self.end_headers()

    do_GET = do_POST

    def log_message(self, *_: Any) -> None:
        pass


@pytest.fixture
def listener(transactional_db: None, settings: Settings) -> Iterator[Listener]:
    with Listener() as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        settings.APPROVALS = dataclasses.replace(
            settings.APPROVALS, callback_places=places([server.place]), callback_secret=SECRET, self_approval=True
        )
        yield server
        server.shutdown()


def ask(url: str, expect: int = 201, **more: Any) -> Any:
    answer = client_of(make_user(group="Asker")).post(
        "/api/approvals", {"title": "Deploy?", "callback": url, **more}, format="json"
    )
    assert answer.status_code == expect, answer.content
    return answer.json()


def approve(approval_id: str) -> None:
    decide_approval(approval_id=UUID(approval_id), decision="approved", by="anna", via="api", reason="go")


def due_again() -> None:
    Callback.objects.update(next_try_at=Now())


def test_the_outcome_is_posted_signed_and_exactly_as_the_rest_door_tells_it(listener: Listener) -> None:
    asked = ask(f"{listener.place}/hook?for=42", options=["a", "b"])
    assert post_due_callbacks() == 0, "nothing is closed yet"
    approve(asked["id"])
    assert [post_due_callbacks() for _ in range(2)] == [1, 0]
    ((path, headers, body),) = listener.heard
    assert path == "/hook?for=42"
    told = json.loads(body)
    assert told["type"] == "approval.closed"
    assert (told["data"]["id"], told["data"]["status"], told["data"]["reason"]) == (asked["id"], "approved", "go")
    assert told["data"]["options"] == ["a", "b"]
    signed = f"{headers['webhook-id']}.{headers['webhook-timestamp']}.".encode() + body
    right = base64.b64encode(hmac.new(KEY, signed, hashlib.sha256).digest()).decode()
    assert headers["webhook-signature"] == f"v1,{right}"
    assert headers["webhook-id"] == asked["id"]


def test_an_asker_hears_of_expiry_and_withdrawal_too(listener: Listener) -> None:
    late, withdrawn = ask(f"{listener.place}/late"), ask(f"{listener.place}/withdrawn")
    Approval.objects.filter(pk=late["id"]).update(expires_at=Now() - timedelta(seconds=1))
    expire_due_approvals(batch=10)
    cancel_approval(approval_id=UUID(withdrawn["id"]), by="olga", via="api")
    assert post_due_callbacks() == 2
    assert {path: json.loads(body)["data"]["status"] for path, _, body in listener.heard} == {
        "/late": "expired",
        "/withdrawn": "cancelled",
    }


@pytest.mark.parametrize("status", [500, 404, 302, 429])
def test_what_is_not_taken_is_posted_again_later_and_redirects_are_not_followed(
    listener: Listener, status: int, caplog: pytest.LogCaptureFixture
) -> None:
    listener.status = status
    approve(ask(f"{listener.place}/hook?key=confidential")["id"])
    with caplog.at_level(logging.INFO):
        assert [post_due_callbacks() for _ in range(2)] == [0, 0], "not at once again"
        callback = Callback.objects.get()
        assert (callback.status, callback.attempts, callback.last_error) == ("waiting", 1, f"HTTP {status}")
        listener.status = 200
        due_again()
        assert post_due_callbacks() == 1
    assert [path for path, _, _ in listener.heard] == ["/hook?key=confidential"] * 2
    assert "confidential" not in caplog.text
    assert Callback.objects.get().status == "delivered"


def test_an_asker_that_is_gone_or_never_answers_is_given_up(listener: Listener) -> None:
    listener.status = 410
    approve(ask(f"{listener.place}/gone")["id"])
    post_due_callbacks()
    assert Callback.objects.get().status == "failed"
    listener.status = 500
    approve(ask(f"{listener.place}/broken")["id"])
    Callback.objects.filter(status="waiting").update(attempts=MOST_ATTEMPTS - 1)
    post_due_callbacks()
    assert list(Callback.objects.values_list("status", flat=True)) == ["failed", "failed"]


def test_a_host_that_fails_is_tried_once_a_round(listener: Listener) -> None:
    listener.status = 500
    for number in range(5):
        approve(ask(f"{listener.place}/{number}")["id"])
    post_due_callbacks()
    assert len(listener.heard) == 1
    assert sorted(Callback.objects.values_list("attempts", flat=True)) == [0, 0, 0, 0, 1]


def test_an_address_that_no_resolver_takes_keeps_nobody_else_waiting(listener: Listener, settings: Settings) -> None:
    house = settings.APPROVALS
    settings.APPROVALS = dataclasses.replace(
        house, callback_places=house.callback_places | places(["http://two..dots"])
    )
    for asked in (ask("http://two..dots/hook"), ask(f"{listener.place}/hook")):
        approve(asked["id"])
    assert post_due_callbacks() == 1
    stays = Callback.objects.exclude(status="delivered").get()
    assert (stays.status, stays.attempts, stays.last_error) == ("waiting", 1, "LocationParseError")


def test_of_several_senders_one_posts(listener: Listener) -> None:
    for number in range(8):
        approve(ask(f"{listener.place}/{number}")["id"])
    assert sum(at_once([post_due_callbacks] * 4)) == 8
    assert sorted(path for path, _, _ in listener.heard) == [f"/{number}" for number in range(8)]


def test_a_host_the_operator_no_longer_allows_is_not_told(listener: Listener, settings: Settings) -> None:
    approve(ask(f"{listener.place}/hook")["id"])
    settings.APPROVALS = dataclasses.replace(settings.APPROVALS, callback_places=places(["example.com"]))
    assert post_due_callbacks() == 0
    assert listener.heard == [] and Callback.objects.get().status == "failed"


def test_nothing_is_asked_when_the_callback_is_refused(listener: Listener) -> None:
    refused = ask("https://evil.example/", expect=400)
    assert "APPROVAL_CALLBACK_HOSTS" in json.dumps(refused["fields"]["callback"])
    assert not Approval.objects.exists()


@pytest.mark.parametrize(
    ("url", "fine"),
    [
        ("https://hooks.example.com/a?b=c%20d", True),
        ("https://HOOKS.example.com:443", True),
        ("https://hooks.example.com:8443/x", True),
        ("http://10.0.0.7:8080/x", True),
        ("http://hooks.example.com/", False),
        ("https://hooks.example.com:22/", False),
        ("https://hooks.example.com@evil.example/", False),
        ("https://evil.example/?hooks.example.com", False),
        ("https://evil.example\\@hooks.example.com/", False),
        ("https://hooks.example.com\\.evil.example/", False),
        ("https://hooks.example.com.evil.example/", False),
        ("https://hooks.example.com./", False),
        ("https://hooks.example.com/\r\nHost: evil", False),
        ("https://hooks.example.com/#x", False),
        ("https:///hooks.example.com/", False),
        ("//hooks.example.com/", False),
        ("file:///etc/passwd", False),
        ("https://hooks.ex\u0430mple.com/", False),
        ("https://hooks.example.com/" + "x" * 2000, False),
        ("https://169.254.169.254/", False),
    ],
)
def test_only_the_very_places_the_operator_lists_are_allowed(url: str, fine: bool) -> None:
    listed = places(["hooks.example.com", "hooks.example.com:8443", "http://10.0.0.7:8080"])
    assert (address_problem(url, listed) == "") is fine


@pytest.mark.parametrize("entry", ["", "*", "https://a/b", "user@a", "ftp://a", "a b"])
def test_an_entry_that_is_no_host_stops_the_start(entry: str) -> None:
    with pytest.raises(ImproperlyConfigured):
        places([entry])


def test_a_name_that_leads_to_this_machine_is_not_followed(monkeypatch: pytest.MonkeyPatch, listener: Listener) -> None:
    import socket

    found = socket.getaddrinfo
    monkeypatch.setattr(socket, "getaddrinfo", lambda host, *rest, **more: found("127.0.0.1", *rest, **more))
    port = listener.server_address[1]
    with pytest.raises(webhook.CallbackNotAccepted, match="ForbiddenAddress"):
        webhook.post(f"http://rebound.example:{port}/", b"{}", message_id="1", key=KEY)
    webhook.post(f"http://localhost:{port}/", b"{}", message_id="2", key=KEY)
    assert len(listener.heard) == 1


def test_hosts_without_a_good_secret_stop_the_start(settings: Settings) -> None:
    assert check_callbacks() == []
    for secret in ("", "hunter2", "whsec_c2hvcnQ=", "whsec_!!"):
        house = dataclasses.replace(settings.APPROVALS, callback_places=places(["a"]), callback_secret=secret)
        settings.APPROVALS = house
        assert [error.id for error in check_callbacks()] == ["approvals.E001"]
    settings.APPROVALS = dataclasses.replace(settings.APPROVALS, callback_secret=SECRET)
    assert check_callbacks() == []
    assert SECRET not in repr(settings.APPROVALS)
