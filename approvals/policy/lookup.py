"""Real paths of the words of one call, with a bound on the work."""
# The paths here are text that an agent wrote; pathlib would tidy away what matters.
# ruff: noqa: PTH111, PTH114, PTH118

import os
import re

from approvals.policy.tool_call import LONGEST_PATH

MOST_STEPS = 1_500  # path components that are resolved for one call; real calls need fewer than a hundred
PROC_LINK = re.compile(r"/proc/[^/]+/(?:task/[^/]+/)?(root|cwd)")


class TooMuch(Exception):
    """Checking the call would take too long."""


class Lookup:
    """Real paths for one call; each folder is resolved once.

    Raises:
        TooMuch: from any method, when ``MOST_STEPS`` are used up.
    """

    def __init__(self, directory: str) -> None:
        self.top = os.path.realpath(directory) if directory else "/"
        self._folders: dict[str, str] = {}
        self._steps = MOST_STEPS

    def real(self, word: str, base: str) -> str:
        """Return the real path of a word relative to ``base``; empty if the word cannot be a path."""
        if not word or len(word) > LONGEST_PATH or "\0" in word:
            return ""
        self._spend(1)
        try:
            os.fsencode(word)
            whole = self.without_proc_links(os.path.join(base, os.path.expanduser(word)))
            folder, name = os.path.split(whole)
            if name in ("", ".", "..") or os.path.islink(whole):
                return self._real(whole)
            return os.path.join(self._real(folder), name)
        except ValueError:  # a lone surrogate
            return ""

    def without_proc_links(self, path: str) -> str:
        """Replace ``/proc/PID/root`` and ``/proc/PID/cwd``, which are links to the same files, by
        their targets.
        """
        for _ in range(8):
            if "proc" not in path:
                return path
            further = self._proc_link_target(path)
            if further is None:
                return path
            path = further
        raise TooMuch

    def _proc_link_target(self, path: str) -> str | None:
        names: list[str] = []
        rest = path.split("/")
        self._spend(len(rest) // 8)
        for at, name in enumerate(rest):
            if name == "..":
                names = names[:-1]
            elif name not in ("", "."):
                names.append(name)
            found = PROC_LINK.fullmatch("/" + "/".join(names)) if name in ("root", "cwd") and len(names) <= 5 else None
            if found:
                start = "/" if found[1] == "root" else self.top
                return "/".join((start.rstrip("/"), *rest[at + 1 :])) or "/"
        return None

    def _real(self, path: str) -> str:
        known = self._folders.get(path)
        if known is None:
            self._spend(path.count("/"))
            known = self._folders[path] = os.path.realpath(path)
        return known

    def _spend(self, steps: int) -> None:
        self._steps -= steps
        if self._steps < 0:
            raise TooMuch
