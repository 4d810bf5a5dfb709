"""The program that a simple command runs, without its wrappers, and the paths that it works on."""

import os
import re
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

from approvals.policy.shell.words import Word

WRAPPERS = frozenset({
    *("sudo", "doas", "env", "nice", "ionice", "nohup", "time", "timeout", "stdbuf", "setsid", "chrt", "busybox"),
    *("command", "builtin", "exec", "xargs", "noglob", "export", "declare", "local"),
})  # fmt: skip
SHELLS = frozenset({"sh", "bash", "zsh", "dash", "ksh", "ash"})
WITH_VALUE = frozenset({"-u", "-g", "-n", "-I", "-P", "-d", "-L", "-s", "-k", "-C", "-c", "-p"})
NO_PROGRAM = re.compile(r"-|\w+\+?=|[\d.]+[smhd]?$")
# Options with a value in the next word, of the searchers that read the current folder by default.
SEARCHERS_VALUES = frozenset({
    *("-A", "-B", "-C", "-m", "-e", "-f", "-g", "-t", "-T", "-j", "-M", "-d", "-D", "-E"),
    *("--type", "--glob", "--regexp", "--file", "--max-depth"),
})  # fmt: skip
SEARCHERS = frozenset({"grep", "egrep", "fgrep", "zgrep", "ugrep", "rg", "ag", "ack", "fd", "fdfind"})
RECURSIVE_BY_DEFAULT = frozenset({
    *("rg", "ag", "ack", "fd", "fdfind", "find", "tar", "bsdtar", "zip", "7z", "7za", "rsync", "rclone", "pax"),
    *("restic", "borg", "mv"),
})  # fmt: skip
RECURSIVE_BY_OPTION = {
    **dict.fromkeys(("grep", "egrep", "fgrep", "zgrep", "ugrep"), ("rR", ("--recursive", "--dereference-recursive"))),
    "cp": ("rRa", ("--recursive", "--archive")),
    "scp": ("r", ()),
    "gzip": ("r", ("--recursive",)),
    "diff": ("r", ("--recursive",)),
    **dict.fromkeys(("rm", "chmod", "chown", "chgrp", "shred"), ("rR", ("--recursive",))),
}
COPIERS = frozenset({"cp", "scp", "rsync", "mv"})
MAKES_AN_ARCHIVE = re.compile(r"-?[a-zA-Z]*[cru][a-zA-Z]*$|--(?:create|append|update)$")


@dataclass(frozen=True, slots=True)
class Invocation:
    """A program by the last part of its path, and its arguments."""

    program: str
    arguments: tuple[Word, ...]

    @property
    def operands(self) -> list[Word]:
        """The arguments that are neither options nor values of a searcher's options."""
        found: list[Word] = []
        skip = False
        for word in self.arguments:
            if skip:
                skip = False
            elif word.text.startswith("-") and len(word.text) > 1:
                skip = self.program in SEARCHERS and word.text in SEARCHERS_VALUES
            else:
                found.append(word)
        return found

    def has(self, letters: str, names: Sequence[str] = ()) -> bool:
        """Whether one of the short options or long names is among the arguments."""
        for text in (word.text for word in self.arguments):
            if text.startswith("--"):
                if text.partition("=")[0] in names:
                    return True
            elif text.startswith("-") and any(letter in text for letter in letters):
                return True
        return False


def invocation_of(words: Sequence[Word]) -> Invocation:
    """Skip leading assignments and wrappers, such as ``sudo`` and ``env``, and return the program
    behind them.
    """
    rest = list(words)
    while rest:
        name = os.path.basename(rest[0].text)  # noqa: PTH119 - a text
        if "=" in rest[0].text and NO_PROGRAM.match(rest[0].text):
            rest = rest[1:]
        elif name in WRAPPERS:
            rest = _behind_options(rest[1:])
        else:
            return Invocation(name, tuple(rest[1:]))
    return Invocation("", ())


def _behind_options(words: list[Word]) -> list[Word]:
    at = 0
    while at < len(words) and NO_PROGRAM.match(words[at].text):
        at += 2 if words[at].text in WITH_VALUE else 1
    return words[at:]


def inner_scripts(found: Invocation) -> list[str]:
    """Return the scripts that a shell or ``eval`` gets as arguments."""
    texts = [word.text for word in found.arguments]
    if found.program == "eval":
        return [" ".join(texts)]
    if found.program not in SHELLS:
        return []
    return [text for option, text in pairwise(texts) if re.fullmatch(r"-[a-z]*c[a-z]*", option)]


def goes_to(found: Invocation) -> Word | None:
    """Return the folder that ``cd`` or ``pushd`` changes to."""
    return next(iter(found.operands), None) if found.program in ("cd", "pushd", "chdir") else None


def reads_below(found: Invocation) -> list[str] | None:
    """Return the folders that this program processes recursively, as patterns; None if it is not
    recursive.

    An empty pattern is the current folder.
    """
    program = found.program
    if program == "git":
        texts = [word.text for word in found.arguments]
        return [word.pattern for word in found.operands] if "grep" in texts and "--no-index" in texts else None
    if program in RECURSIVE_BY_OPTION:
        letters, names = RECURSIVE_BY_OPTION[program]
        if not found.has(letters, names):
            return None
    elif program not in RECURSIVE_BY_DEFAULT:
        return None
    if program == "find":
        return _starts_of_find(found)
    operands = [word.pattern for word in found.operands]
    if program in ("tar", "bsdtar"):
        return _archived(found)
    if program in COPIERS and not found.has("t", ("--target-directory",)):
        return operands[:-1]
    if program not in SEARCHERS:
        return operands
    has_its_pattern = found.has("ef", ("--regexp", "--file", "--files", "--type-list"))
    return (operands if has_its_pattern else operands[1:]) or [""]


def _starts_of_find(found: Invocation) -> list[str]:
    starts: list[str] = []
    for word in found.arguments:
        if word.text in ("-H", "-L", "-P"):
            continue
        if word.text.startswith(("-", "(", "!")):
            break
        starts.append(word.pattern)
    return starts or [""]


def _archived(found: Invocation) -> list[str] | None:
    if not any(MAKES_AN_ARCHIVE.match(word.text) for word in found.arguments[:3]):
        return None
    glued = [word.pattern[2:] for word in found.arguments if word.text.startswith("-C") and len(word.text) > 2]
    return [*(word.pattern for word in found.operands), *glued]


def depth_of_find(found: Invocation) -> int | None:
    """Return the ``-maxdepth`` of ``find``; None without a limit."""
    texts = [word.text for word in found.arguments]
    for option, value in pairwise(texts):
        if option == "-maxdepth" and value.isdigit():
            return int(value[:4])
    return None
