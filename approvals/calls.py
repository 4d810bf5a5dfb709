"""A tool call and the words it is described with: its telling argument, its paths, what looks like a secret."""
# The paths here are text that an agent wrote; pathlib would tidy away what matters.
# ruff: noqa: PTH111, PTH118

import fnmatch
import json
import os
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

PATH_ARGUMENTS = ("file_path", "notebook_path", "path")
TELLING_ARGUMENTS = ("command", *PATH_ARGUMENTS, "url", "pattern", "query", "skill", "prompt")
EDITING_TOOLS = ("Write", "Edit", "MultiEdit", "NotebookEdit")
# Tools whose arguments are known: the telling one says what the call does, the others only how.
KNOWN_TOOLS = frozenset(EDITING_TOOLS) | {
    *("Read", "NotebookRead", "Glob", "Grep", "LS", "Bash", "BashOutput", "KillShell", "WebFetch", "WebSearch"),
    *("Task", "Agent", "TaskStop", "ToolSearch", "ListAgents", "TodoWrite", "Skill"),
    *("AskUserQuestion", "ExitPlanMode", "EnterPlanMode"),
}
SECRET_FILES = (
    *("*.env", ".env*", "*credentials*", "*secret*", "service-account*.json", "*.tfstate"),
    *("*.pem", "*.key", "*.p12", "*.pfx", "*.ppk", "*.jks", "*.keystore", "*.kdbx"),
    *("id_rsa*", "id_dsa*", "id_ed25519*", "id_ecdsa*"),
    *(".netrc", "_netrc", ".npmrc", ".pypirc", ".pgpass", ".my.cnf", ".htpasswd", ".vault-token"),
)
SECRET_FOLDERS = frozenset({".ssh", ".aws", ".azure", ".gnupg", ".kube", ".docker", "gcloud"})


@dataclass(frozen=True, slots=True, kw_only=True)
class Call:
    """One tool call: ``tool_input`` is the exact JSON text, ``directory`` the real path it works in."""

    tool_name: str
    tool_input: str
    directory: str

    @property
    def arguments(self) -> dict[str, Any]:
        return parsed_arguments(self.tool_input)

    @property
    def telling(self) -> str:
        return telling_argument(self.tool_name, self.tool_input)

    @property
    def tells_a_path(self) -> bool:
        """Whether the telling argument is a path of a tool we know."""
        return self.tool_name in KNOWN_TOOLS and self.telling in (self.arguments.get(name) for name in PATH_ARGUMENTS)


def telling_argument(tool_name: str, tool_input: str) -> str:
    """The argument a person looks at first: command, path, URL; the whole input if there is none."""
    arguments = parsed_arguments(tool_input)
    for name in TELLING_ARGUMENTS:
        value = arguments.get(name)
        if isinstance(value, str) and value:
            return value
    return tool_input


def parsed_arguments(tool_input: str) -> dict[str, Any]:
    """The input as a dictionary; empty if it is not a JSON object."""
    return read_arguments(tool_input) or {}


def read_arguments(tool_input: str) -> dict[str, Any] | None:
    """The input as a dictionary, empty for no input at all; None if it cannot be read as a JSON object."""
    try:
        value = json.loads(tool_input or "{}")
    except (ValueError, RecursionError):  # broken, numbers longer than Python reads, nested too deeply
        return None
    return value if isinstance(value, dict) else None


def resolve(path: str, directory: str) -> str:
    """The real path of ``path`` as seen from ``directory``, whether or not it exists; empty if it cannot be one."""
    try:
        return os.path.realpath(os.path.join(directory, os.path.expanduser(path)))
    except ValueError:  # NUL, or half a character
        return ""


def inside(real: str, folder: str) -> bool:
    """Whether a real path is ``folder`` or below it."""
    top = os.path.realpath(folder)
    return real == top or real.startswith(top.rstrip("/") + "/")


def is_secret(real: str) -> bool:
    """Whether the path looks like a key, a credential or an environment file; case does not matter."""
    path = Path(real.lower())
    named = any(fnmatch.fnmatch(path.name, pattern) for pattern in SECRET_FILES)
    return named or not SECRET_FOLDERS.isdisjoint(path.parts) or str(path).endswith("/.git/config")


def fnmatch_escape(text: str) -> str:
    """``text`` as a pattern that matches only itself."""
    return re.sub(r"([*?[])", r"[\1]", text)
