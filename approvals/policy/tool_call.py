"""A tool call with its telling argument, its paths, and which arguments a session rule leaves open."""
# The paths here are text that an agent wrote; pathlib would tidy away what matters.
# ruff: noqa: PTH111, PTH118

import json
import os
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

from approvals.policy.globs import escape as fnmatch_escape

__all__ = ["Call", "fnmatch_escape", "inside", "parsed_arguments", "read_arguments", "resolve", "telling_argument"]

PATH_ARGUMENTS = ("file_path", "notebook_path", "path")
TELLING_ARGUMENTS = ("command", *PATH_ARGUMENTS, "url", "pattern", "query", "skill", "prompt")
EDITING_TOOLS = ("Write", "Edit", "MultiEdit", "NotebookEdit")
# For these tools no other argument is telling: an agent may add one that the tool does not read.
TELLING_BY_TOOL = {
    **dict.fromkeys((*EDITING_TOOLS, "Read", "NotebookRead", "LS"), PATH_ARGUMENTS),
    **dict.fromkeys(("Grep", "Glob"), ("path", "pattern")),
    "Bash": ("command",),
    "WebFetch": ("url",),
    "WebSearch": ("query",),
    "Skill": ("skill",),
}
READING_TOOLS = ("Read", "NotebookRead", "Glob", "Grep", "LS")
# Tools whose arguments are known: the telling one defines what the call does, the others only how.
KNOWN_TOOLS = frozenset(EDITING_TOOLS) | {
    *("Read", "NotebookRead", "Glob", "Grep", "LS", "Bash", "BashOutput", "KillShell", "WebFetch", "WebSearch"),
    *("Task", "Agent", "TaskStop", "ToolSearch", "ListAgents", "TodoWrite", "Skill", "SubagentHandback"),
    *("AskUserQuestion", "ExitPlanMode", "EnterPlanMode"),
}
# The arguments that an approval for the session leaves open; for every other tool there are none.
CONTENTS = frozenset({"content", "old_string", "new_string", "replace_all", "edits"})
CELLS = frozenset({"new_source", "cell_id", "cell_number", "cell_type", "edit_mode"})
MAY_CHANGE: Mapping[str, frozenset[str]] = {
    **dict.fromkeys(EDITING_TOOLS, CONTENTS | CELLS),
    "Read": frozenset({"offset", "limit", "pages"}),
    "Bash": frozenset({"description", "timeout"}),
}
USUAL: Mapping[str, frozenset[str]] = {
    **dict.fromkeys(EDITING_TOOLS, CONTENTS | CELLS | set(PATH_ARGUMENTS)),
    "Bash": MAY_CHANGE["Bash"] | {"command"},
}
LONGEST_PATH = 4096  # bytes; Linux: PATH_MAX
MOST_CONTAINERS = 20_000
STRINGS = re.compile(r'"[^"\\]*(?:\\.[^"\\]*)*"', re.DOTALL)
LONGEST_CANONICAL = 64 * 1024  # characters; a longer input is compared as written


