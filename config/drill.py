"""The disaster drill: it checks that people can still decide while a dependency is unavailable.

The running installation is not changed. For each outage the drill starts a web process of its own
beside it, on the real database, with settings that replace the dependency by an address that
accepts connections and never answers. Then it creates an approval request and decides it on every
surface that remains. The requests of a drill have a title that says so, and nothing runs when one
is approved.
"""

import contextlib
import os
import re
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import timedelta
from http import HTTPStatus
from urllib.parse import urlsplit
from uuid import UUID

import requests
from django.conf import settings
from django.contrib.auth.models import User
from django.db import connections
from knox.models import get_token_model

from approvals.models import Approval, AuditEntry
from orchestra.auth import sign_in_links
from orchestra.auth.groups import permissions_of
from orchestra.auth.permissions import BUILT_IN_GROUPS

APPROVER, ASKER = "Approver", "Asker"
TITLE = "Drill: nothing will run, please leave it alone"
REASON = "Manual approval due to Telegram outage"
TIMEOUTS_S = (3, 20)
START_S = 90.0
GRACE_S = 15.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Outage:
    """An outage that the variables in ``env`` simulate; ``decides``: whether decisions must still
    be recorded.
    """

    name: str
    env: dict[str, str]
    decides: bool = True


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """The result of one path during one outage, with its duration in seconds."""

    outage: str
    path: str
    ok: bool
    seconds: float
    note: str = ""


class PathClosed(Exception):
    """A surface failed; the message says what it returned."""


def rehearse() -> Iterator[Finding]:
    """Try every path during every outage, one after the other, and yield the results."""
    with _black_hole() as hole, _people() as people:
        for outage in _outages(hole):
            yield from _rehearse_outage(outage, hole, people)


def _outages(hole: str) -> list[Outage]:
    telegram = {"TELEGRAM_API_URL": f"http://{hole}"}
    redis = {"REDIS_URL": f"redis://{hole}/0"}
    return [
        Outage(name="none", env={}),
        Outage(name="Telegram", env=telegram),
        Outage(name="Redis", env=redis),
        Outage(name="Telegram and Redis", env=telegram | redis),
        Outage(name="the database", env={"DATABASE_URL": f"postgres://nobody@{hole}/gone"}, decides=False),
    ]


@dataclass(frozen=True, slots=True, kw_only=True)
class People:
    """The accounts of a drill; they are deactivated when it ends."""

    approver: User
    approver_key: str
    asker_key: str


Attempt = Callable[[], str]
"""Tries one path and returns a note, or raises PathClosed."""


def _paths(outage: Outage, url: str, people: People) -> dict[str, Attempt]:
    if not outage.decides:
        return {"REST approve refuses, and says when to try again": lambda: _try_refusal(url, people)}
    return {
        "health page answers": lambda: _health(url),
        "REST ask": lambda: str(_create_request(url, people)),
        "REST approve": lambda: _by_rest(url, people),
        "admin approve": lambda: _by_admin(url, people),
        "shell approve": lambda: _by_shell(outage, url, people),
    }


def _rehearse_outage(outage: Outage, hole: str, people: People) -> Iterator[Finding]:
    """Yield the results of one outage; a web process that does not start is a failed path."""
    started = time.monotonic()
    try:
        with _web(outage, hole) as url:
            for path, attempt in _paths(outage, url, people).items():
                yield _tried(outage, path, attempt)
    except PathClosed as error:
        seconds = time.monotonic() - started
        yield Finding(outage=outage.name, path="web process starts", ok=False, seconds=seconds, note=str(error))


def _tried(outage: Outage, path: str, attempt: Attempt) -> Finding:
    started = time.monotonic()
    try:
        ok, note = True, attempt()
    except (PathClosed, requests.RequestException, subprocess.SubprocessError) as error:
        ok, note = False, f"{type(error).__name__}: {error}"
    finally:
        connections.close_all()
    return Finding(outage=outage.name, path=path, ok=ok, seconds=time.monotonic() - started, note=note)


