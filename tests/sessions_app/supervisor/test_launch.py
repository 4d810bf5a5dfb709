"""What an agent's process is started with, and what it must never inherit."""

import dataclasses
import json
import os
import pwd
import shutil
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
from pytest_django import Settings as SettingsWrapper

from approvals.policy import FORBIDDEN_TOOLS
from sessions_app.supervisor.cli import launch as under_test
from sessions_app.supervisor.cli.launch import CliMissing, Launch, command_line, environment
from sessions_app.supervisor.cli.settings import ALWAYS_SET, NOTHING_BY_ITSELF

SECRETS = {
    "ORCHESTRA_SECRET_KEY": "canary",
    "DATABASE_URL": "canary",
    "TEST_DATABASE_URL": "canary",
    "REDIS_URL": "canary",
    "TELEGRAM_BOT_TOKEN": "canary",
    "TELEGRAM_WEBHOOK_SECRET": "canary",
    "PGPASSWORD": "canary",
    "AWS_SECRET_ACCESS_KEY": "canary",
    "GOOGLE_APPLICATION_CREDENTIALS": "canary",
    "GITHUB_TOKEN": "canary",
    "SSH_AUTH_SOCK": "canary",
    "DJANGO_SETTINGS_MODULE": "canary",
    "CLAUDECODE": "canary",
    "CLAUDE_CODE_ENTRYPOINT": "canary",
    "CLAUDE_CODE_SSE_PORT": "canary",
    "CLAUDE_CONFIG_DIR": "canary",
    "ORCHESTRA_RUN": "canary",
    "LD_PRELOAD": "canary",
    "PYTHONPATH": "canary",
    "NODE_OPTIONS": "canary",
    "BASH_ENV": "canary",
}
WANTED = {
    "PATH": "/bin",
    "HOME": "/home/o",
    "LANG": "C.UTF-8",
    "LC_ALL": "C",
    "TZ": "UTC",
    "ANTHROPIC_API_KEY": "key",
    "ANTHROPIC_BASE_URL": "http://x",
    "CLAUDE_CODE_OAUTH_TOKEN": "token",
    "HTTPS_PROXY": "http://p",
    "no_proxy": "x",
}


@pytest.fixture(autouse=True)
def a_cli(tmp_path: Path, settings: SettingsWrapper) -> Path:
    path = tmp_path / "claude"
    path.write_text("#!/bin/sh\n")
    path.chmod(0o755)
    settings.AGENTS = dataclasses.replace(settings.AGENTS, cli_path=str(path), run_as="", config_dir="")
    return path


def a_launch(**changes: Any) -> Launch:
    fields: dict[str, Any] = {
        "conversation": uuid4(),
        "run_id": uuid4(),
        "agent": "claude",
        "model": "",
        "resume": False,
    }
    return Launch(**fields | changes)


def options_of(command: list[str]) -> list[str]:
    """The arguments behind the program."""
    return command[command.index("-p") :]


def value_of(command: list[str], flag: str) -> str:
    [found] = [option.partition("=")[2] for option in command if option.startswith(f"--{flag}=")]
    return found


# --- the environment


def test_nothing_secret_and_nothing_of_an_outer_agent_is_inherited() -> None:
    env = environment(a_launch(), SECRETS | WANTED)
    assert "canary" not in json.dumps(env)
    assert {name: env[name] for name in WANTED} == WANTED


def test_the_whole_environment_is_the_allow_list_and_what_orchestra_sets() -> None:
    ours = {"ORCHESTRA_RUN", "ORCHESTRA_INSTANCE", *under_test.ALWAYS_SET}
    assert set(environment(a_launch(), SECRETS | WANTED)) == set(WANTED) | ours


