"""``manage.py up`` as a person uses it: whole, as processes, in the embedded mode."""

import re
import shutil
import signal
import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path

import psutil
import pytest
import requests
from playwright.sync_api import sync_playwright

from tests.stack import ROOT, Stack, until


@pytest.fixture(scope="module")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    """One installation for all tests that leave it as they found it."""
    stack = Stack(tmp_path_factory.mktemp("up")).start()
    until(lambda: "beat" in programs(stack), "all programs run")
    yield stack
    stack.stop(signal.SIGTERM)


def everything_of(stack: Stack) -> list[psutil.Process]:
    """Every process of this machine that belongs to that data folder, whoever its parent is now."""
    folder = str(stack.folder / "var")
    found = []
    for process in psutil.process_iter():
        try:
            mine = process.environ().get("ORCHESTRA_DATA_DIR") == folder
            if mine and process.status() != psutil.STATUS_ZOMBIE:
                found.append(process)
        except psutil.Error:
            continue
    return found


def programs(stack: Stack) -> dict[str, psutil.Process]:
    """The runner's programs by name."""
    assert stack.process
    named = {}
    for child in psutil.Process(stack.process.pid).children():
        try:
            words = " ".join(child.cmdline())
        except psutil.Error:  # it has just died
            continue
        for name, telling in (
            ("valkey", "valkey-server"),
            ("web", "daphne"),
            ("worker", "-Q default"),
            ("sessions", "-Q sessions"),
            ("beat", " beat"),
        ):
            if telling in words:
                named[name] = child
    return named


def api_log(stack: Stack) -> str:
    return (stack.folder / "var" / "logs" / "api.log").read_text()


def refused(env: dict[str, str], *arguments: str) -> str:
    """What a command that must fail says."""
    done = subprocess.run(
        [sys.executable, "manage.py", *arguments], cwd=ROOT, env=env, capture_output=True, text=True, timeout=60
    )
    assert done.returncode == 1, done.stdout + done.stderr
    assert "Traceback" not in done.stderr
    return done.stderr


def test_the_banner_says_where_how_and_what_next(stack: Stack) -> None:
    assert re.fullmatch(rf"http://orchestra-[0-9a-f]{{16}}\.localhost:{stack.port}", stack.console_url)
    assert str(stack.folder / "var") in stack.log
    assert "./manage.py session start" in stack.log
    assert re.search(r"Claude Code", stack.log)


def test_the_link_of_the_banner_signs_the_owner_in_and_is_in_no_file_of_ours(stack: Stack) -> None:
    link = re.search(r"http\S+/sign-in/([\w-]+)", stack.log)
    assert link
    browser = requests.Session()
    page = browser.get(link[0], timeout=30)
    form = re.search(r'csrfmiddlewaretoken" value="(\w+)"', page.text)
    assert form
    done = browser.post(link[0], data={"csrfmiddlewaretoken": form[1]}, headers={"Referer": link[0]}, timeout=30)
    assert done.status_code == 200
    assert done.url == f"{stack.console_url}/welcome"  # nobody has started anything yet
    assert 'data-person="admin"' in done.text and "administrator" in done.text.lower()
    for path in (stack.folder / "var").rglob("*"):
        assert not path.is_file() or link[1].encode() not in path.read_bytes(), path


def test_the_button_works_in_a_real_browser(stack: Stack) -> None:
    chromium = shutil.which("chromium") or shutil.which("google-chrome")
    if chromium is None:
        pytest.skip("no browser on this machine")
    link = stack.manage("sign_in_link", "admin").splitlines()[-1]
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium, args=["--no-sandbox"])
        page = browser.new_page()
        page.goto(link)
        page.get_by_role("button", name="Sign in").click()
        page.wait_for_url("**/welcome")
        assert "admin" in page.inner_text(".who-am-i")
        page.goto(link)
        assert "no longer valid" in page.inner_text("h1")
        browser.close()


def test_only_the_owner_of_the_data_folder_may_look_into_it(stack: Stack) -> None:
    for path in (stack.folder / "var", *(stack.folder / "var").rglob("*")):
        assert not path.lstat().st_mode & 0o077 or path.is_symlink(), path


def test_a_second_one_on_the_same_folder_is_refused(stack: Stack) -> None:
    assert stack.process
    said = refused(stack.environment() | {"ORCHESTRA_PORT": str(stack.port + 1)}, "up")
    assert f"already running on {stack.folder / 'var'} (process {stack.process.pid})" in said
    assert "ORCHESTRA_DATA_DIR" in said


def test_a_busy_port_names_who_has_it(stack: Stack, tmp_path: Path) -> None:
    said = refused(stack.environment() | {"ORCHESTRA_DATA_DIR": str(tmp_path / "var")}, "up")
    assert f"Port {stack.port} on 127.0.0.1 is taken by process {programs(stack)['web'].pid}" in said
    assert f"ORCHESTRA_PORT={stack.port + 1} make run" in said


