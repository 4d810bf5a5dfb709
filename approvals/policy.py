"""Rules and surroundings in, allow, deny or ask out. Pure but for resolving symbolic links.

Order: hard floor > deny > ask > allow > default. Nobody lifts the hard floor.
"""
# The paths here are text that an agent wrote; pathlib would tidy away what matters.
# ruff: noqa: PTH111, PTH118

import fnmatch
import os
import re
from collections.abc import Iterable
from dataclasses import dataclass

from approvals.calls import (
    EDITING_TOOLS,
    KNOWN_TOOLS,
    PATH_ARGUMENTS,
    Call,
    fnmatch_escape,
    inside,
    is_secret,
    parsed_arguments,
    resolve,
    telling_argument,
)
from approvals.floor import NEVER, Surroundings, floor_violation, holds_ours
from approvals.models import Rule

__all__ = [
    "ALLOW",
    "ASK",
    "DENY",
    "EDITING_TOOLS",
    "NEVER",
    "Answer",
    "Call",
    "Surroundings",
    "decide",
    "floor_violation",
    "fnmatch_escape",
    "inside",
    "is_secret",
    "matches",
    "parsed_arguments",
    "resolve",
    "rule_from_request",
    "session_pattern",
    "telling_argument",
]

ALLOW, DENY, ASK = Rule.Effect.ALLOW, Rule.Effect.DENY, Rule.Effect.ASK

ALWAYS_PASS = frozenset({"ToolSearch", "TaskStop", "ListAgents", "Task", "Agent"})  # CLI 2.1.330 says Agent for Task
ALWAYS_ASK = frozenset({"AskUserQuestion", "ExitPlanMode"})
SHELL_COMPOSITION = re.compile(r"[;&|<>`\n\r(){}]|\$")


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
        if rule and not (effect == ALLOW and _needs_a_person(call, around)):
            reason = rule.note or f"a standing rule says {effect}: {rule}"
            return Answer(effect=effect, reason=reason, source="rule", rule=rule)
    return _default(call)


def _needs_a_person(call: Call, around: Surroundings) -> bool:
    """No standing rule may allow these: questions to people, and searches through folders that hold Orchestra's own."""
    if call.tool_name in ALWAYS_ASK:
        return True
    path = call.arguments.get("path")
    folder = resolve(path if isinstance(path, str) else ".", call.directory)
    return call.tool_name == "Grep" and holds_ours(folder, around)


def _default(call: Call) -> Answer:
    if call.tool_name in ALWAYS_PASS:
        return Answer(effect=ALLOW, reason="harmless by itself", source="default")
    if call.tool_name == "Read" and _readable(call):
        return Answer(effect=ALLOW, reason="reading inside the working directory", source="default")
    return Answer(effect=ASK, reason="a person decides", source="default")


def _readable(call: Call) -> bool:
    path = call.arguments.get("file_path")
    if not call.directory or not isinstance(path, str) or not path:
        return False
    real = resolve(path, call.directory)
    return inside(real, call.directory) and not is_secret(real)


def matches(rule: Rule, call: Call) -> bool:
    """Whether ``rule`` speaks about ``call``: its tool and its telling argument.

    Of a tool we do not know no argument is telling: there the pattern is about the whole input.
    An allowing rule is read narrowly: real paths only, and a wildcard never covers a composed shell command
    (``git *`` is not ``git x; rm y``). A denying or asking rule is read widely: the path as written too, and each
    part of a composed command by itself.
    """
    if not fnmatch.fnmatchcase(call.tool_name, rule.tool):
        return False
    if not rule.pattern:
        return True
    if rule.effect == ALLOW:
        return _allows(rule.pattern, call)
    patterns = {rule.pattern, _anchored(rule.pattern, call.directory)}
    return any(fnmatch.fnmatchcase(text, pattern) for text in _wide_readings(call) for pattern in patterns)


def _allows(pattern: str, call: Call) -> bool:
    if call.tells_a_path:
        pattern = _anchored(pattern, call.directory)
    if not fnmatch.fnmatchcase(_comparable(call), pattern):
        return False
    literal = pattern == fnmatch_escape(_comparable(call))
    return literal or "command" not in call.arguments or not SHELL_COMPOSITION.search(call.telling)


def _comparable(call: Call) -> str:
    """What an allowing rule must cover: the real path, an unknown tool's whole input, the rest as it stands."""
    if call.tool_name not in KNOWN_TOOLS:
        return call.tool_input
    return resolve(call.telling, call.directory) if call.tells_a_path else call.telling


def _wide_readings(call: Call) -> set[str]:
    arguments = call.arguments
    paths = [path for name in PATH_ARGUMENTS if isinstance(path := arguments.get(name), str)]
    readings = {call.telling, call.tool_input, _comparable(call)}
    readings |= {resolve(path, call.directory) for path in paths}
    readings |= {os.path.normpath(os.path.join(call.directory, path)) for path in paths}
    if isinstance(command := arguments.get("command"), str):
        readings |= {part.strip() for part in SHELL_COMPOSITION.split(command)}
    return readings


def _anchored(pattern: str, directory: str) -> str:
    """A relative path pattern belongs to the working directory, as in ``Edit(src/*)``; ``//x`` means ``/x``."""
    if pattern.startswith("~/"):
        return fnmatch_escape(os.path.expanduser("~")) + pattern[1:]
    if pattern.startswith("/"):
        return "/" + pattern.lstrip("/")
    return os.path.normpath(f"{fnmatch_escape(os.path.realpath(directory))}/{pattern}")


def session_pattern(call: Call) -> str:
    """The pattern that covers exactly this call: its telling argument, or the whole input of a tool we do not know."""
    return fnmatch_escape(_comparable(call))


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
