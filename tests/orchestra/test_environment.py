"""A setting that cannot be meant is refused by its name, at every way in, and never repeats what may be secret."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
from django.conf import settings
from django.core.exceptions import ImproperlyConfigured

from orchestra.environment import Environment

ROOT = Path(settings.BASE_DIR)
ALL_IS_WELL = {"DATABASE_URL": "", "REDIS_URL": ""}


@pytest.fixture
def env(monkeypatch: pytest.MonkeyPatch) -> Environment:
    monkeypatch.delenv("A_SETTING", raising=False)
    return Environment()


@pytest.mark.parametrize(("text", "number"), [("", 7), (" ", 7), ("1", 1), ("10", 10), (" 3 ", 3)])
def test_a_whole_number(env, monkeypatch, text, number):
    monkeypatch.setenv("A_SETTING", text)
    assert env.integer("A_SETTING", default=7, least=1, most=10) == number


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("abc", "A_SETTING is 'abc', which is not an integer."),
        ("1.5", "A_SETTING is '1.5', which is not an integer."),
        ("0", "A_SETTING is 0; it takes 1 to 10."),
        ("-3", "A_SETTING is -3; it takes 1 to 10."),
        ("11", "A_SETTING is 11; it takes 1 to 10."),
    ],
)
def test_no_such_whole_number(env, monkeypatch, text, why):
    monkeypatch.setenv("A_SETTING", text)
    with pytest.raises(ImproperlyConfigured) as refused:
        env.integer("A_SETTING", default=7, least=1, most=10)
    assert str(refused.value) == why


@pytest.mark.parametrize("text", ["nan", "inf", "-inf", "1e400", "soon", "-0.1", "1e10"])
def test_no_such_number(env, monkeypatch, text):
    monkeypatch.setenv("A_SETTING", text)
    with pytest.raises(ImproperlyConfigured, match="A_SETTING is "):
        env.number("A_SETTING", default=1)


@pytest.mark.parametrize(
    ("text", "on"), [("", True), ("on", True), ("TRUE", True), ("1", True), ("off", False), ("No", False), ("0", False)]
)
def test_a_switch(env, monkeypatch, text, on):
    monkeypatch.setenv("A_SETTING", text)
    assert env.switch("A_SETTING", default=True) is on


def test_a_switch_takes_no_guesses(env, monkeypatch):
    monkeypatch.setenv("A_SETTING", "onn")
    with pytest.raises(ImproperlyConfigured, match=r"A_SETTING is 'onn'; it takes on or off\."):
        env.switch("A_SETTING", default=False)


def test_several_whole_numbers(env, monkeypatch):
    assert env.integers("A_SETTING", default=(429,)) == [429]
    monkeypatch.setenv("A_SETTING", "500, 502")
    assert env.integers("A_SETTING", default=(429,)) == [500, 502]
    monkeypatch.setenv("A_SETTING", "500,,502")
    with pytest.raises(ImproperlyConfigured, match=r"A_SETTING is '', which is not an integer\."):
        env.integers("A_SETTING", default=(429,))


@pytest.mark.parametrize(
    "text",
    ["foo", "mysql://u:hush@h/d", "postgres://u:hush@h:port/d", "postgres://u:hush@h:99999/d", "postgres://[::1/d"],
)
def test_no_such_address_and_its_password_is_not_repeated(env, monkeypatch, text):
    monkeypatch.setenv("A_SETTING", text)
    with pytest.raises(ImproperlyConfigured) as refused:
        env.address("A_SETTING", default="", schemes=("postgres", "sqlite"))
    assert str(refused.value) == "A_SETTING is not an address that begins with postgres: or sqlite:."


def test_a_value_from_a_file_is_held_to_the_same(env, monkeypatch, tmp_path):
    (tmp_path / "value").write_text("12\n")
    monkeypatch.setenv("A_SETTING_FILE", str(tmp_path / "value"))
    assert env.integer("A_SETTING", default=7) == 12


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("ORCHESTRA_PORT", "99999"),
        ("ORCHESTRA_ENVIRONMENT", "prod"),  # would otherwise not count as production, and nothing unsafe be refused
        ("ORCHESTRA_SELF_APPROVAL", "of"),
        ("API_WRITES_PER_MINUTE", "-1"),
        ("APPROVAL_DEFAULT_TIMEOUT_MINUTES", "-5"),
        ("AGENT_MAX_CONCURRENT_SESSIONS", "0"),
        ("TELEGRAM_RETRY_ON", "429,whenever"),
        ("DATABASE_URL", "mysql://u:hush@h/d"),
        ("REDIS_URL", "localhost:6379"),
    ],
)
def test_a_bad_setting_is_one_sentence_in_the_terminal(tmp_path, name, value):
    env = os.environ | ALL_IS_WELL | {"ORCHESTRA_DATA_DIR": str(tmp_path / "var"), name: value}
    tried = subprocess.run(
        [sys.executable, "manage.py", "check"], cwd=ROOT, env=env, capture_output=True, text=True, timeout=120
    )
    assert tried.returncode == 1
    assert tried.stderr.startswith(f"{name} is ") and tried.stderr.count("\n") == 1
    assert "hush" not in tried.stderr


@pytest.mark.parametrize(
    "words", [["session", "list"], ["approvals", "list"], ["sign_in_link", "admin"], ["audit", "verify"]]
)
def test_a_command_without_an_orchestra_says_where_it_looked(tmp_path, words):
    env = os.environ | ALL_IS_WELL | {"ORCHESTRA_DATA_DIR": str(tmp_path / "var"), "DATABASE_URL": "", "REDIS_URL": ""}
    env["ORCHESTRA_CONSOLE_HOST"] = "private"
    tried = subprocess.run(
        [sys.executable, "manage.py", *words], cwd=ROOT, env=env, capture_output=True, text=True, timeout=120
    )
    assert tried.returncode == 1
    assert tried.stderr.startswith(f"There is no Orchestra in {tmp_path}/var yet: `make run` creates one.\n")
    assert "Traceback" not in tried.stderr


def test_a_command_without_a_database_server_says_so(tmp_path):
    env = os.environ | ALL_IS_WELL | {"ORCHESTRA_DATA_DIR": str(tmp_path), "REDIS_URL": ""}
    env |= {"DATABASE_URL": "postgres://orchestra:hush@127.0.0.1:9/orchestra", "ORCHESTRA_ENVIRONMENT": "development"}
    tried = subprocess.run(
        [sys.executable, "manage.py", "session", "list"], cwd=ROOT, env=env, capture_output=True, text=True, timeout=120
    )
    assert tried.returncode == 1
    assert tried.stderr.splitlines()[-1] == "Check DATABASE_URL, and that the server is running."
    assert "Traceback" not in tried.stderr and "hush" not in tried.stderr
