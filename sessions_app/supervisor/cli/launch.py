"""The command line and the environment of an agent's process."""

import errno
import fnmatch
import os
import pwd
import shutil
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from uuid import UUID

from django.conf import settings

from approvals.policy import FORBIDDEN_TOOLS
from sessions_app.demo_agent import command as demo_command
from sessions_app.supervisor.cli.settings import ALWAYS_SET, CLOUD_SWITCHES, cli_settings

MARKER = "ORCHESTRA_RUN"
INSTANCE_MARKER = "ORCHESTRA_INSTANCE"

USUAL_PLACES = ("~/.local/bin", "~/.claude/local")


class CliMissing(Exception):
    """The configured CLI is not on this host."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Launch:
    """What to start for a turn; ``options`` are the session's own."""

    conversation: UUID
    run_id: UUID
    agent: str
    model: str
    resume: bool
    interrupted: bool = False
    plan_mode: bool = False
    options: Mapping[str, Any] = field(default_factory=dict)


def command_line(launch: Launch) -> list[str]:
    """The argument list; values travel as ``--flag=value``, so that a leading dash cannot become a
    flag.

    Raises:
        CliMissing: the configured CLI is not there.
        OSError: AGENT_RUN_AS cannot be obeyed here.
    """
    options = launch.options
    sources = options.get("setting_sources", [])
    disallowed = [*FORBIDDEN_TOOLS, *options.get("disallowed_tools", [])]
    command = [
        *_program(launch.agent),
        "-p",
        "--input-format=stream-json",
        "--output-format=stream-json",
        "--verbose",
        "--include-partial-messages",
        "--permission-prompt-tool=stdio",
        f"--setting-sources={','.join(sources)}",
        f"--settings={cli_settings(is_opened=bool(sources))}",
        "--strict-mcp-config",
        f"--disallowedTools={','.join(disallowed)}",
        f"--permission-mode={'plan' if launch.plan_mode else 'default'}",  # some releases would start in auto mode
        f"--{'resume' if launch.resume else 'session-id'}={launch.conversation}",
    ]
    if not sources:  # /config, /heapdump and /insights act on the account's own files without permission
        command.append("--disable-slash-commands")
    if launch.model:
        command.append(f"--model={launch.model}")
    flags = {
        "append_system_prompt": "append-system-prompt",
        "max_turns": "max-turns",
        "max_budget_usd": "max-budget-usd",
    }
    command += [f"--{flag}={options[name]}" for name, flag in flags.items() if options.get(name)]
    return [*wrapper(), *command]


def inherited_environment(inherited: Mapping[str, str]) -> dict[str, str]:
    """Return what the allow-list passes on of Orchestra's own environment, and what Orchestra
    always sets.
    """
    passed = list(settings.AGENTS.env_allow)
    for switch, more in CLOUD_SWITCHES.items():
        if inherited.get(switch):
            passed += [switch, *more]
    env = {k: v for k, v in inherited.items() if any(fnmatch.fnmatchcase(k, name) for name in passed)}
    if settings.AGENTS.config_dir:
        env["CLAUDE_CONFIG_DIR"] = settings.AGENTS.config_dir
    return env | ALWAYS_SET


def environment(launch: Launch, inherited: Mapping[str, str]) -> dict[str, str]:
    """Return the environment of an agent's process: nearly empty, and marked, so that its
    descendants are found.
    """
    env = inherited_environment(inherited) | {MARKER: str(launch.run_id), INSTANCE_MARKER: settings.ORCHESTRA.marker}
    if launch.interrupted:
        env["CLAUDE_CODE_RESUME_INTERRUPTED_TURN"] = "1"
    if launch.agent == "demo":
        env["ORCHESTRA_DEMO_STATE"] = str(settings.ORCHESTRA.data_dir / "demo")
    return env


def cli_path() -> str | None:
    """Return where the configured CLI is: a path, a name on PATH, or one of the places its
    installers use.
    """
    places = [os.environ.get("PATH", ""), *(str(Path(place).expanduser()) for place in USUAL_PLACES)]
    return shutil.which(str(Path(settings.AGENTS.cli_path).expanduser()), path=os.pathsep.join(places))


def _program(agent: str) -> list[str]:
    if agent == "demo":
        return demo_command()
    found = cli_path()
    if found is None:
        raise CliMissing(settings.AGENTS.cli_path)
    return [found]


def wrapper() -> list[str]:
    """Return the start of the command line. On Linux the process ends with the thread that spawned
    it, and so with its worker.

    Raises:
        OSError: AGENT_RUN_AS cannot be obeyed here, so the process must not start.
    """
    setpriv, user = shutil.which("setpriv"), settings.AGENTS.run_as
    if setpriv is None and user:
        raise OSError(errno.ENOENT, "AGENT_RUN_AS needs setpriv, which is not on PATH")
    return [setpriv, "--pdeathsig=KILL", *_account(user), "--"] if setpriv else []


def _account(user: str) -> list[str]:
    """Return the options that switch to the account and its own group; a group of the same name
    need not exist.
    """
    if not user:
        return []
    try:
        known = pwd.getpwuid(int(user)) if user.isdecimal() else pwd.getpwnam(user)
    except (KeyError, OverflowError):
        raise OSError(errno.ENOENT, "AGENT_RUN_AS names no account of this host") from None
    return [f"--reuid={known.pw_uid}", f"--regid={known.pw_gid}", "--init-groups"]
