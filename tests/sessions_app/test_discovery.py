"""Discovery against programs on disk: good ones, bad ones, none, and the real CLI."""

import dataclasses
import io
import logging
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from django.conf import settings
from django.core.management import call_command
from pytest_django import Settings

from sessions_app.agents.cli_versions import OLDEST_FIT
from sessions_app.agents.discovery import discover_agents, find_cli
from sessions_app.models import Agent
from tests.fakes.fake_cli import make_fake_cli
from tests.fakes.real_cli import CLI_VERSION, real_cli_path

ST = Agent.Status
SECRET = "sk-ant-canary-of-the-test"
LOGINS = ("ANTHROPIC_API_KEY", "ANTHROPIC_AUTH_TOKEN", "CLAUDE_CODE_OAUTH_TOKEN", "CLAUDE_CODE_USE_BEDROCK")

Configure = Callable[[Path | str], None]


@pytest.fixture(autouse=True)
def nobody_logged_in(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    for name in LOGINS:
        monkeypatch.delenv(name, raising=False)


@pytest.fixture
def use(settings: Settings) -> Configure:
    """``use(path)`` configures that CLI."""

    def configured(path: Path | str) -> None:
        settings.AGENTS = dataclasses.replace(settings.AGENTS, cli_path=str(path))

    return configured


def program(folder: Path, script: str) -> Path:
    path = folder / "program"
    path.write_text(f"#!/bin/sh\n{script}\n")
    path.chmod(0o755)
    return path


def test_a_missing_cli_is_said_to_be_missing_and_how_to_install_it(use: Configure) -> None:
    use("no-such-program-anywhere")
    facts = find_cli()
    assert (facts.status, facts.path, facts.logged_in) == (ST.MISSING, "", None)
    assert "npm install" in facts.detail


def test_a_cli_without_login_is_found_but_not_ready(use: Configure, tmp_path: Path) -> None:
    path = make_fake_cli(tmp_path / "fake")
    use(path)
    facts = find_cli()
    assert (facts.path, facts.version, facts.status, facts.logged_in) == (
        str(path),
        CLI_VERSION,
        ST.NOT_LOGGED_IN,
        False,
    )


def test_a_logged_in_cli_is_ready(use: Configure, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ANTHROPIC_API_KEY", SECRET)
    use(make_fake_cli(tmp_path / "fake"))
    assert find_cli().status == ST.READY


def test_a_cli_on_the_path_is_found_by_its_name(
    use: Configure, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = make_fake_cli(tmp_path / "fake")
    monkeypatch.setenv("PATH", str(path.parent), prepend=":")
    use("claude")
    assert find_cli().path == str(path)


def test_a_cli_where_its_installer_puts_it_is_found_without_the_path(use: Configure, tmp_path: Path) -> None:
    path = make_fake_cli(tmp_path / ".claude" / "local")
    path.rename(path.with_name("claude-of-the-test"))
    use("claude-of-the-test")
    assert find_cli().version == CLI_VERSION


def test_an_old_cli_is_unfit_and_the_sentence_names_both_versions(use: Configure, tmp_path: Path) -> None:
    use(program(tmp_path, "echo '1.0.128 (Claude Code)'"))
    facts = find_cli()
    assert (facts.status, facts.version) == (ST.UNFIT, "1.0.128")
    assert "1.0.128" in facts.detail
    assert ".".join(map(str, OLDEST_FIT)) in facts.detail


@pytest.mark.parametrize(
    "script",
    [
        "echo hello",
        "printf '\\377\\376\\000'",
        "exit 3",
        "kill -9 $$",
        "head -c 5000000 /dev/zero",
        "echo 'needs library 12.3.4'",
    ],
)
def test_a_program_that_does_not_tell_its_version_is_unfit(use: Configure, tmp_path: Path, script: str) -> None:
    use(program(tmp_path, script))
    facts = find_cli()
    assert (facts.status, facts.version) == (ST.UNFIT, "")


def test_a_hanging_program_is_given_up_with_everything_it_started(use: Configure, tmp_path: Path) -> None:
    pid_file = tmp_path / "pid"
    use(program(tmp_path, f"sleep 600 & echo $! > {pid_file}; wait"))
    assert find_cli(timeout_s=3).status == ST.UNFIT
    status = Path(f"/proc/{pid_file.read_text().strip()}/status")
    while status.exists() and "State:\tZ" not in status.read_text():
        time.sleep(0.01)  # for ever, if it was left alone


def test_a_file_that_cannot_run_is_unfit(use: Configure, tmp_path: Path) -> None:
    path = tmp_path / "program"
    path.write_bytes(b"\x7fELF nonsense")
    path.chmod(0o755)
    use(path)
    assert find_cli().status == ST.UNFIT


def test_a_login_that_cannot_be_asked_for_counts_as_none(use: Configure, tmp_path: Path) -> None:
    use(program(tmp_path, "[ \"$1\" = --version ] && echo '2.1.330 (Claude Code)' || sleep 600"))
    assert find_cli(timeout_s=1).status == ST.NOT_LOGGED_IN


def test_the_real_cli_is_ready_with_a_key_and_not_without(use: Configure, monkeypatch: pytest.MonkeyPatch) -> None:
    use(real_cli_path())
    without = find_cli(timeout_s=60)
    assert (without.version, without.status) == (CLI_VERSION, ST.NOT_LOGGED_IN)
    monkeypatch.setenv("ANTHROPIC_API_KEY", SECRET)
    assert find_cli(timeout_s=60).status == ST.READY


def test_what_was_found_is_kept_once_for_each_agent_of_the_host(db: None, use: Configure, tmp_path: Path) -> None:
    use("no-such-program-anywhere")
    discover_agents()
    first = Agent.objects.get(name="claude")
    use(make_fake_cli(tmp_path / "fake"))
    discover_agents()
    claude, demo = Agent.objects.order_by("name")
    assert (claude.pk, claude.host, claude.status) == (first.pk, settings.ORCHESTRA.hostname, ST.NOT_LOGGED_IN)
    assert claude.last_seen_at >= first.last_seen_at
    assert (demo.name, demo.status) == ("demo", ST.READY)


def test_the_log_tells_of_the_start_and_of_changes_only(
    db: None, use: Configure, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    use("no-such-program-anywhere")
    discover_agents()
    assert "Agent discovery started" in caplog.text
    assert "is missing" in caplog.text
    caplog.clear()
    discover_agents()
    assert "is missing" not in caplog.text


def test_what_a_persons_shell_finds_is_not_held_against_the_workers(
    db: None, use: Configure, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    use(make_fake_cli(tmp_path / "fake"))
    monkeypatch.setenv("ANTHROPIC_API_KEY", SECRET)
    discover_agents()
    monkeypatch.delenv("ANTHROPIC_API_KEY")
    out = io.StringIO()
    call_command("discover", stdout=out)
    assert "not_logged_in" in out.getvalue()
    assert Agent.objects.get(name="claude").status == ST.READY


def test_the_command_prints_a_table_and_no_secret(
    db: None, use: Configure, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ANTHROPIC_API_KEY", SECRET)
    use(make_fake_cli(tmp_path / "fake"))
    out = io.StringIO()
    call_command("discover", stdout=out)
    lines = out.getvalue().splitlines()
    assert lines[0].split() == ["AGENT", "STATUS", "VERSION", "PATH"]
    assert lines[1].split()[:3] == ["claude", "ready", CLI_VERSION]
    assert lines[2].split()[:2] == ["demo", "ready"]
    assert SECRET not in out.getvalue()
