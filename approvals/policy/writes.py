"""Detects shell commands that write a protected path or name a secret, as far as their text shows
it.
"""
# The paths here are text that an agent wrote; pathlib would tidy away what matters.
# ruff: noqa: PTH111, PTH118

import os
from collections.abc import Iterator

from approvals.policy.lookup import Lookup, TooMuch
from approvals.policy.protected import could_be_protected, is_protected, is_secret
from approvals.policy.readings import BRACES
from approvals.policy.scripts import Step, scripts_of
from approvals.policy.shell import programs
from approvals.policy.shell.words import Word
from approvals.policy.tool_call import Call

# These only read their arguments, or print them.
READERS = frozenset({
    *("cat", "head", "tail", "less", "more", "ls", "stat", "file", "wc", "grep", "egrep", "fgrep", "zgrep", "rg"),
    *("diff", "cmp", "cd", "pushd", "pwd", "test", "[", "[[", "du", "md5sum", "sha256sum", "realpath", "readlink"),
    *("basename", "dirname", "tree", "jq", "cut", "which", "type"),
})  # fmt: skip
PRINTERS = frozenset({"echo", "printf", ":", "true", "false"})
READING_GIT = frozenset({
    *("add", "blame", "commit", "describe", "diff", "log", "ls-files", "ls-tree", "rev-parse", "shortlog", "show"),
    *("status", "grep", "check-ignore"),
})  # fmt: skip
LONGEST_COMMAND = 8 * 1024


def touches_protected(call: Call) -> bool:
    """Whether the command writes a protected path or names a secret; true for one that cannot be
    judged in time.
    """
    if "touches protected" not in call.notes:
        call.notes["touches protected"] = _touches(call)
    return bool(call.notes["touches protected"])


def _touches(call: Call) -> bool:
    lookup = Lookup(call.directory)
    command = call.arguments.get("command")
    if not isinstance(command, str) or len(command) > LONGEST_COMMAND:
        return True
    try:
        return any(_script_touches(script, lookup) for script in scripts_of(call))
    except TooMuch:
        return True


def _script_touches(script: list[Step], lookup: Lookup) -> bool:
    folders = [lookup.top]
    for found, writes in script:
        if _command_touches(found, writes, folders, lookup):
            return True
        if folder := programs.goes_to(found):
            folders.append(lookup.real(folder.text, folders[-1]) or folders[-1])
    return False


def _command_touches(found: programs.Invocation, writes: tuple[Word, ...], folders: list[str], lookup: Lookup) -> bool:
    if any(_is_protected(text, folders, lookup) for word in dict.fromkeys(writes) for text in _texts(word)):
        return True
    if found.program in PRINTERS:
        return False
    reads = _only_reads(found)
    for text in dict.fromkeys(text for word in found.arguments for text in _texts(word)):
        if _is_protected(text, folders, lookup, secrets_only=reads):
            return True
    return False


def _only_reads(found: programs.Invocation) -> bool:
    if found.program != "git":
        return found.program in READERS
    first = next(iter(found.operands), None)
    return first is not None and first.text in READING_GIT and not found.has("", ("--output",))


def _texts(word: Word) -> Iterator[str]:
    """Yield the word and the values in it after ``=``, ``:`` or an option letter; unquoted
    wildcards stay a glob.
    """
    text = BRACES.sub("*", word.pattern if word.is_glob else word.text)
    yield text
    if text.startswith("-") and len(text) > 2:
        yield text[2:]
    for sign in "=:":  # --output=x, git show HEAD:.env
        if sign in text:
            yield text.partition(sign)[2]
            yield text.rpartition(sign)[2]


def _is_protected(text: str, folders: list[str], lookup: Lookup, *, secrets_only: bool = False) -> bool:
    if not text or text.startswith("-"):
        return False
    judge = is_secret if secrets_only else is_protected
    for folder in folders[-4:]:
        real = lookup.real(text, folder)
        written = os.path.normpath(os.path.join(folder, os.path.expanduser(text)))
        if judge(real) or judge(written):
            return True
    return could_be_protected(text, secrets_only=secrets_only)
