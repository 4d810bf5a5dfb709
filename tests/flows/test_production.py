"""Production's processes by the commands of compose and systemd, on PostgreSQL, secrets from files, behind nginx."""

import asyncio
import contextlib
import json
import os
import shutil
import signal
import ssl
import subprocess
import sys
import time
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit, urlunsplit

import psycopg
import pytest
import requests
import websockets

from tests.stack import ENDS_WITH_US, ROOT, free_port, until

HOST = "orchestra.example.com"
PROCESSES = ("web", "worker", "sessions", "beat")
KEY = "k" + "aBcDeFgHiJ0123456789" * 3


class Production:
    """One installation, its processes started one by one."""

    def __init__(self, folder: Path, database_url: str) -> None:
        self.folder = folder
        self.port, self.tls_port, self.plain_port = free_port(), free_port(), free_port()
        self.hiding_port = free_port()
        self.processes: dict[str, subprocess.Popen[bytes]] = {}
        secrets = {"ORCHESTRA_SECRET_KEY": KEY, "DATABASE_URL": database_url, "METRICS_TOKEN": "figures-for-few"}
        for name, value in secrets.items():
            (folder / name).write_text(value)
        inherited = {name: os.environ[name] for name in ("PATH", "HOME", "LANG") if name in os.environ}
        self.env = inherited | {
            **{f"{name}_FILE": str(folder / name) for name in secrets},
            "ORCHESTRA_ENVIRONMENT": "production",
            "ORCHESTRA_ENV_FILE": "/dev/null",
            "ORCHESTRA_DATA_DIR": str(folder / "var"),
            "ORCHESTRA_LOG_DIR": str(folder / "log"),
            "ORCHESTRA_ALLOWED_HOSTS": f"{HOST},127.0.0.1",
            "ORCHESTRA_PUBLIC_URL": f"https://{HOST}",
            "ORCHESTRA_PORT": str(self.port),
            "REDIS_URL": os.environ["REDIS_URL"],
            "AGENT_WORKING_ROOTS": str(folder / "workspaces"),
        }
        (folder / "workspaces").mkdir()

    def manage(self, *arguments: str) -> str:
        done = subprocess.run(
            [sys.executable, "manage.py", *arguments], cwd=ROOT, env=self.env, capture_output=True, text=True,
            timeout=300, check=False, stdin=subprocess.DEVNULL,
        )  # fmt: skip
        assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-2000:]
        return done.stdout

    def run(self, name: str) -> None:
        with (self.folder / f"{name}.out").open("ab") as out:
            self.processes[name] = subprocess.Popen(
                [*ENDS_WITH_US, sys.executable, "manage.py", "run", name], cwd=ROOT, env=self.env,
                stdin=subprocess.DEVNULL, stdout=out, stderr=subprocess.STDOUT,
            )  # fmt: skip

    def said(self, name: str) -> str:
        return (self.folder / f"{name}.out").read_text(errors="replace")

    def call(self, method: str, path: str, **more: Any) -> requests.Response:
        """Through nginx and TLS, as everybody outside comes in."""
        headers = {"Host": HOST, **more.pop("headers", {})}
        url = f"https://127.0.0.1:{self.tls_port}{path}"
        return requests.request(method, url, headers=headers, timeout=60, verify=False, allow_redirects=False, **more)


pytestmark = [
    pytest.mark.filterwarnings("ignore::urllib3.exceptions.InsecureRequestWarning"),
    pytest.mark.timeout(600),  # six processes start within the first test, five more within the drill
]


@pytest.fixture(scope="module")
def production(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Production]:
    folder = tmp_path_factory.mktemp("production")
    with database_of_its_own() as url, contextlib.ExitStack() as stack:
        house = Production(folder, url)
        house.manage("check", "--deploy", "--fail-level", "ERROR")
        house.manage("migrate", "--no-input", "-v", "0")
        stack.callback(_end, house)
        for name in PROCESSES:
            house.run(name)
        stack.enter_context(_nginx(house))
        until(lambda: _healthy(house), f"the doors answer; web said:\n{house.said('web')[-2000:]}")
        yield house


@contextlib.contextmanager
def database_of_its_own() -> Iterator[str]:
    server = os.environ["DATABASE_URL"]
    if not server.startswith("postgres"):
        pytest.skip("production is tested on PostgreSQL")
    name = f"production_{uuid.uuid4().hex[:8]}"
    parts = urlsplit(server)
    with psycopg.connect(urlunsplit(parts._replace(path="/postgres")), autocommit=True) as db:
        db.execute(f"CREATE DATABASE {name}")
        try:
            yield urlunsplit(parts._replace(path=f"/{name}"))
        finally:
            db.execute(f"DROP DATABASE {name} WITH (FORCE)")