def test_an_address_that_is_not_ours_is_refused_with_a_sentence(stack: Stack, tmp_path: Path) -> None:
    foreign = {"ORCHESTRA_DATA_DIR": str(tmp_path / "var"), "ORCHESTRA_HOST": "192.0.2.1"}
    assert "Cannot listen on 192.0.2.1" in refused(stack.environment() | foreign, "up")


def test_two_run_side_by_side(stack: Stack, tmp_path: Path) -> None:
    other = Stack(tmp_path / "other").start()
    assert other.call("GET", "/api/sessions", expect=200)["count"] == 0
    assert requests.get(f"{stack.url}/health", timeout=30).status_code == 200
    stranger = requests.get(f"{stack.url}/api/sessions", headers={"Authorization": f"Token {other.token}"}, timeout=30)
    assert stranger.status_code == 401
    assert other.stop() == 0
    assert everything_of(other) == []
    assert requests.get(f"{stack.url}/health", timeout=30).status_code == 200


def canaries(stack: Stack) -> dict[str, str]:
    """When each kind of worker last took a task from a queue of its own."""
    with closing(sqlite3.connect(stack.folder / "var" / "orchestra.db")) as database:
        return dict(database.execute("SELECT name, updated_at FROM leases WHERE name LIKE 'canary:%'"))


def test_a_killed_broker_and_a_killed_worker_come_back_and_work(stack: Stack) -> None:
    until(lambda: len(canaries(stack)) == 2, "both workers take tasks")
    before = programs(stack)
    before["valkey"].kill()
    before["worker"].kill()
    killed_at = datetime.now(UTC).isoformat(sep=" ")
    until(lambda: programs(stack).keys() == before.keys(), "both are started again")
    until(lambda: min(canaries(stack).values()) > killed_at, "both workers take tasks from the new broker")
    assert programs(stack)["sessions"].pid == before["sessions"].pid


def test_ctrl_c_leaves_nothing_and_the_next_start_finds_everything_again(tmp_path: Path) -> None:
    stack = Stack(tmp_path / "up").start()
    stack.manage("create_token", "robot", "--create", "--group", "Viewer")
    until(lambda: "beat" in programs(stack), "all programs run")
    assert stack.stop(signal.SIGINT) == 0
    assert everything_of(stack) == []
    stack.start()
    assert stack.call("GET", "/api/sessions", expect=200)["count"] == 0

    # and nothing outlives a runner that had no chance to stop anything
    until(lambda: "beat" in programs(stack), "all programs run")
    stack.stop(signal.SIGKILL)
    until(lambda: everything_of(stack) == [], "the programs end with their runner")
    stack.start()
    assert stack.stop(signal.SIGTERM) == 0


def setting(name: str, env: dict[str, str]) -> str:
    script = f"from django.conf import settings; print(settings.{name})"
    done = subprocess.run([sys.executable, "-c", script], cwd=ROOT, env=env, capture_output=True, text=True, check=True)
    return done.stdout.strip()


def test_a_dotenv_file_is_honoured_and_the_environment_wins(tmp_path: Path) -> None:
    dotenv = tmp_path / "env"
    dotenv.write_text(
        "# a comment\nORCHESTRA_PORT=7001\nORCHESTRA_HOST='0.0.0.0'\n"
        f"DATABASE_URL=\nREDIS_URL=\nORCHESTRA_DATA_DIR={tmp_path}/var\n"
    )
    env = Stack(tmp_path).environment() | {
        "ORCHESTRA_ENV_FILE": str(dotenv),
        "DJANGO_SETTINGS_MODULE": "config.settings",
    }
    del env["ORCHESTRA_PORT"], env["ORCHESTRA_DATA_DIR"]
    assert setting("ORCHESTRA.port", env) == "7001"
    assert setting("ORCHESTRA.host", env) == "0.0.0.0"
    assert setting("ORCHESTRA.data_dir", env) == str(tmp_path / "var")
    assert setting("EMBEDDED", env) == "True"
    assert setting("ORCHESTRA.port", env | {"ORCHESTRA_PORT": "7002"}) == "7002"


def test_the_example_file_sets_nothing_by_itself() -> None:
    lines = (ROOT / ".env.example").read_text().splitlines()
    assert [line for line in lines if line and not line.startswith("#")] == []


def test_lock_files_name_no_registry() -> None:
    for name in ("requirements.txt", "requirements-dev.txt", "requirements-uv.txt"):
        text = (ROOT / name).read_text()
        assert "://" not in text
        assert "--hash=sha256:" in text


def test_the_example_file_lists_every_setting_that_is_read() -> None:
    sources = [*ROOT.glob("*/conf.py"), ROOT / "config" / "settings.py"]
    read = {name for source in sources for name in re.findall(r'env(?:\.\w+)?\(\s*"([A-Z_]+)"', source.read_text())}
    internal = {"ORCHESTRA_PROCESS", "ORCHESTRA_LOG_JOINED", "ORCHESTRA_ENV_FILE"}
    listed = set(re.findall(r"^# ([A-Z_]+)=", (ROOT / ".env.example").read_text(), re.MULTILINE))
    assert read - internal == listed
