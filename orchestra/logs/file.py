"""The log file: processes append lines; each day has a new file; old files are compressed and later
deleted.

Any number of processes may write it: under ``up`` only the runner does, in containers and services
each process does. The rotating handler of `logging` loses lines then, since one process renames the
file that another still writes.
"""

import fcntl
import gzip
import os
import shutil
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

DAY_S = 86400


class LogFile:
    """Appends lines to ``path``; yesterday's lines move to ``<path>.<date>.gz``, of which ``days``
    are kept.

    Days are in UTC, like the times in the lines. Several threads and processes may write. The file
    is opened for each line, since it may be moved or deleted at any time. On a full disk lines are
    lost, and no error is raised.
    """

    def __init__(self, path: Path, *, days: int) -> None:
        self._path = path
        self._days = days
        self._lock = threading.Lock()
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        self._between_processes = path.with_name(f".{path.name}.lock")

    def write(self, line: str) -> None:
        """Append ``line``, which has no line end; rotate first if the last line is of another day."""
        with self._lock, suppress(OSError):
            if self._is_old():
                self._rotate()
            # the shared lock keeps the file from being moved and compressed between opening and
            # writing
            with _held(self._between_processes, fcntl.LOCK_SH), self._path.open("ab", buffering=0) as file:
                file.write(line.encode(errors="replace") + b"\n")

    def _is_old(self) -> bool:
        """Whether the last line is of another day."""
        try:
            return int(self._path.stat().st_mtime) // DAY_S != int(time.time()) // DAY_S
        except FileNotFoundError:
            return False

    def _rotate(self) -> None:
        with _held(self._between_processes, fcntl.LOCK_EX), suppress(FileNotFoundError):
            if not self._is_old():
                return  # another process has rotated it
            finished = time.strftime("%Y-%m-%d", time.gmtime(self._path.stat().st_mtime))
            self._path.rename(_unused(self._path.with_name(f"{self._path.name}.{finished}")))
        threading.Thread(target=self._tidy, daemon=True).start()

    def _tidy(self) -> None:
        """Compress rotated files, including those that an earlier crash left, and keep the newest
        ``days`` of them.
        """
        with suppress(OSError), _held(self._between_processes.with_suffix(".tidy"), fcntl.LOCK_EX):
            for plain in self._rotated():
                if plain.suffix != ".gz":
                    _compress(plain)
            for old in self._rotated()[: -self._days or None]:
                old.unlink()

    def _rotated(self) -> list[Path]:
        return sorted(path for path in self._path.parent.glob(f"{self._path.name}.*") if path.suffix != ".part")


@contextmanager
def _held(path: Path, how: int) -> Iterator[None]:
    """Hold a lock between processes; the kernel releases it when the holder dies."""
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o600)
    try:
        fcntl.flock(descriptor, how)
        yield
    finally:
        os.close(descriptor)


def _unused(path: Path) -> Path:
    """Return ``path``, with a number if the name is taken, as after a jump of the clock."""
    number, free = 1, path
    while free.exists() or free.with_name(f"{free.name}.gz").exists():
        number, free = number + 1, path.with_name(f"{path.name}-{number}")
    return free


def _compress(plain: Path) -> None:
    packed = plain.with_name(f"{plain.name}.gz")
    part = plain.with_name(f"{packed.name}.part")
    with plain.open("rb") as source, gzip.open(part, "wb") as target:
        shutil.copyfileobj(source, target)
    part.replace(packed)
    plain.unlink()