# --- the paths


def _health(url: str) -> str:
    answer = requests.get(f"{url}/health", timeout=TIMEOUTS_S)
    _require(answer, HTTPStatus.OK)
    return str(answer.json()["status"])


def _create_request(url: str, people: People) -> UUID:
    body = {"title": TITLE, "timeout_minutes": 5}
    answer = requests.post(f"{url}/api/approvals", json=body, headers=_key(people.asker_key), timeout=TIMEOUTS_S)
    _require(answer, HTTPStatus.CREATED)
    return UUID(answer.json()["id"])


def _by_rest(url: str, people: People) -> str:
    approval_id = _create_request(url, people)
    answer = requests.post(
        f"{url}/api/approvals/{approval_id}/approve", json={"approved": True, "reason": REASON},
        headers=_key(people.approver_key), timeout=TIMEOUTS_S,
    )  # fmt: skip
    _require(answer, HTTPStatus.OK)
    return _recorded(approval_id, "api")


def _by_admin(url: str, people: People) -> str:
    approval_id = _create_request(url, people)
    with requests.Session() as browser:
        page = f"{url}{urlsplit(sign_in_links.make_link(people.approver)).path}"
        _require(_post(browser, page, browser.get(page, timeout=TIMEOUTS_S), {}), HTTPStatus.OK, HTTPStatus.FOUND)
        approval_page = f"{url}/admin/approvals/approval/{approval_id}/"
        shown = browser.get(f"{approval_page}change/", timeout=TIMEOUTS_S)
        _require(shown, HTTPStatus.OK)
        form = {"decision": "approve", "reason": REASON, "seen_digest": ""}
        _require(_post(browser, f"{approval_page}decide/", shown, form), HTTPStatus.OK, HTTPStatus.FOUND)
    return _recorded(approval_id, "admin")


def _post(browser: requests.Session, url: str, shown: requests.Response, form: dict[str, str]) -> requests.Response:
    token = re.search(r'name="csrfmiddlewaretoken" value="([^"]+)"', shown.text)
    if token is None:
        raise PathClosed(f"{shown.status_code} without a form at {shown.request.path_url}")
    body = {"csrfmiddlewaretoken": token[1], **form}
    return browser.post(url, data=body, headers={"Referer": url}, timeout=TIMEOUTS_S, allow_redirects=False)


def _by_shell(outage: Outage, url: str, people: People) -> str:
    approval_id = _create_request(url, people)
    subprocess.run(
        [sys.executable, "manage.py", "approvals", "approve", str(approval_id), "--reason", REASON],
        cwd=settings.BASE_DIR, env=_environment(outage), check=True, timeout=60, capture_output=True,
        stdin=subprocess.DEVNULL,
    )  # fmt: skip
    return _recorded(approval_id, "cli")


def _try_refusal(url: str, people: People) -> str:
    """Check that without the database a decision gets 503 with Retry-After."""
    answer = requests.post(
        f"{url}/api/approvals/{UUID(int=0)}/approve", json={"approved": True},
        headers=_key(people.approver_key), timeout=TIMEOUTS_S,
    )  # fmt: skip
    _require(answer, HTTPStatus.SERVICE_UNAVAILABLE)
    wait = answer.headers.get("Retry-After")
    if not wait:
        raise PathClosed("503 without Retry-After")
    return f"503, try again after {wait} s"


def _recorded(approval_id: UUID, via: str) -> str:
    approval = Approval.objects.get(pk=approval_id)
    audited = AuditEntry.objects.filter(approval=approval_id, action="approved", won=True, via=via).count()
    if (approval.status, approval.decided_via, audited) != ("approved", via, 1):
        raise PathClosed(f"the row has status {approval.status} via {approval.decided_via!r}, audited {audited} times")
    return f"recorded and audited as {via}"


