"""Rules and surroundings in, allow, deny or ask out. Pure but for resolving symbolic links.

Order: hard floor > deny > ask > allow > default. Nobody lifts the hard floor.
"""

import fnmatch
import json
import os
import re
import shlex
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from approvals.models import Rule

ALLOW, DENY, ASK = Rule.Effect.ALLOW, Rule.Effect.DENY, Rule.Effect.ASK

PATH_ARGUMENTS = ("file_path", "notebook_path", "path")
TELLING_ARGUMENTS = ("command", *PATH_ARGUMENTS, "url", "pattern", "query", "skill", "prompt")
EDITING_TOOLS = ("Write", "Edit", "MultiEdit", "NotebookEdit")
ALWAYS_PASS = frozenset({"ToolSearch", "TaskStop", "ListAgents", "Task"})
# They act later or by themselves, when nobody is asked any more.
NEVER = ("CronCreate", "CronDelete", "CronList", "ScheduleWakeup", "Monitor", "Workflow")
ALWAYS_ASK = frozenset({"AskUserQuestion", "ExitPlanMode"})
SECRET_FILES = ("*.env", ".env*", "*.pem", "*.key", "*.p12", "*.pfx", "id_rsa*", "id_ed25519*", "id_ecdsa*", ".netrc", ".npmrc", ".pypirc", "*credentials*", "*secret*", ".htpasswd")
SECRET_FOLDERS = frozenset({".ssh", ".aws", ".gnupg", ".kube", ".docker"})
SHELL_COMPOSITION = re.compile(r"[;&|<>`\n\r(){}]|\$")


@dataclass(frozen=True, slots=True, kw_only=True)
class Call:
    """One tool call: ``tool_input`` is the exact JSON text, ``directory`` the real path it works in."""

    tool_name: str
    tool_input: str
    directory: str

    @property
    def arguments(self) -> dict[str, Any]:
        return parsed_arguments(self.tool_input)


@dataclass(frozen=True, slots=True, kw_only=True)
class Surroundings:
    """What the hard floor protects: Orchestra's own folder, code, port and socket."""

    data_dir: str
    code_dir: str
    working_roots: tuple[str, ...]
    port: int
    hostnames: tuple[str, ...] = ("localhost", "127.0.0.1", "[::1]", "0.0.0.0")  # noqa: S104 - names to look for, not to bind


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """``source`` is floor, rule or default; ``rule`` is the rule that answered, if one did."""

    effect: str
    reason: str
    source: str
    rule: Rule | None = None


def decide(call: Call, rules: Iterable[Rule], around: Surroundings) -> Answer:
    """What happens to ``call`` before any person is asked."""
    forbidden = floor_violation(call, around)
    if forbidden:
        return Answer(effect=DENY, reason=forbidden, source="floor")
    matching = [rule for rule in rules if matches(rule, call)]
    for effect in (DENY, ASK, ALLOW):
        rule = next((rule for rule in matching if rule.effect == effect), None)
        if rule and not (effect == ALLOW and call.tool_name in ALWAYS_ASK):
            reason = rule.note or f"a standing rule says {effect}: {rule}"
            return Answer(effect=effect, reason=reason, source="rule", rule=rule)
    return _default(call)


def _default(call: Call) -> Answer:
    if call.tool_name in ALWAYS_PASS:
        return Answer(effect=ALLOW, reason="harmless by itself", source="default")
    if call.tool_name == "Read" and _readable(call):
        return Answer(effect=ALLOW, reason="reading inside the working directory", source="default")
    return Answer(effect=ASK, reason="a person decides", source="default")


def _readable(call: Call) -> bool:
    path = call.arguments.get("file_path")
    if not isinstance(path, str) or not path:
        return False
    real = resolve(path, call.directory)
    return inside(real, call.directory) and not is_secret(real)


def floor_violation(call: Call, around: Surroundings) -> str:
    """Why nobody may allow this call; empty if the floor has nothing to say."""
    if call.tool_name in NEVER:
        return f"{call.tool_name} acts when nobody is asked any more; Orchestra never allows it"
    arguments = call.arguments
    for name in PATH_ARGUMENTS:
        path = arguments.get(name)
        if isinstance(path, str) and path and _protected(resolve(path, call.directory), around):
            return "this path belongs to Orchestra itself"
    command = arguments.get("command")
    if isinstance(command, str):
        return _command_violation(command, call.directory, around)
    url = arguments.get("url")
    if isinstance(url, str) and _names_our_port(url, around):
        return "this address is Orchestra's own"
    return ""


