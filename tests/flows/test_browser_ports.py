"""A page on another port of this machine, such as an agent's preview, gets nothing of the person's session."""

import contextlib
import os
import re
import socket
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import urlsplit

import pytest
import requests
from playwright.sync_api import Browser, BrowserContext, Page, expect

from tests import browser as browsers
from tests import hub
from tests.stack import Stack, running

PASSWORD = "a long enough password"
PATIENCE_MS = 20_000
PERSON = """
from django.contrib.auth.models import Group, User
user = User.objects.create_user("anna", password={password!r})
user.groups.add(Group.objects.get(name="Approver"))
"""


class Preview:
    """A web server as an agent may have started it: it notes every cookie it gets, and tries to get some."""

    def __init__(self, orchestra: str) -> None:
        self.got: list[tuple[str, str]] = []
        preview = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                preview.got.append((f"{self.command} {self.headers['Host']}{self.path}", self.headers["Cookie"] or ""))
                self.send_response(200)
                self.send_header("Content-Type", "text/html")
                self.end_headers()
                self.wfile.write(preview.page(self.path).encode())

            do_POST = do_GET

            def log_message(self, *_: object) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.port = self._server.server_address[1]
        told = requests.get(f"{orchestra}/", allow_redirects=False, timeout=30).headers["Location"]
        names = {"127.0.0.1", "localhost", "orchestra.localhost", urlsplit(told).hostname or "127.0.0.1"}
        self.addresses = [f"http://{name}:{self.port}" for name in sorted(names)]
        threading.Thread(target=self._server.serve_forever, daemon=True).start()

    def page(self, path: str) -> str:
        """Everything a page can have a browser send: an image, a frame, a form, a link."""
        each = "".join(
            f'<img src="{to}/img"><a id="a{n}" href="{to}/link">go</a><iframe src="{to}/frame-{n}"></iframe>'
            f'<form id="f{n}" method="post" action="{to}/form"><button>send</button></form>'
            for n, to in enumerate(self.addresses)
        )
        return "<title>Preview</title>" + (each if path == "/visit" else "")

    def stop(self) -> None:
        self._server.shutdown()
        self._server.server_close()


