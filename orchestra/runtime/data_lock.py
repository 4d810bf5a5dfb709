"""Who uses a data folder: one runner, any number of processes beside it, or a restore alone.

Two lock files in ``run/``. The runner holds ``up.lock``, so that there is one. Every process of Orchestra that touches
the database holds ``use.lock`` shared, from then to its end; a restore holds both, alone. The kernel lets go of all of
them with the process, however that ends.
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
    """Another process holds the folder; ``owner`` is its pid as far as that is known, or "unknown"."""

    def __init__(self, owner: str) -> None:
        super().__init__(owner)
        self.owner = owner


class RestoreRunning(OperationalError):
    """The database is not to be touched now; the message says why and what to do."""


def lock_runner(data_dir: Path) -> TextIO:
    """Lock the data folder for this process and what it becomes; the kernel lets go when the file is closed.

    Raises:
        DataFolderBusy: another one holds it.
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
    """Within this block no other process of Orchestra uses the data folder, and none can begin to.

    Raises:
        DataFolderBusy: one does.
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
    """Note for the rest of this process's life that it uses the data folder; harmless to repeat.

    Who may not write there is left out: on SQLite it cannot write the database either, PostgreSQL counts its clients.

    Raises:
        DataFolderBusy: a restore is going on.
    """
    if data_dir in _shared or data_dir in _exclusive:
        return
    with _guard:
        if data_dir in _shared or data_dir in _exclusive:
            return
        try:
            file = _open_lock_file(data_dir, "use.lock")
        except OSError:  # another account's, or read-only
            return
        try:
            fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except OSError:
            owner = _describe_holder(file)
            file.close()
            raise DataFolderBusy(owner) from None
        _shared[data_dir] = file


def share_or_exit() -> None:
    """Called once at the start of a process that stays: it does not start during a restore.

    Raises:
        SystemExit: a restore is going on; the supervisor of the process starts it again.
    """
    try:
        share(settings.ORCHESTRA.data_dir)
    except DataFolderBusy as busy:
        sys.exit(_message_for(busy))


def on_connection(connection: Any, **_signal: object) -> None:
    """Receiver of ``connection_created``: whatever opens the database uses it, a shell or a drill too.

    Raises:
        RestoreRunning: a restore is going on.
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
    """The pid of a process that holds a lock on this file, with its command line, as far as the kernel tells."""
    import psutil  # every command would pay for it

    with contextlib.suppress(OSError, psutil.Error):
        wanted = f":{os.fstat(file.fileno()).st_ino}"
        for line in Path("/proc/locks").read_text().splitlines():
            words = line.split()  # "1: FLOCK ADVISORY READ 4711 08:01:1234 0 EOF"; one that waits has "->" in it
            if words[1] == "FLOCK" and words[5].endswith(wanted) and words[4] != str(os.getpid()):
                return f"{words[4]}, {' '.join(psutil.Process(int(words[4])).cmdline())[:100]}"
    return "unknown"
