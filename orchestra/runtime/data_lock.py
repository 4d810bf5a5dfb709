"""Locks on a data folder: one runner and any number of other processes use it, or one restore.

There are two lock files in ``run/``. The runner holds ``up.lock``, so that only one runner exists.
Every process of Orchestra that uses the database holds ``use.lock`` shared until it ends. A restore
holds both locks exclusively. The operating system releases the locks of a process when it ends.
"""

import contextlib
import fcntl
import os
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any, TextIO

from django.conf import settings
from django.db import OperationalError

_shared: dict[Path, TextIO] = {}
_exclusive: set[Path] = set()
_guard = threading.Lock()


class DataFolderBusy(Exception):
    """Another process holds the lock; ``owner`` is its pid, or "unknown"."""

    def __init__(self, owner: str) -> None:
        super().__init__(owner)
        self.owner = owner


class RestoreRunning(OperationalError):
    """A restore is running, so the database must not be used; the message names the process."""


def lock_runner(data_dir: Path) -> TextIO:
    """Lock the data folder as its runner; return the open file, whose closing releases the lock.

    The lock survives ``exec``, by which ``manage.py up`` becomes the runner.

    Raises:
        DataFolderBusy: another runner or a restore holds the lock.
    """
    file = _open_lock_file(data_dir, "up.lock")
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        file.seek(0)
        owner = file.read().strip() or "unknown"
        file.close()
        raise DataFolderBusy(owner) from None
    file.truncate(0)
    file.write(str(os.getpid()))
    file.flush()
    return file


@contextlib.contextmanager
def exclusive(data_dir: Path) -> Iterator[None]:
    """Hold both locks within the ``with``, so that no other process of Orchestra uses the data
    folder.

    Raises:
        DataFolderBusy: another process uses it.
    """
    with lock_runner(data_dir), _open_lock_file(data_dir, "use.lock") as file:
        with _guard:
            if own := _shared.pop(data_dir, None):
                own.close()
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except OSError:
                raise DataFolderBusy(_describe_holder(file)) from None
            _exclusive.add(data_dir)
        try:
            yield
        finally:
            _exclusive.discard(data_dir)


def share(data_dir: Path) -> None:
    """Hold the shared lock until this process ends; a repeated call does nothing.

    A process that may not write to the folder takes no lock: on SQLite it cannot write the database
    either, and on PostgreSQL a restore counts the clients of the database.

    Raises:
        DataFolderBusy: a restore is running.
    """
    if data_dir in _shared or data_dir in _exclusive:
        return
    with _guard:
        if data_dir in _shared or data_dir in _exclusive:
            return
        try:
            file = _open_lock_file(data_dir, "use.lock")
        except OSError:  # the folder belongs to another account, or is read-only
            return
        try:
            fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except OSError:
            owner = _describe_holder(file)
            file.close()
            raise DataFolderBusy(owner) from None
        _shared[data_dir] = file


def share_or_exit() -> None:
    """Take the shared lock at the start of a long-running process.

    Raises:
        SystemExit: a restore is running; the process manager starts the process again.
    """
    try:
        share(settings.ORCHESTRA.data_dir)
    except DataFolderBusy as busy:
        sys.exit(_message_for(busy))


def on_connection(connection: Any, **_signal: object) -> None:
    """Receiver of ``connection_created``, so that every process that opens the database takes the
    shared lock.

    Raises:
        RestoreRunning: a restore is running.
    """
    try:
        share(settings.ORCHESTRA.data_dir)
    except DataFolderBusy as busy:
        connection.close()
        raise RestoreRunning(_message_for(busy)) from None


def _message_for(busy: DataFolderBusy) -> str:
    folder = settings.ORCHESTRA.data_dir
    return f"A backup is being restored into {folder} (process {busy.owner}). Try again when that has ended."


def _open_lock_file(data_dir: Path, name: str) -> TextIO:
    path = data_dir / "run" / name
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    return path.open("a+")


def _describe_holder(file: TextIO) -> str:
    """Return the pid and command line of a process that holds a lock on this file, or "unknown"."""
    import psutil  # imported late: only this error path needs it

    with contextlib.suppress(OSError, psutil.Error):
        wanted = f":{os.fstat(file.fileno()).st_ino}"
        for line in Path("/proc/locks").read_text().splitlines():
            words = line.split()  # "1: FLOCK ADVISORY READ 4711 08:01:1234 0 EOF"; a waiting process has "->"
            if words[1] == "FLOCK" and words[5].endswith(wanted) and words[4] != str(os.getpid()):
                return f"{words[4]}, {' '.join(psutil.Process(int(words[4])).cmdline())[:100]}"
    return "unknown"
