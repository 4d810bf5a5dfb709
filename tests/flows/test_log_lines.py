"""What a running Orchestra writes down, and what leaves it nowhere."""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest
import requests

from tests.stack import Stack, running, until

pytestmark = pytest.mark.timeout(300)

CANARIES = {
    "TELEGRAM_BOT_TOKEN": "123456789:AAcanary-bot-token-abcdefghijklmnopq",
    "TELEGRAM_WEBHOOK_SECRET": "canary-webhook-secret",
    "ORCHESTRA_SECRET_KEY": "canary-secret-key-" + "k" * 50,
    "METRICS_TOKEN": "canary-metrics-token",
    "GITHUB_TOKEN": "canary-of-a-stranger",
    "PGPASSWORD": "canary-database-password",
}
SAID = {
    "prompt": "canary-in-a-prompt",
    "tool input": "canary-in-a-tool-input",
    "reason": "canary-in-a-reason",
    "query": "canary-in-a-query",
    "header": "canary-in-a-header",
    "password": "canary-in-a-password",
}


@pytest.fixture(scope="module")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    with running(tmp_path_factory.mktemp("lines"), TELEGRAM_ENABLED="off", **CANARIES) as stack:
        yield stack


def log_of(stack: Stack) -> str:
    return (stack.folder / "var" / "logs" / "api.log").read_text()


@pytest.fixture(scope="module")
def a_life(stack: Stack) -> dict[str, Any]:
    """A session with two questions: one is answered, one withdrawn; and pages that fail."""
    session = stack.call("POST", "/api/sessions", {"prompt": f"Show {SAID['prompt']}", "agent": "demo"}, expect=201)
    first = stack.pending(session["id"])
    environments = [
        "\0".join(f"{name}={value}" for name, value in process.environ().items())
        for process in psutil.process_iter()
        if _is_agent_of(process, stack)
    ]
    edited = {"updated_input": first["tool_input"] | {"description": SAID["tool input"]}}
    stack.call("POST", f"/api/approvals/{first['id']}/approve", edited, expect=200)
    until(lambda: stack.pending(session["id"])["id"] != first["id"], "the agent asks again")
    second = stack.pending(session["id"])
    stack.call("POST", f"/api/approvals/{second['id']}/reject", {"reason": SAID["reason"]}, expect=200)
    stack.call("POST", f"/api/sessions/{session['id']}/cancel", {}, expect=200)
    asked = {"title": "Deploy?", "body": SAID["tool input"], "facts": {"key": SAID["tool input"]}}
    external = stack.call("POST", "/api/approvals", asked, expect=201)
    stack.call("POST", f"/api/approvals/{external['id']}/cancel", {}, expect=200)
    return {"session": session["id"], "approvals": [first["id"], second["id"]], "environments": environments}


def _is_agent_of(process: psutil.Process, stack: Stack) -> bool:
    try:
        own = process.environ()
        return "ORCHESTRA_RUN" in own and str(stack.folder) in f"{process.cwd()} {own.get('ORCHESTRA_DEMO_STATE')}"
    except psutil.Error:
        return False


def error_pages(stack: Stack) -> list[str]:
    """What strangers and mistaken programs are told."""
    header = {"Authorization": f"Token {SAID['header']}"}
    own = {"Authorization": f"Token {stack.token}"}
    metrics = {"Authorization": f"Bearer {SAID['header']}"}
    asked = [
        requests.get(f"{stack.url}/nothing?token={SAID['query']}", timeout=30),
        requests.get(f"{stack.url}/api/nothing?token={SAID['query']}", headers=own, timeout=30),
        requests.get(f"{stack.url}/api/approvals?token={SAID['query']}", headers=header, timeout=30),
        requests.get(f"{stack.url}/health", headers={"Host": "evil.example"}, timeout=30),
        requests.get(f"{stack.url}/metrics", headers=metrics, timeout=30),
        requests.post(f"{stack.url}/api/sessions", data=f'{{"prompt": "{SAID["prompt"]}', headers=own, timeout=30),
        requests.post(f"{stack.url}/admin/login/", data={"username": "a", "password": SAID["password"]}, timeout=30),
    ]
    return [f"{answer.status_code} {answer.headers} {answer.text}" for answer in asked]


def test_every_line_of_a_session_carries_its_session_and_approval_ids(stack: Stack, a_life: dict[str, Any]) -> None:
    session, (first, second) = a_life["session"], a_life["approvals"]
    until(lambda: f"session {session} run ended" in log_of(stack), "the run ended")
    about = [line for line in log_of(stack).splitlines() if session in line]
    assert len(about) >= 6
    assert [line for line in about if f"session={session}" not in line] == []
    for approval in (first, second):
        lines = [line for line in log_of(stack).splitlines() if approval in line]
        assert len(lines) >= 2  # requested, decided
        assert [line for line in lines if f"approval={approval}" not in line or f"session={session}" not in line] == []


def test_lines_of_one_request_share_its_id_which_the_answer_names(stack: Stack, a_life: dict[str, Any]) -> None:
    headers = {"Authorization": f"Token {stack.token}", "X-Request-ID": "from-the-proxy-1"}
    body = {"prompt": "hello", "agent": "demo"}
    answer = requests.post(f"{stack.url}/api/sessions", json=body, headers=headers, timeout=30)
    assert answer.headers["X-Request-ID"] == "from-the-proxy-1"
    session = answer.json()["id"]
    until(lambda: re.search(rf"session {session} queued .* request=from-the-proxy-1", log_of(stack)), "the line")
    stack.call("POST", f"/api/sessions/{session}/cancel", {})
    forged = requests.get(f"{stack.url}/health", headers={"X-Request-ID": "x y=z"}, timeout=30)
    assert re.fullmatch("[0-9a-f]{32}", forged.headers["X-Request-ID"])


def test_lines_of_a_task_name_it(stack: Stack, a_life: dict[str, Any]) -> None:
    assert re.search(rf"session {a_life['session']} running.* task=sessions_app\.run_turn", log_of(stack))


def test_no_secret_is_in_any_log_error_page_figure_or_environment_of_an_agent(
    stack: Stack, a_life: dict[str, Any]
) -> None:
    pages = error_pages(stack)
    bearer = {"Authorization": f"Bearer {CANARIES['METRICS_TOKEN']}"}
    figures = requests.get(f"{stack.url}/metrics", headers=bearer, timeout=30)
    assert figures.status_code == 200
    diagnostics = [
        str(stack.call("GET", f"/api/diagnostics/{page}", expect=200))
        for page in ("database", "database/performance", "metrics", "workers", "telegram/status", "circuit-breaker")
    ]
    files = [
        path.read_bytes().decode(errors="replace")
        for folder in ("var/logs", "var/run/metrics")
        for path in (Path(stack.folder) / folder).rglob("*")
        if path.is_file()
    ]
    assert any("queued" in text for text in files)
    assert len(a_life["environments"]) >= 1
    secrets = {**CANARIES, **SAID, "api token": stack.token}
    places = {
        "error page": pages, "log": [*files, stack.log], "figure": [figures.text], "diagnostics": diagnostics,
        "environment": a_life["environments"],
    }  # fmt: skip
    leaks = [
        (name, place, text[max(0, text.find(secret) - 200) :][:400])
        for name, secret in secrets.items()
        for place, texts in places.items()
        for text in texts
        if secret in text
    ]
    assert leaks == []