# as people write one in two minutes: Host becomes that of the upstream, nothing says that it was TLS
HIDING = """
server {{
    listen 127.0.0.1:{listens} ssl;
    ssl_certificate {top}/fullchain.pem;
    ssl_certificate_key {top}/privkey.pem;
    location / {{ proxy_pass http://127.0.0.1:{port}; }}
}}
"""


@contextlib.contextmanager
def _nginx(house: Production) -> Iterator[None]:
    """The example of deploy/nginx, with other ports and a certificate of its own."""
    program = shutil.which("nginx") or "/usr/sbin/nginx"
    if not Path(program).exists():
        if os.environ.get("CI"):
            raise AssertionError("nginx is missing: apt-get install nginx-light")
        pytest.skip("nginx is not installed")
    top = house.folder / "nginx"
    top.mkdir()
    subprocess.run(
        ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj", f"/CN={HOST}",
         "-keyout", top / "privkey.pem", "-out", top / "fullchain.pem"],
        check=True, capture_output=True,
    )  # fmt: skip
    site = (ROOT / "deploy" / "nginx" / "orchestra.conf").read_text()
    for old, new in {
        "127.0.0.1:5284": f"127.0.0.1:{house.port}",
        "listen 80": f"listen 127.0.0.1:{house.plain_port}",
        "listen 443": f"listen 127.0.0.1:{house.tls_port}",
        "/etc/ssl/orchestra": str(top),
    }.items():
        assert old in site
        site = site.replace(old, new)
    site = "\n".join(line for line in site.splitlines() if "listen [::]" not in line)
    (top / "site.conf").write_text(site + HIDING.format(top=top, listens=house.hiding_port, port=house.port))
    temporary = "".join(
        f"{kind}_temp_path {top}/{kind};" for kind in ("proxy", "client_body", "fastcgi", "uwsgi", "scgi")
    )
    (top / "nginx.conf").write_text(
        f"user root; daemon off; pid {top}/pid; error_log {top}/error.log; events {{}}\n"
        f"http {{ access_log off; {temporary} include {top}/site.conf; }}\n"
    )
    command = [program, "-c", str(top / "nginx.conf"), "-e", str(top / "error.log")]
    server = subprocess.Popen([*ENDS_WITH_US, *command], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        yield
    finally:
        server.terminate()
        server.wait(30)


def _end(house: Production) -> None:
    for process in house.processes.values():
        if process.poll() is None:
            process.kill()
        process.wait(30)


def _healthy(house: Production) -> bool:
    dead = [name for name, process in house.processes.items() if process.poll() is not None]
    assert not dead, house.said(dead[0])[-3000:]
    with contextlib.suppress(requests.RequestException):
        return house.call("GET", "/health").status_code == 200
    return False


@pytest.fixture(scope="module")
def key(production: Production) -> dict[str, str]:
    said = production.manage("create_token", "ops", "--create", "--group", "Administrator")
    return {"Authorization": f"Token {said.strip().splitlines()[-1]}"}


def _signed_in_through_a_hiding_proxy(production: Production, origin: str) -> requests.Response:
    address = f"https://127.0.0.1:{production.hiding_port}/sign-in"
    with requests.Session() as browser:
        browser.verify, browser.trust_env = False, False  # whatever bundle the environment names
        token = browser.get(address, timeout=60).cookies["csrftoken"]
        form = {"csrfmiddlewaretoken": token, "username": "nobody", "password": "wrong"}
        return browser.post(address, form, headers={"Origin": origin}, timeout=60, allow_redirects=False)


def test_behind_a_proxy_that_hides_its_address_sign_in_works_or_names_the_cure(production: Production) -> None:
    tried = _signed_in_through_a_hiding_proxy(production, f"https://{HOST}")
    assert tried.status_code == 200 and "Name or password is wrong" in tried.text
    refused = _signed_in_through_a_hiding_proxy(production, "https://other.example.com")
    assert refused.status_code == 403
    assert f"set ORCHESTRA_TRUSTED_ORIGINS=https://{HOST},https://other.example.com and start" in refused.text


def test_people_come_in_by_tls_only_and_figures_stay_inside(production: Production) -> None:
    plain = requests.get(
        f"http://127.0.0.1:{production.plain_port}/", headers={"Host": HOST}, timeout=30, allow_redirects=False
    )
    assert (plain.status_code, plain.headers["Location"]) == (301, f"https://{HOST}/")
    page = production.call("GET", "/sign-in")
    assert page.status_code == 200
    assert "secure" in page.headers["Set-Cookie"].lower()
    assert "max-age=" in page.headers["Strict-Transport-Security"]
    assert production.call("GET", "/metrics").status_code == 404
    assert production.call("GET", "/health", headers={"Host": "evil.example.com"}).status_code in (400, 404)
    inside = f"http://127.0.0.1:{production.port}/metrics"
    assert requests.get(inside, timeout=30).status_code in (401, 403)
    bearer = {"Authorization": "Bearer figures-for-few"}
    assert "escalation_queue_size" in requests.get(inside, headers=bearer, timeout=30).text


def test_a_demo_agent_works_through_the_whole_set(production: Production, key: dict[str, str]) -> None:
    body = {"prompt": "Write hello.txt", "agent": "demo"}
    session = production.call("POST", "/api/sessions", json=body, headers=key).json()["id"]

    def step() -> bool:
        for approval in production.call("GET", "/api/approvals?status=pending", headers=key).json()["results"]:
            done = production.call("POST", f"/api/approvals/{approval['id']}/approve", json={}, headers=key)
            # nobody decides what they asked for: in production that is off
            assert done.status_code == 403 and done.json()["code"] == "self_approval"
            production.manage("approvals", "approve", approval["id"], "--reason", "from the shell")
        return production.call("GET", f"/api/sessions/{session}", headers=key).json()["status"] == "completed"

    until(step, f"the session completes; sessions said:\n{production.said('sessions')[-2000:]}")


def test_the_hub_answers_through_the_proxy(production: Production, key: dict[str, str]) -> None:
    async def talk() -> list[str]:
        trusting = ssl.create_default_context()
        trusting.check_hostname, trusting.verify_mode = False, ssl.CERT_NONE
        url = f"wss://{HOST}:{production.tls_port}/ws/hub"
        async with websockets.connect(url, host="127.0.0.1", ssl=trusting, open_timeout=60) as hub:
            token = key["Authorization"].removeprefix("Token ")
            await hub.send(json.dumps({"type": "authenticate", "token": token}))
            first = json.loads(await asyncio.wait_for(hub.recv(), 60))
            await hub.send(json.dumps({"type": "subscribe", "topic": "approvals"}))
            second = json.loads(await asyncio.wait_for(hub.recv(), 60))
            return [first["type"], second["type"]]

    assert asyncio.run(talk()) == ["authenticated", "snapshot"]


def test_the_audit_knows_the_person_s_address_whatever_they_claim(production: Production, key: dict[str, str]) -> None:
    asker = production.manage("create_token", "asker", "--create", "--group", "Asker").strip().splitlines()[-1]
    asked = production.call(
        "POST", "/api/approvals", json={"title": "May I?"}, headers={"Authorization": f"Token {asker}"}
    ).json()["id"]
    claimed = key | {"X-Forwarded-For": "203.0.113.9"}
    assert production.call("POST", f"/api/approvals/{asked}/reject", json={}, headers=claimed).status_code == 200
    with psycopg.connect((production.folder / "DATABASE_URL").read_text()) as db:
        rows = db.execute("SELECT address FROM audit_entries WHERE approval_id = %s AND won AND by = 'ops'", [asked])
        assert [row[0] for row in rows] == ["127.0.0.1"]


def test_a_disaster_is_rehearsed_beside_the_running_set(production: Production) -> None:
    said = production.manage("drill")
    assert "FAILED" not in said
    reports = list((production.folder / "var" / "drills").iterdir())
    assert len(reports) == 1
    text = reports[0].read_text()
    assert "all 21 paths worked" in text and "without Redis: shell approve" in said


def test_no_secret_is_in_what_the_processes_wrote(production: Production) -> None:
    secrets = (KEY, "figures-for-few")
    for path in [
        *production.folder.glob("*.out"),
        *(production.folder / "log").rglob("*"),
        *production.folder.rglob("drill*.md"),
    ]:
        assert not any(secret in path.read_text(errors="replace") for secret in secrets), path


def test_a_supervisor_s_term_ends_each_process_by_itself(production: Production) -> None:
    for process in production.processes.values():
        process.send_signal(signal.SIGTERM)
    end = time.monotonic() + 90
    for name, process in production.processes.items():
        code = process.wait(max(1.0, end - time.monotonic()))
        assert code in (0, -signal.SIGTERM, 128 + signal.SIGTERM), f"{name} ended with {code}"
