"""What the guardrails protect: Orchestra's data folder, code, port and sockets, and the sockets of
the CLI.
"""
# The paths here are text that an agent wrote; pathlib would tidy away what matters.
# ruff: noqa: PTH118

import os
import tempfile
from dataclasses import dataclass
from functools import lru_cache

INBOX_FOLDER = "cc-socks"  # CLI 2.1.330: a running CLI listens on <temporary folder>/cc-socks/<id>.sock
TEMPORARY_FOLDERS = ("/tmp", "/var/tmp", "/private/tmp", "/dev/shm", "/run/shm")  # noqa: S108 - names, nothing is made
TEMPORARY_NAMES = frozenset({"tmp", "temp", "shm", "run", "t"})


@dataclass(frozen=True, slots=True, kw_only=True)
class Surroundings:
    """The protected paths and addresses, and the exceptions for one call.

    ``private_paths`` are further files and folders of Orchestra, such as a socket outside the data
    folder. ``plan_file`` is the real path of the one file that the call may write without a
    decision: the CLI's plan file, in plan mode.
    """

    data_dir: str
    code_dir: str
    working_roots: tuple[str, ...]
    port: int
    hostnames: tuple[str, ...] = ("localhost", "ip6-localhost", "localhost.localdomain")
    private_paths: tuple[str, ...] = ()
    plan_file: str = ""


@lru_cache(maxsize=8)
def own_paths(around: Surroundings) -> tuple[str, ...]:
    """Return the real paths of Orchestra's own files and folders."""
    manage = os.path.join(around.code_dir, "manage.py")
    return tuple(os.path.realpath(path) for path in (around.data_dir, manage, *around.private_paths))


@lru_cache(maxsize=8)
def data_folder(around: Surroundings) -> str:
    """Return the real path of the data folder, which contains secrets and transcripts."""
    return os.path.realpath(around.data_dir)


@lru_cache(maxsize=8)
def _roots_within(around: Surroundings) -> tuple[str, ...]:
    """Return the working roots inside our folders; agents may use these.

    A root that contains our folders does not count.
    """
    roots = [os.path.realpath(root) for root in around.working_roots]
    return tuple(root for root in roots if any(root.startswith(own + "/") for own in own_paths(around)))


@lru_cache(maxsize=8)
def goals(around: Surroundings) -> tuple[tuple[str, ...], ...]:
    """Return our paths split into parts, to compare with patterns."""
    return tuple(tuple(own.split("/")) for own in own_paths(around))


@lru_cache(maxsize=8)
def inbox_goals(temporary: str) -> tuple[tuple[str, ...], ...]:
    """Return a socket path of the CLI in each temporary folder, split into parts, to compare with
    patterns.
    """
    folders = (*TEMPORARY_FOLDERS, temporary)
    return tuple(tuple(f"{folder}/{INBOX_FOLDER}/1.sock".split("/")) for folder in folders)


def inboxes() -> tuple[tuple[str, ...], ...]:
    return inbox_goals(tempfile.gettempdir())


def is_ours(real: str, around: Surroundings) -> bool:
    """Whether a real path is Orchestra's own and in no working root."""
    if around.plan_file and real == around.plan_file:
        return False
    if not any(real == own or real.startswith(own + "/") for own in own_paths(around)):
        return False
    return not any(real == root or real.startswith(root + "/") for root in _roots_within(around))


def is_inbox(real: str, top: str) -> bool:
    """Whether a path is, or is in, a folder of the CLI's sockets below a temporary folder.

    A folder of that name below the working directory ``top`` belongs to the agent, unless ``top``
    is a temporary folder.
    """
    if INBOX_FOLDER not in real:
        return False
    head, found, _ = f"{real}/".partition(f"/{INBOX_FOLDER}/")
    is_own = f"{head}/".startswith(top.rstrip("/") + "/") and not _is_temporary_folder(top)
    is_temporary = not TEMPORARY_NAMES.isdisjoint(head.casefold().split("/")) or head.startswith(tempfile.gettempdir())
    return bool(found) and is_temporary and not is_own


def _is_temporary_folder(folder: str) -> bool:
    return folder in ("/", *TEMPORARY_FOLDERS, tempfile.gettempdir())


def holds_ours(folder: str, around: Surroundings) -> bool:
    """Whether ``folder``, a real path, contains one of Orchestra's own paths, or is one."""
    return bool(folder) and any(f"{own}/".startswith(folder.rstrip("/") + "/") for own in own_paths(around))
