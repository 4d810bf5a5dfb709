"""Instructions for logging the CLI in: account, host, folder and command."""

import os
import pwd
import shlex
from pathlib import Path

from django.conf import settings

from sessions_app.supervisor.cli.launch import cli_path, inherited_environment


def login_instructions() -> str:
    """Sentences for people that name the account, host and folder without a login, and the command
    that logs in.
    """
    account, env = _account(), inherited_environment(os.environ)
    home = env.get("HOME", "")
    folder = env.get("CLAUDE_CONFIG_DIR") or str(Path(home or "/") / ".claude")
    return (
        f"The CLI of the account {account} on {settings.ORCHESTRA.hostname} is not logged in "
        f"(HOME {home or 'not set'}, configuration in {folder}). Run there: {_command(account, env)}. "
        "Or set ANTHROPIC_API_KEY for Orchestra's workers. Then try again."
    )


def _command(account: str, env: dict[str, str]) -> str:
    names = ("HOME", "CLAUDE_CONFIG_DIR")
    given = [f"{name}={env[name]}" for name in names if env.get(name)]
    words = ["env", *given, cli_path() or "claude", "auth", "login"]
    if account != _own_account():
        words = ["sudo", "-u", account, *words]
    return f"`{shlex.join(words)}`"


def _account() -> str:
    """The name of the account that agents run as."""
    wanted = settings.AGENTS.run_as
    return _name_of(int(wanted)) if wanted.isdecimal() else wanted or _own_account()


def _own_account() -> str:
    return _name_of(os.getuid())


def _name_of(uid: int) -> str:
    try:
        return pwd.getpwuid(uid).pw_name
    except (KeyError, OverflowError):
        return str(uid)
