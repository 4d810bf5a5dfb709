"""Matching of rules with calls.

An allow rule is matched narrowly: with real paths only, a wildcard never covers a composed shell
command (``git *`` is not ``git x; rm y``), and only an exact rule covers a protected path or a
switch of the shell. A deny or ask rule is matched widely: with the path as written, too, and with
each part of a composed command.
"""
# The paths here are text that an agent wrote; pathlib would tidy away what matters.
# ruff: noqa: PTH111, PTH118

import fnmatch
import os
import re
from collections.abc import Iterator
from functools import lru_cache

from approvals.models import Rule
from approvals.policy.globs import escape, glob_matches, literal_of
from approvals.policy.protected import is_protected, is_secret
from approvals.policy.readings import MOST_PARTS, SHELL_COMPOSITION
from approvals.policy.tool_call import LONGEST_PATH, READING_TOOLS, Call, read_arguments
from approvals.policy.writes import touches_protected

ALLOW = Rule.Effect.ALLOW
LONGEST_WIDE = 64 * 1024  # characters; for a longer text ``?`` and ``[...]`` in a deny or ask pattern count as ``*``


def matches(rule: Rule, call: Call) -> bool:
    """Whether ``rule`` applies to ``call``, by its tool and its telling argument.

    An unknown tool has no telling argument: the pattern is compared with the whole input.
    """
    if not fnmatch.fnmatchcase(call.tool_name, rule.tool):
        return False
    if rule.effect == ALLOW:
        return _allows(rule.pattern, call)
    return not rule.pattern or _forbids(rule.pattern, call)


def _allows(pattern: str, call: Call) -> bool:
    literal, is_whole_input = _literal(pattern)
    if is_whole_input:
        return literal in (call.tool_input, call.whole)  # a rule about the whole input covers exactly that
    if not call.has_only_the_usual:
        return False
    if literal is not None and not call.tells_a_path and literal == call.comparable:
        return True
    return (not pattern or _covers(pattern, call)) and _is_free(call, exact=literal is not None)


@lru_cache(maxsize=256)
def _literal(pattern: str) -> tuple[str | None, bool]:
    """Return the only text that a pattern without wildcards matches, and whether it is a whole
    input.
    """
    literal = literal_of(pattern) if pattern else None
    return literal, literal is not None and literal.startswith("{") and read_arguments(literal) is not None


def _covers(pattern: str, call: Call) -> bool:
    if call.tells_a_path:
        return bool(call.comparable) and glob_matches(call.comparable, anchored(pattern, call))
    if call.tool_name == "Bash":
        return not SHELL_COMPOSITION.search(call.telling) and command_matches(call.telling, pattern)
    is_composed = "command" in call.arguments and SHELL_COMPOSITION.search(call.telling)
    return not is_composed and glob_matches(call.comparable, pattern)


def _is_free(call: Call, *, exact: bool) -> bool:
    """Whether a rule without the whole input may allow the call: it must not touch protected files."""
    if call.tool_name == "Bash":
        return not touches_protected(call)
    if call.tool_name in READING_TOOLS:
        return exact or not any(map(is_secret, call.real_paths))
    written = (os.path.normpath(os.path.join(call.directory, path)) for path in call.paths if len(path) <= LONGEST_PATH)
    return not any(map(is_protected, (*call.real_paths, *written)))


def command_matches(text: str, pattern: str) -> bool:
    """Whether ``pattern`` matches a command; ``git diff:*`` and ``git diff *`` match whole words.

    As in the CLI, ``ls:*`` matches ``ls`` alone or with arguments, never ``lsof``. A pattern
    ``ls *`` without another wildcard does the same. ``ls*`` matches both.
    """
    words, is_literal = _whole_words(pattern)
    if words is None:
        return glob_matches(text, pattern)
    if is_literal:
        return text.startswith(words) and text[len(words) : len(words) + 1] in ("", " ", "\t")
    return glob_matches(text, words) or glob_matches(text, f"{words} *") or glob_matches(text, f"{words}\t*")


@lru_cache(maxsize=1024)
def _whole_words(pattern: str) -> tuple[str | None, bool]:
    """Return the part before a final ``:*`` or `` *`` and whether it is literal; None for another
    pattern.
    """
    if not pattern.endswith((":*", " *")):
        return None, False
    literal = literal_of(pattern[:-2])
    if literal is not None:
        return literal, True
    return (pattern[:-2], False) if pattern.endswith(":*") else (None, False)


def _forbids(pattern: str, call: Call) -> bool:
    patterns = {pattern, anchored(pattern, call)} if call.paths else {pattern}
    for text in _wide_readings(call):
        if command_matches(text, pattern):
            return True
        if len(text) > LONGEST_WIDE:
            patterns |= {re.sub(r"\?|\[[^\]]*\]", "*", one) for one in patterns}
        if any(glob_matches(text, one) for one in patterns):
            return True
    return False


def _wide_readings(call: Call) -> frozenset[str]:
    if "wide readings" not in call.notes:
        call.notes["wide readings"] = frozenset(_readings(call))
    readings: frozenset[str] = call.notes["wide readings"]
    return readings


def _readings(call: Call) -> Iterator[str]:
    yield from (call.telling, call.tool_input, call.comparable, *call.real_paths)
    for path in call.paths:
        if len(path) <= LONGEST_PATH:
            yield os.path.normpath(os.path.join(call.directory, path))
    if isinstance(command := call.arguments.get("command"), str):
        yield from (part.strip() for part in SHELL_COMPOSITION.split(command, maxsplit=MOST_PARTS))


def anchored(pattern: str, call: Call) -> str:
    """Make a path pattern absolute: a relative one starts at the working directory, and ``//x``
    means ``/x``.
    """
    if pattern.startswith("~/"):
        return escape(os.path.expanduser("~")) + pattern[1:]
    if pattern.startswith("/"):
        return "/" + pattern.lstrip("/")
    return os.path.normpath(f"{escape(call.real_directory)}/{pattern}")


def rule_from_request(spec: str) -> tuple[str, str]:
    """Return tool and pattern of an ``allowed_tools`` entry.

    Examples are ``Write`` and ``Bash(git status:*)``.

    A final ``:*`` stays for commands, where it matches whole words; for other tools it becomes
    ``*``.

    Raises:
        ValueError: the entry has another form.
    """
    found = re.fullmatch(r"([A-Za-z_][\w*-]*)(?:\((.*)\))?", spec.strip(), re.DOTALL)
    if not found:
        raise ValueError(f"not a tool or Tool(pattern): {spec!r}")
    tool, pattern = found[1], found[2] or ""
    if not pattern.endswith(":*"):
        return tool, pattern
    is_command = fnmatch.fnmatchcase("Bash", tool) and bool(pattern[:-2])
    return tool, pattern if is_command else pattern[:-2] + "*"
