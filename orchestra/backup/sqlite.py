"""SQLite: copies by ``VACUUM INTO``, put in place by one rename."""

import os
import shutil
import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager, suppress
from pathlib import Path

import psutil
from django.db import DEFAULT_DB_ALIAS, connection, connections

from orchestra.backup.database_override import override_database
from orchestra.backup.errors import BackupRefused
from orchestra.backup.files import flush

FILE = "database.sqlite3"
SIDE_FILES = ("-wal", "-shm", "-journal")


def server() -> str:
    """What keeps the data."""
    return f"SQLite {sqlite3.sqlite_version}"


@contextmanager
def snapshot(folder: Path) -> Iterator[None]:
    """Copy the database as of one moment into ``folder``; within the ``with`` that copy stands in. Writers go on."""
    with connection.cursor() as cursor:
        cursor.execute("VACUUM INTO %s", [str(folder / FILE)])
    with _opened_copy(folder / FILE):
        yield
    flush(folder / FILE)


@contextmanager
def scratch(folder: Path, purpose: str) -> Iterator[str]:
    """A copy of a backup that may be changed, standing in for the database; yields its name for ``put_in_place``.

    It lies beside the database, so that a rename can put it there. A second one for the same purpose takes its place.
    """
    path = _live().with_name(f"{_live().name}.{purpose}")
    _remove(path)  # of one that was killed
    try:
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        shutil.copyfile(folder / FILE, path)
        with _opened_copy(path):
            yield str(path)
    finally:
        _remove(path)


def integrity() -> Iterator[str]:
    """What SQLite itself finds wrong with the copy."""
    with connection.cursor() as cursor:
        for pragma in ("integrity_check", "foreign_key_check"):
            for row in cursor.execute(f"PRAGMA {pragma}").fetchall():
                if row != ("ok",):
                    yield f"{pragma}: {' '.join(str(value) for value in row)}"


def require_no_clients() -> None:
    """
    Raises:
        BackupRefused: a process has the database open, as far as this account can see.
    """
    connection.close()
    live = str(_live().resolve())
    for process in psutil.process_iter():
        with suppress(psutil.Error, OSError):
            if any(file.path == live for file in process.open_files()):
                raise BackupRefused(
                    f"Orchestra is running: process {process.pid} ({' '.join(process.cmdline())[:100]}) has the "
                    "database open. Stop it first."
                )


def replace_database(copy: str, stamp: str) -> str:
    """Make the copy the database; what was there is kept. Returns where, or nothing if there was none.

    At every moment there is a whole database: the old one until the rename, then the new one.
    """
    path, live = Path(copy), _live()
    connection.close()
    kept = live.with_name(f"{live.name}.before-restore-{stamp}")
    flush(path)
    if live.exists():
        _checkpoint_and_close(live, kept)
        os.link(live, kept)
    flush(live.parent)
    path.replace(live)
    flush(live.parent)
    return str(kept) if kept.exists() else ""


def _checkpoint_and_close(live: Path, kept: Path) -> None:
    """Bring what is in the write-ahead log into the file: a log that stayed would be taken for the new file's."""
    try:
        with closing(sqlite3.connect(live, timeout=1, isolation_level=None)) as last:
            last.execute("PRAGMA wal_checkpoint(TRUNCATE)")
            last.execute("PRAGMA journal_mode=DELETE")
    except sqlite3.OperationalError as error:
        raise BackupRefused(f"The database is in use ({error}). Stop Orchestra first.") from None
    except sqlite3.DatabaseError:  # damaged, which may be why somebody restores: it is kept as it is
        for suffix in SIDE_FILES:
            with suppress(FileNotFoundError):
                Path(f"{live}{suffix}").replace(f"{kept}{suffix}")
    if Path(f"{live}-wal").exists():
        raise BackupRefused("The database is in use: its write-ahead log is open. Stop Orchestra first.")


def _live() -> Path:
    return Path(connections.settings[DEFAULT_DB_ALIAS]["NAME"])


@contextmanager
def _opened_copy(path: Path) -> Iterator[None]:
    """Without the write-ahead log, which would change the file."""
    options = {"transaction_mode": "IMMEDIATE", "init_command": "PRAGMA foreign_keys=ON;"}
    with override_database(NAME=str(path), OPTIONS=options):
        yield


def _remove(path: Path) -> None:
    for suffix in ("", *SIDE_FILES):
        Path(f"{path}{suffix}").unlink(missing_ok=True)