@pytest.mark.parametrize(
    ("switch", "passed", "held_back"),
    [
        ("CLAUDE_CODE_USE_BEDROCK", "AWS_SECRET_ACCESS_KEY", "GOOGLE_APPLICATION_CREDENTIALS"),
        ("CLAUDE_CODE_USE_VERTEX", "GOOGLE_APPLICATION_CREDENTIALS", "AWS_SECRET_ACCESS_KEY"),
    ],
)
def test_keys_of_a_cloud_pass_only_for_who_runs_on_that_cloud(switch: str, passed: str, held_back: str) -> None:
    env = environment(a_launch(), SECRETS | {switch: "1"})
    assert env[switch] == "1" and env[passed] == "canary"
    assert held_back not in env


def test_the_run_is_marked_for_the_janitor_even_if_orchestra_itself_was_marked() -> None:
    launch = a_launch()
    assert environment(launch, SECRETS)["ORCHESTRA_RUN"] == str(launch.run_id)


def test_the_configured_folder_of_the_cli_wins_over_an_inherited_one(settings: SettingsWrapper) -> None:
    settings.AGENTS = dataclasses.replace(settings.AGENTS, config_dir="/srv/claude")
    assert environment(a_launch(), SECRETS)["CLAUDE_CONFIG_DIR"] == "/srv/claude"


def test_a_killed_turn_is_taken_up_only_when_that_is_wanted() -> None:
    assert "CLAUDE_CODE_RESUME_INTERRUPTED_TURN" not in environment(
        a_launch(), {"CLAUDE_CODE_RESUME_INTERRUPTED_TURN": "1"}
    )
    assert environment(a_launch(interrupted=True), {})["CLAUDE_CODE_RESUME_INTERRUPTED_TURN"] == "1"


# --- the command line


@pytest.mark.parametrize(
    "hostile", ["--dangerously-skip-permissions", "-p", "", "a b; rm -rf /", "$(id)", "--", "line\nbreak", "é😀"]
)
def test_whatever_a_person_types_stays_the_value_of_its_own_flag(hostile: str) -> None:
    plain = options_of(command_line(a_launch(model="x", options={"append_system_prompt": "x"})))
    command = options_of(command_line(a_launch(model=hostile or "x", options={"append_system_prompt": hostile or "x"})))
    assert [option.partition("=")[0] for option in command] == [option.partition("=")[0] for option in plain]
    assert value_of(command, "model") == value_of(command, "append-system-prompt") == (hostile or "x")


def test_every_argument_is_a_flag_so_nothing_can_be_taken_for_a_prompt() -> None:
    options = {
        "append_system_prompt": "x",
        "max_turns": 3,
        "max_budget_usd": 0.5,
        "permission_mode": "plan",
        "disallowed_tools": ["WebFetch"],
    }
    assert all(option.startswith("-") for option in options_of(command_line(a_launch(model="m", options=options))))


def test_what_acts_when_nobody_is_asked_is_taken_away_beside_what_the_session_forbids() -> None:
    tools = value_of(
        command_line(a_launch(options={"disallowed_tools": ["WebFetch", "Bash(rm:*)"]})), "disallowedTools"
    ).split(",")
    assert tools == [*FORBIDDEN_TOOLS, "WebFetch", "Bash(rm:*)"]
    assert {"CronCreate", "ScheduleWakeup", "Monitor", "Workflow"} <= set(tools)


def test_settings_of_projects_and_rules_of_the_cli_are_not_used() -> None:
    command = command_line(a_launch(options={"allowed_tools": ["Bash"], "permission_mode": "acceptEdits"}))
    assert value_of(command, "setting-sources") == ""
    assert value_of(command, "permission-prompt-tool") == "stdio"
    flags = {option.partition("=")[0] for option in command}
    assert not {"--allowedTools", "--allowed-tools", "--dangerously-skip-permissions"} & flags
    assert value_of(command, "permission-mode") == "default"
    assert "acceptEdits" not in " ".join(command)
    assert json.loads(value_of(command, "settings")).items() >= NOTHING_BY_ITSELF.items()
    assert "--strict-mcp-config" in command


