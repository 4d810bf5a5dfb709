"""The command line and the environment of an agent's process."""

import errno
import fnmatch
import json
import os
import pwd
import shutil
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from uuid import UUID

from django.conf import settings

from approvals.calls import SECRET_FILES, SECRET_FOLDERS
from approvals.policy import NEVER
from sessions_app.demo_agent import command as demo_command

MARKER = "ORCHESTRA_RUN"
INSTANCE_MARKER = "ORCHESTRA_INSTANCE"
KEEP_CONVERSATIONS_DAYS = 3650  # the CLI's own clean-up would remove a dialog after 30

ALWAYS_SET = {
    "TERM": "dumb",
    "CLAUDE_CODE_DISABLE_ATTACHMENTS": "1",  # `@path` in a prompt would be read before anybody is asked
    "CLAUDE_CODE_DISABLE_NONESSENTIAL_TRAFFIC": "1",
    "DISABLE_TELEMETRY": "1",
    "DISABLE_AUTOUPDATER": "1",
    "DISABLE_ERROR_REPORTING": "1",
    "CLAUDE_CODE_MAX_RETRIES": "2",
}
CLOUD_SWITCHES = {"CLAUDE_CODE_USE_BEDROCK": ("AWS_*",), "CLAUDE_CODE_USE_VERTEX": ("GOOGLE_*", "CLOUD_ML_REGION")}
# What settings files and extensions could run by themselves, without a tool call that the policy judges. The CLI's
# callbacks and the memory files (CLAUDE.md) stay; see docs/security.md. A value that the CLI does not take (null, for
# one) makes it ignore the whole document without a word.
NOTHING_BY_ITSELF = {
    "disableAllHooks": True,
    "disableSkillShellExecution": True,
    "apiKeyHelper": "",
    "awsAuthRefresh": "",
    "awsCredentialExport": "",
    "gcpAuthRefresh": "",
    "otelHeadersHelper": "",
    # memory files import others by @path; the policy would not let the agent read these
    "claudeMdExcludes": [
        *(f"**/{pattern}" for pattern in SECRET_FILES),
        *(f"**/{folder}/**" for folder in sorted(SECRET_FOLDERS)),
    ],
}
# What a settings file of the project must not turn: where the model's API is, and what Orchestra sets itself.
FIXED = (
    "ANTHROPIC_BASE_URL", "ANTHROPIC_BEDROCK_BASE_URL", "ANTHROPIC_VERTEX_BASE_URL",
    *CLOUD_SWITCHES, "CLAUDE_CODE_ENABLE_TELEMETRY",
)  # fmt: skip
USUAL_PLACES = ("~/.local/bin", "~/.claude/local")


class CliMissing(Exception):
    """There is no such CLI on this host."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Launch:
    """What to start for a turn; ``options`` are the session's own."""

    session_id: UUID
    run_id: UUID
    agent: str
    model: str
    resume: bool
    interrupted: bool = False
    options: Mapping[str, Any] = field(default_factory=dict)


def command_line(launch: Launch) -> list[str]:
    """The argument list; values travel as ``--flag=value``, so that a leading dash cannot become a flag.

    Raises:
        CliMissing: the configured CLI is not there.
        OSError: AGENT_RUN_AS cannot be obeyed here.
    """
    options = launch.options
    sources = options.get("setting_sources", [])
    disallowed = [*NEVER, *options.get("disallowed_tools", [])]
    command = [
        *_program(launch.agent),
        "-p",
        "--input-format=stream-json",
        "--output-format=stream-json",
        "--verbose",
        "--include-partial-messages",
        "--permission-prompt-tool=stdio",
        f"--setting-sources={','.join(sources)}",
        f"--settings={json.dumps(_settings(bool(sources)))}",
        "--strict-mcp-config",
        f"--disallowedTools={','.join(disallowed)}",
        f"--{'resume' if launch.resume else 'session-id'}={launch.session_id}",
    ]
    if not sources:  # /config, /heapdump and /insights act on the account's own files, and nobody would be asked
        command.append("--disable-slash-commands")
    if launch.model:
        command.append(f"--model={launch.model}")
    if options.get("permission_mode") == "plan":
        command.append("--permission-mode=plan")
    flags = {
        "append_system_prompt": "append-system-prompt",
        "max_turns": "max-turns",
        "max_budget_usd": "max-budget-usd",
    }
    command += [f"--{flag}={options[name]}" for name, flag in flags.items() if options.get(name)]
    return [*wrapper(), *command]


def _settings(opened: bool) -> dict[str, Any]:
    """The settings that go before those of any file; ``opened`` says that the CLI reads files at all."""
    given: dict[str, Any] = {"cleanupPeriodDays": KEEP_CONVERSATIONS_DAYS, **NOTHING_BY_ITSELF}
    if opened:
        given["env"] = {name: os.environ.get(name, "") for name in FIXED} | ALWAYS_SET
    return given


def inherited_environment(inherited: Mapping[str, str]) -> dict[str, str]:
    """What the allow-list lets through of Orchestra's own environment, and what Orchestra always sets."""
    passed = list(settings.AGENTS.env_allow)
    for switch, more in CLOUD_SWITCHES.items():
        if inherited.get(switch):
            passed += [switch, *more]
    env = {k: v for k, v in inherited.items() if any(fnmatch.fnmatchcase(k, name) for name in passed)}
    if settings.AGENTS.config_dir:
        env["CLAUDE_CONFIG_DIR"] = settings.AGENTS.config_dir
    return env | ALWAYS_SET


def environment(launch: Launch, inherited: Mapping[str, str]) -> dict[str, str]:
    """The environment of an agent's process: nearly empty, and marked, so that its descendants can be found."""
    env = inherited_environment(inherited) | {MARKER: str(launch.run_id), INSTANCE_MARKER: settings.ORCHESTRA.marker}
    if launch.interrupted:
        env["CLAUDE_CODE_RESUME_INTERRUPTED_TURN"] = "1"
    if launch.agent == "demo":
        env["ORCHESTRA_DEMO_STATE"] = str(settings.ORCHESTRA.data_dir / "demo")
    return env


def cli_path() -> str | None:
    """Where the configured CLI is: a path, a name on PATH, or one of the places its installers use."""
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
    """On Linux the process dies with the thread that spawned it, and so with its worker. The other account is a wall:
    what cannot be given it does not start."""
    setpriv, user = shutil.which("setpriv"), settings.AGENTS.run_as
    if setpriv is None and user:
        raise OSError(errno.ENOENT, "AGENT_RUN_AS needs setpriv, which is not on PATH")
    return [setpriv, "--pdeathsig=KILL", *_account(user), "--"] if setpriv else []


def _account(user: str) -> list[str]:
    """A group of the same name need not be there: the account's own counts."""
    if not user:
        return []
    try:
        known = pwd.getpwuid(int(user)) if user.isdecimal() else pwd.getpwnam(user)
    except (KeyError, OverflowError):
        raise OSError(errno.ENOENT, "AGENT_RUN_AS names no account of this host") from None
    return [f"--reuid={known.pw_uid}", f"--regid={known.pw_gid}", "--init-groups"]