@dataclass(frozen=True, kw_only=True)
class Call:
    """One tool call: ``tool_input`` is the exact JSON text, ``directory`` the real path of its
    working directory.

    ``notes`` caches what is computed while the call is judged, so that many rules cost no more than
    one.
    """

    tool_name: str
    tool_input: str
    directory: str
    notes: dict[str, Any] = field(default_factory=dict, init=False, compare=False, repr=False)

    @cached_property
    def readable_arguments(self) -> dict[str, Any] | None:
        """The input as a dictionary; None if it is not a readable JSON object."""
        return read_arguments(self.tool_input)

    @property
    def arguments(self) -> dict[str, Any]:
        return self.readable_arguments or {}

    @cached_property
    def telling(self) -> str:
        return _telling(self.tool_name, self.arguments) or self.tool_input

    @cached_property
    def paths(self) -> list[str]:
        """Every path argument, as written."""
        return [path for name in PATH_ARGUMENTS if isinstance(path := self.arguments.get(name), str) and path]

    @cached_property
    def real_directory(self) -> str:
        return os.path.realpath(self.directory)

    @cached_property
    def tells_a_path(self) -> bool:
        """Whether the telling argument is a path of a known tool."""
        return self.tool_name in KNOWN_TOOLS and self.telling in self.paths

    @cached_property
    def real_paths(self) -> list[str]:
        """The real paths of the path arguments; an impossible one is empty."""
        return [resolve(path, self.directory) for path in self.paths]

    @cached_property
    def comparable(self) -> str:
        """What an allow rule is compared with: the real path, or the telling argument; the input of
        an unknown tool.
        """
        if self.tool_name not in KNOWN_TOOLS:
            return self.tool_input
        return self.real_paths[self.paths.index(self.telling)] if self.tells_a_path else self.telling

    @cached_property
    def has_only_the_usual(self) -> bool:
        """Whether the telling argument alone defines the call: one path or command, and no unusual
        argument set.
        """
        usual = USUAL.get(self.tool_name)
        if usual is None:
            return True
        others = any(value for name, value in self.arguments.items() if name not in usual)
        return not others and (len(self.paths) <= 1 if self.tool_name != "Bash" else self._has_a_command)

    @property
    def _has_a_command(self) -> bool:
        return isinstance(self.arguments.get("command"), str)

    @cached_property
    def whole(self) -> str:
        """The whole input as one text with sorted names, without the arguments that never matter."""
        if self.readable_arguments is None or len(self.tool_input) > LONGEST_CANONICAL:
            return self.tool_input
        ignored = MAY_CHANGE["Bash"] if self.tool_name == "Bash" else ()
        kept = {name: value for name, value in self.arguments.items() if name not in ignored}
        text = json.dumps(kept, sort_keys=True, ensure_ascii=False)
        return text if _is_storable(text) else json.dumps(kept, sort_keys=True)


def telling_argument(tool_name: str, tool_input: str) -> str:
    """Return the argument that people read first: command, path or URL; the whole input if there is
    none.
    """
    return _telling(tool_name, parsed_arguments(tool_input)) or tool_input


def _telling(tool_name: str, arguments: Mapping[str, Any]) -> str:
    for name in TELLING_BY_TOOL.get(tool_name, TELLING_ARGUMENTS):
        value = arguments.get(name)
        if isinstance(value, str) and value:
            return value
    return ""


def _is_storable(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:  # a lone surrogate
        return False
    return True


def parsed_arguments(tool_input: str) -> dict[str, Any]:
    """Return the input as a dictionary; empty if it is not a JSON object."""
    return read_arguments(tool_input) or {}


def walk_json(value: Any) -> Iterator[Any]:
    """Yield ``value`` and everything in it, keys included, in no certain order and without recursion."""
    left = [value]
    while left:
        one = left.pop()
        if isinstance(one, dict):
            left += [part for pair in one.items() for part in pair]
        elif isinstance(one, list):
            left += one
        yield one


def read_arguments(tool_input: str) -> dict[str, Any] | None:
    """Return the input as a dictionary, empty for an empty input; None if it is not a readable JSON
    object.
    """
    if len(tool_input) > LONGEST_CANONICAL and _has_too_many_parts(tool_input):
        return None
    try:
        value = json.loads(tool_input or "{}")
    except (ValueError, RecursionError):  # malformed, numbers longer than Python reads, or nested too deeply
        return None
    return value if isinstance(value, dict) else None


def _has_too_many_parts(text: str) -> bool:
    """Whether there are so many lists and objects that Python's garbage collector would slow the
    parser down.
    """
    if text.count("[") + text.count("{") <= MOST_CONTAINERS:
        return False
    outside = STRINGS.sub("", text)
    return outside.count("[") + outside.count("{") > MOST_CONTAINERS


def resolve(path: str, directory: str) -> str:
    """Return the real path of ``path`` relative to ``directory``, whether or not it exists; empty
    if it is impossible.
    """
    if len(path) > LONGEST_PATH:
        return ""
    try:
        return os.path.realpath(os.path.join(directory, os.path.expanduser(path)))
    except ValueError:  # NUL, or a lone surrogate
        return ""


def inside(real: str, folder: str) -> bool:
    """Whether a real path is ``folder`` or below it."""
    top = os.path.realpath(folder)
    return real == top or real.startswith(top.rstrip("/") + "/")