def test_the_clis_own_rules_ask_for_every_tool_and_its_inbox_is_shut() -> None:
    settings = json.loads(value_of(command_line(a_launch()), "settings"))
    assert settings["permissions"]["ask"] == ["*", "mcp__*"]
    assert set(FORBIDDEN_TOOLS) <= set(settings["permissions"]["deny"])
    assert settings["sandbox"] == {"autoAllowBashIfSandboxed": False}
    assert settings["crossSessionInbound"] == "refuse"
    env = environment(a_launch(), {"XDG_RUNTIME_DIR": "/run/user/0", "CLAUDE_CODE_DISABLE_FILE_MENTIONS": "0"})
    assert (env["XDG_RUNTIME_DIR"], env["CLAUDE_CODE_DISABLE_FILE_MENTIONS"]) == ("/proc", "1")


def test_settings_that_are_opened_run_nothing_by_themselves_and_move_no_traffic(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("ANTHROPIC_BASE_URL", "https://model.example")
    command = command_line(a_launch(options={"setting_sources": ["project"]}))
    given = json.loads(value_of(command, "settings"))
    assert (given["disableAllHooks"], given["apiKeyHelper"]) == (True, "")
    assert given["env"]["ANTHROPIC_BASE_URL"] == "https://model.example"
    assert given["env"]["CLAUDE_CODE_USE_BEDROCK"] == ""
    assert given["env"].items() >= ALWAYS_SET.items()
    assert None not in given.values()  # the CLI would ignore all of them


def test_a_dialog_is_created_once_and_resumed_under_the_same_id() -> None:
    launch = a_launch()
    assert value_of(command_line(launch), "session-id") == str(launch.conversation)
    again = command_line(dataclasses.replace(launch, resume=True, plan_mode=True))
    assert value_of(again, "resume") == str(launch.conversation)
    assert not [option for option in again if option.startswith("--session-id")]
    assert value_of(again, "permission-mode") == "plan"


def test_limits_of_a_session_become_flags() -> None:
    command = command_line(a_launch(options={"max_turns": 3, "max_budget_usd": 0.5}))
    assert (value_of(command, "max-turns"), value_of(command, "max-budget-usd")) == ("3", "0.5")


def test_the_process_dies_with_its_supervisor_and_may_run_as_another_user(settings: SettingsWrapper) -> None:
    if shutil.which("setpriv") is None:
        pytest.skip("no setpriv on this machine")
    assert command_line(a_launch())[1:3] == ["--pdeathsig=KILL", "--"]
    settings.AGENTS = dataclasses.replace(settings.AGENTS, run_as="nobody")
    known = pwd.getpwnam("nobody")
    assert command_line(a_launch())[1:6] == [
        "--pdeathsig=KILL",
        f"--reuid={known.pw_uid}",
        f"--regid={known.pw_gid}",
        "--init-groups",
        "--",
    ]


@pytest.mark.parametrize(("run_as", "path"), [("nobody", "/nowhere"), ("no-such-account", os.environ["PATH"])])
def test_an_agent_that_cannot_get_its_own_account_does_not_start_with_ours(
    settings: SettingsWrapper, monkeypatch: pytest.MonkeyPatch, run_as: str, path: str
) -> None:
    settings.AGENTS = dataclasses.replace(settings.AGENTS, run_as=run_as)
    monkeypatch.setenv("PATH", path)
    with pytest.raises(OSError, match="AGENT_RUN_AS"):
        command_line(a_launch())


def test_a_missing_cli_is_named(settings: SettingsWrapper) -> None:
    settings.AGENTS = dataclasses.replace(settings.AGENTS, cli_path="/no/such/claude")
    with pytest.raises(CliMissing, match="/no/such/claude"):
        command_line(a_launch())


def test_the_demo_agent_needs_no_cli(settings: SettingsWrapper) -> None:
    settings.AGENTS = dataclasses.replace(settings.AGENTS, cli_path="/no/such/claude")
    assert options_of(command_line(a_launch(agent="demo")))
