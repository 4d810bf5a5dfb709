"""Project files that the CLI reads without a policy decision when ``setting_sources`` is given."""

import os
from collections.abc import Iterator
from pathlib import Path

from approvals.policy import inside, is_secret

MEMORY = ("CLAUDE.md", "CLAUDE.local.md", "AGENTS.md")
FOLDER = ".claude"


def setting_files_problem(directory: str) -> str:
    """Why the CLI may not read the settings in ``directory``, in one sentence; empty if it may.

    A symbolic link among these files would let a repository show any file of the account to the
    model: CLI 2.1.330 follows links of memory files, commands and agents. Memory files in
    subfolders are not checked; see docs/security.md.
    """
    for path in _paths_to_check(Path(directory)):
        real = os.path.realpath(path)
        if not inside(real, directory) or is_secret(real):
            name = path.relative_to(directory)
            return f"{name} leads to a file that the agent may not read without asking; remove the link."
    return ""


def _paths_to_check(top: Path) -> Iterator[Path]:
    yield from (top / name for name in MEMORY if (top / name).is_symlink())
    yield top / FOLDER
    for folder, folders, files in os.walk(top / FOLDER):  # lists links, but does not follow them
        yield from (Path(folder) / name for name in (*folders, *files) if (Path(folder) / name).is_symlink())