@pytest.fixture(scope="module", params=["embedded", "postgresql"])
def stack(request: Any, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    servers: dict[str, str] = {}
    if request.param == "postgresql":
        servers = {
            "DATABASE_URL": request.getfixturevalue("fresh_database_url"),
            "REDIS_URL": request.getfixturevalue("fresh_redis_url"),
            "ORCHESTRA_SECRET_KEY": "w8Jr2pXkQz5vLt9NcYb3Hs6DfGm1Ae4Ru7Io0PqWxZyTkVnBjM",
            "ORCHESTRA_ALLOWED_HOSTS": "127.0.0.1,localhost",
            "ORCHESTRA_CONSOLE_HOST": "private",
        }
    with running(tmp_path_factory.mktemp("ports"), **servers) as stack:
        stack.manage("shell", "--no-imports", "-c", PERSON.format(password=PASSWORD))
        yield stack


@pytest.fixture
def person(stack: Stack, chromium: Browser) -> Iterator[BrowserContext]:
    """A browser of somebody who has signed in by a link."""
    with browsers.context(chromium, stack.console_url) as (own, _):
        own.set_default_timeout(PATIENCE_MS)
        page = own.new_page()
        page.goto(stack.manage("sign_in_link", "anna").splitlines()[-1])
        page.get_by_role("button", name="Sign in").click()
        page.wait_for_selector("[data-person=anna]")
        yield own


@pytest.fixture
def preview(stack: Stack) -> Iterator[Preview]:
    server = Preview(stack.url)
    yield server
    server.stop()


def question(stack: Stack) -> str:
    return str(stack.call("POST", "/api/approvals", {"title": "May I deploy?"}, expect=201)["id"])


def lure(page: Page, preview: Preview) -> None:
    """Visit the preview at each of its names, by hand and by each thing its page can do."""
    for address in preview.addresses:
        page.goto(f"{address}/visit")
        for other in preview.addresses:
            page.evaluate("to => fetch(to, {mode: 'no-cors', credentials: 'include'})", f"{other}/fetch")
        for number in range(len(preview.addresses)):
            page.click(f"#a{number}")
            page.goto(f"{address}/visit")
            page.click(f"#f{number} button")
            page.goto(f"{address}/visit")


def test_another_port_gets_no_cookie_and_decides_nothing(
    stack: Stack, person: BrowserContext, preview: Preview
) -> None:
    approval = question(stack)
    lure(person.new_page(), preview)
    asked = {what.split("?")[0].rpartition("/")[2].split("-")[0] for what, _ in preview.got}
    assert {"visit", "img", "frame", "fetch", "link", "form"} <= asked
    stolen = {cookie for _, cookie in preview.got if cookie}
    for cookie in stolen:
        replay(stack, cookie, approval)
    assert stack.call("GET", f"/api/approvals/{approval}")["status"] == "pending"
    assert stolen == set()

    page = person.new_page()  # while the person's own page does it
    page.goto(f"/approvals/{approval}")
    page.wait_for_timeout(700)
    page.click("#decision button[value=approve]")
    expect(page.locator("#verdict")).to_contain_text("Approved by anna")


def test_the_session_counts_on_its_own_host_alone(stack: Stack, person: BrowserContext) -> None:
    approval = question(stack)
    [session] = [cookie for cookie in person.cookies() if cookie["name"] == "sessionid"]
    host = urlsplit(stack.console_url).hostname or ""
    assert re.fullmatch(r"orchestra-[0-9a-f]{16}\.localhost", host)
    assert (session["domain"], session["httpOnly"], session["sameSite"]) == (host, True, "Lax")
    assert {cookie["domain"] for cookie in person.cookies()} == {host}
    cookie = f"sessionid={session['value']}"
    own = requests.get(f"{stack.url}/account", headers={"Host": f"{host}:{stack.port}", "Cookie": cookie}, timeout=30)
    assert "anna" in own.text, "that is the cookie"
    replay(stack, cookie, approval)
    assert stack.call("GET", f"/api/approvals/{approval}")["status"] == "pending"


def replay(stack: Stack, cookie: str, approval: str) -> None:
    """Be that person, at every name of this machine that anybody knows: in vain."""
    for name in ("127.0.0.1", "localhost", "orchestra.localhost"):
        host = f"{name}:{stack.port}"
        headers = {"Host": host, "Cookie": cookie, "Origin": f"http://{host}"}
        assert requests.get(f"{stack.url}/api/approvals", headers=headers, timeout=30).status_code == 401
        page = requests.get(f"{stack.url}/approvals/{approval}", headers=headers, timeout=30, allow_redirects=False)
        assert page.status_code == 302
        token = (re.search(r"csrftoken=(\w+)", cookie) or ["", "x" * 32])[1]
        form = {"decision": "approve", "csrfmiddlewaretoken": token}
        headers |= {"X-CSRFToken": token}
        done = requests.post(
            f"{stack.url}/approvals/{approval}/decide", form, headers=headers, timeout=30, allow_redirects=False
        )
        assert done.status_code in (302, 303, 403)
        assert requests.post(
            f"{stack.url}/api/approvals/{approval}/approve", json={}, headers=headers, timeout=30
        ).status_code in (401, 403)
    options = {"origin": stack.url, "additional_headers": {"Cookie": cookie}}
    with hub.client(stack.port, **options) as socket_of_a_thief:
        assert socket_of_a_thief.ask("decide", approval=approval, approved=True)["code"] == "not_authenticated"


def test_the_console_is_found_from_every_name_of_this_machine(stack: Stack, chromium: Browser) -> None:
    for name in ("127.0.0.1", "localhost"):
        with browsers.context(chromium, f"http://{name}:{stack.port}") as (own, complaints):
            own.set_default_timeout(PATIENCE_MS)
            page = own.new_page()
            page.goto("/approvals?status=pending")
            assert page.url == f"http://orchestra.localhost:{stack.port}/sign-in?next=/approvals%3Fstatus%3Dpending"
            page.fill("#id_username", "anna")
            page.fill("#id_password", PASSWORD)
            page.click("[type=submit]")
            page.wait_for_url(f"{stack.console_url}/sign-in/**")
            page.get_by_role("button", name="Sign in").click()
            page.wait_for_url(f"{stack.console_url}/approvals?status=pending")
            assert {cookie["name"] for cookie in own.cookies() if "orchestra-" not in cookie["domain"]} == {"csrftoken"}
            assert complaints == []


def test_programs_go_on_at_every_name(stack: Stack) -> None:
    for name in ("127.0.0.1", "localhost"):
        header = {"Host": f"{name}:{stack.port}"}
        for path in ("/health", "/health/live", "/health/ready", "/metrics", "/swagger/index.html", "/api/schema"):
            answer = requests.get(f"{stack.url}{path}", headers=header, timeout=60, allow_redirects=False)
            assert answer.status_code == 200, path
            assert "Set-Cookie" not in answer.headers
        key = {"Authorization": f"Token {stack.token}"}
        assert requests.get(f"{stack.url}/api/approvals", headers=header | key, timeout=30).status_code == 200
        with hub.client(stack.port, stack.token, additional_headers=header) as socket_of_ours:
            assert socket_of_ours.ask("ping")["type"] == "pong"


def test_nobody_else_can_listen_where_browsers_look_first(stack: Stack) -> None:
    """Names below .localhost lead to ``[::1]`` first, where there is one."""
    with socket.socket(socket.AF_INET6) as squatter:
        try:
            squatter.bind(("::1", 0))
        except OSError:
            pytest.skip("this machine has no ::1")
    with socket.socket(socket.AF_INET6) as squatter, pytest.raises(OSError, match="in use"):
        squatter.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        squatter.bind(("::1", stack.port))
    header = {"Host": f"127.0.0.1:{stack.port}"}
    assert requests.get(f"http://[::1]:{stack.port}/health/live", headers=header, timeout=30).status_code == 200


def test_the_private_name_is_in_no_answer_to_strangers_and_on_no_command_line(stack: Stack) -> None:
    name = urlsplit(stack.console_url).hostname or "nothing"
    for path in (
        "/",
        "/sign-in",
        "/sign-in/x",
        "/swagger/index.html",
        "/api/schema",
        "/health/ready",
        "/metrics",
        "/no",
    ):
        for host in ("127.0.0.1", "orchestra.localhost"):
            header = {"Host": f"{host}:{stack.port}"}
            answer = requests.get(f"{stack.url}{path}", headers=header, timeout=60, allow_redirects=False)
            assert name not in f"{answer.headers} {answer.text}", path
    for process in stack.processes():
        with contextlib.suppress(Exception):
            assert name not in f"{process.cmdline()} {process.environ()}"
    assert os.getpid() not in {process.pid for process in stack.processes()}
    assert not any(name.encode() in path.read_bytes() for path in (stack.folder / "var").rglob("*.log"))
