"""Files of a project that the CLI reads by itself once ``setting_sources`` opens them, before the policy is asked."""

import os
from collections.abc import Iterator
from pathlib import Path

from approvals.policy import inside, is_secret

MEMORY = ("CLAUDE.md", "CLAUDE.local.md", "AGENTS.md")
FOLDER = ".claude"


def setting_files_problem(directory: str) -> str:
    """Why the CLI may not read the settings in ``directory``; empty if it may.

    A symbolic link there would let a repository show the model any file of the account (CLI 2.1.330 follows links of
    memory files, commands and agents). Memory files in folders below are not looked at; see docs/security.md.
    """
    for path in _read_by_itself(Path(directory)):
        real = os.path.realpath(path)
        if not inside(real, directory) or is_secret(real):
            name = path.relative_to(directory)
            return f"{name} leads to a file that the agent may not read without asking; remove the link."
    return ""


def _read_by_itself(top: Path) -> Iterator[Path]:
    yield from (top / name for name in MEMORY if (top / name).is_symlink())
    yield top / FOLDER
    for folder, folders, files in os.walk(top / FOLDER):  # does not follow links, but names them
        yield from (Path(folder) / name for name in (*folders, *files) if (Path(folder) / name).is_symlink())