def _require(answer: requests.Response, *wanted: HTTPStatus) -> None:
    if answer.status_code not in wanted:
        raise PathClosed(f"{answer.status_code}: {answer.text[:200]}")


def _key(key: str) -> dict[str, str]:
    return {"Authorization": f"Token {key}"}


# --- the environment of a drill


@contextlib.contextmanager
def _black_hole() -> Iterator[str]:
    """Yield an address that accepts connections and never answers."""
    with socket.create_server(("127.0.0.1", 0), backlog=512) as server:
        yield f"127.0.0.1:{server.getsockname()[1]}"


@contextlib.contextmanager
def _people() -> Iterator[People]:
    accounts = {name: _account(f"drill-{name.lower()}", name) for name in (APPROVER, ASKER)}
    tokens = get_token_model().objects
    keys = {name: tokens.create(user, expiry=timedelta(hours=1))[1] for name, user in accounts.items()}
    try:
        yield People(approver=accounts[APPROVER], approver_key=keys[APPROVER], asker_key=keys[ASKER])
    finally:
        ids = [user.pk for user in accounts.values()]
        tokens.filter(user__in=ids).delete()
        for user in accounts.values():
            user.is_active = False
            user.save(update_fields=["is_active"])


def _account(name: str, group: str) -> User:
    user, new = User.objects.get_or_create(username=name)
    if new:
        user.set_unusable_password()
    user.is_active = user.is_staff = True
    user.save()
    user.groups.clear()  # administrators may change what a group may do
    user.user_permissions.set(permissions_of(*BUILT_IN_GROUPS[group]))
    return user


@contextlib.contextmanager
def _web(outage: Outage, hole: str) -> Iterator[str]:
    """Start a web process with the settings of the outage, and yield its URL."""
    port = _free_port()
    env = _environment(outage) | {"ORCHESTRA_PORT": str(port), "ORCHESTRA_HOST": "127.0.0.1"}
    web = subprocess.Popen(
        [sys.executable, "manage.py", "run", "web"], cwd=settings.BASE_DIR, env=env,
        stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
    )  # fmt: skip
    try:
        url = f"http://127.0.0.1:{port}"
        _wait_for(f"{url}/health/live", web)
        yield url
    finally:
        web.terminate()
        with contextlib.suppress(subprocess.TimeoutExpired):
            web.wait(GRACE_S)
        if web.poll() is None:
            web.kill()
            web.wait()


def _environment(outage: Outage) -> dict[str, str]:
    """Return the environment of a drill's process.

    The installation's own values are explicit, because the embedded mode would derive other ones
    from a changed address.
    """
    orchestra = settings.ORCHESTRA
    same = {
        "ORCHESTRA_SECRET_KEY": settings.SECRET_KEY,
        "ORCHESTRA_ENVIRONMENT": orchestra.environment,
        "ORCHESTRA_DATA_DIR": str(orchestra.data_dir),
        "ORCHESTRA_ALLOWED_HOSTS": ",".join({*settings.ALLOWED_HOSTS, "127.0.0.1"}),
        "ORCHESTRA_PUBLIC_URL": "",  # the process serves plain HTTP, over which secure cookies are not sent
        "REDIS_URL": orchestra.redis_url,
    }
    changed = same | outage.env
    files = {f"{name}_FILE" for name in changed}  # would take precedence over the value
    return {name: value for name, value in os.environ.items() if name not in files} | changed


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def _wait_for(url: str, process: subprocess.Popen[bytes]) -> None:
    end = time.monotonic() + START_S
    while time.monotonic() < end and process.poll() is None:
        with contextlib.suppress(requests.RequestException):
            if requests.get(url, timeout=TIMEOUTS_S).ok:
                return
        time.sleep(0.2)
    code = process.poll()
    what = f"did not answer within {START_S:.0f} s" if code is None else f"ended with code {code}"
    raise PathClosed(f"The drill's web process {what}; try `manage.py run web` by hand.")