def _command_violation(command: str, directory: str, around: Surroundings) -> str:
    if re.search(r"/proc/[^\s/]+/(task/[^\s/]+/)?environ", command):
        return "the environment of processes is not readable"
    if _names_our_port(command, around):
        return "this address is Orchestra's own"
    for word in _words(command):
        looks_like_path = "/" in word or word.endswith((".py", ".db", ".sock")) or word == "manage.py"
        if looks_like_path and _protected(resolve(word, directory), around):
            return "this path belongs to Orchestra itself"
    return ""


def _words(command: str) -> list[str]:
    """Words of a shell command, also behind ``=``, quotes and redirections; best effort by nature."""
    try:
        words = shlex.split(command, comments=False)
    except ValueError:
        words = command.split()
    return [part for word in words for part in re.split(r"[=<>|;&(),:`\"'\s]+", word) if part]


def _protected(real: str, around: Surroundings) -> bool:
    if re.match(r"/proc/[^/]+/(task/[^/]+/)?environ$", real):
        return True
    if real == os.path.join(around.code_dir, "manage.py"):
        return True
    return inside(real, around.data_dir) and not any(inside(real, root) for root in around.working_roots)


def _names_our_port(text: str, around: Surroundings) -> bool:
    hosts = "|".join(re.escape(name) for name in around.hostnames)
    return bool(re.search(rf"(?:{hosts})[:\s/]+{around.port}\b", text, re.IGNORECASE))


def matches(rule: Rule, call: Call) -> bool:
    """Whether ``rule`` speaks about ``call``.

    A wildcard that allows a shell command never covers a composed one: ``git *`` is not ``git x; rm y``.
    """
    if not fnmatch.fnmatchcase(call.tool_name, rule.tool):
        return False
    if not rule.pattern:
        return True
    telling = telling_argument(call.tool_name, call.tool_input)
    if not fnmatch.fnmatchcase(_comparable(call, telling), rule.pattern):
        return False
    is_command = "command" in call.arguments
    literal = fnmatch_escape(telling) == rule.pattern
    return not (is_command and rule.effect == ALLOW and not literal and SHELL_COMPOSITION.search(telling))


def _comparable(call: Call, telling: str) -> str:
    """Paths are compared by their real path, everything else as it stands."""
    if any(call.arguments.get(name) == telling for name in PATH_ARGUMENTS):
        return resolve(telling, call.directory)
    return telling


def session_pattern(call: Call) -> str:
    """The pattern that covers exactly this call's telling argument."""
    return fnmatch_escape(_comparable(call, telling_argument(call.tool_name, call.tool_input)))


def rule_from_request(spec: str) -> tuple[str, str]:
    """Tool and pattern of an ``allowed_tools`` entry such as ``Write`` or ``Bash(git status:*)``.

    Raises:
        ValueError: not of that form.
    """
    found = re.fullmatch(r"([A-Za-z_][\w*-]*)(?:\((.*)\))?", spec.strip(), re.DOTALL)
    if not found:
        raise ValueError(f"not a tool or Tool(pattern): {spec!r}")
    tool, pattern = found[1], found[2] or ""
    return tool, pattern[:-2] + "*" if pattern.endswith(":*") else pattern


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
    try:
        value = json.loads(tool_input or "{}")
    except ValueError:
        return {}
    return value if isinstance(value, dict) else {}


def resolve(path: str, directory: str) -> str:
    """The real path of ``path`` as seen from ``directory``, whether or not it exists."""
    if "\0" in path:
        return path
    return os.path.realpath(os.path.join(directory, os.path.expanduser(path)))


def inside(real: str, folder: str) -> bool:
    """Whether a real path is ``folder`` or below it."""
    top = os.path.realpath(folder)
    return real == top or real.startswith(top.rstrip("/") + "/")


def is_secret(real: str) -> bool:
    """Whether the path looks like a key, a credential or an environment file."""
    path = Path(real)
    named = any(fnmatch.fnmatch(path.name.lower(), pattern) for pattern in SECRET_FILES)
    return named or any(part in SECRET_FOLDERS for part in path.parts)


def fnmatch_escape(text: str) -> str:
    """``text`` as a pattern that matches only itself."""
    return re.sub(r"([*?[])", r"[\1]", text)
