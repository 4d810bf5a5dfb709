"""SQLite backups: ``VACUUM INTO`` writes them, and a restore replaces the database file by a
rename.
"""

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
    """Return the name and version of the database library."""
    return f"SQLite {sqlite3.sqlite_version}"


@contextmanager
def snapshot(folder: Path) -> Iterator[None]:
    """Copy a snapshot of the database into ``folder``; the block of the ``with`` reads the copy.

    Writers do not wait.
    """
    with connection.cursor() as cursor:
        cursor.execute("VACUUM INTO %s", [str(folder / FILE)])
    with _opened_copy(folder / FILE):
        yield
    flush(folder / FILE)


@contextmanager
def scratch(folder: Path, purpose: str) -> Iterator[str]:
    """Copy a backup to a file that is the default database within the ``with``; yield its path.

    The file is in the folder of the database, so that ``replace_database`` can rename it. A second
    copy for the same purpose replaces the first.
    """
    path = _live().with_name(f"{_live().name}.{purpose}")
    _remove(path)  # left behind by a killed process
    try:
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        shutil.copyfile(folder / FILE, path)
        with _opened_copy(path):
            yield str(path)
    finally:
        _remove(path)


def integrity() -> Iterator[str]:
    """Yield the problems that SQLite's own checks find in the copy."""
    with connection.cursor() as cursor:
        for pragma in ("integrity_check", "foreign_key_check"):
            for row in cursor.execute(f"PRAGMA {pragma}").fetchall():
                if row != ("ok",):
                    yield f"{pragma}: {' '.join(str(value) for value in row)}"


def require_no_clients() -> None:
    """Check that no process has the database open, as far as this account can see.

    Raises:
        BackupRefused: a process has it open.
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
    """Replace the database file by the copy; return where the previous file is kept, or "" if there
    was none.

    The rename is atomic: before it the database is the old one, after it the new one.
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
    """Write the content of the write-ahead log into the file.

    SQLite would otherwise apply a remaining log to the new file.
    """
    try:
        with closing(sqlite3.connect(live, timeout=1, isolation_level=None)) as last:
            last.execute("PRAGMA wal_checkpoint(TRUNCATE)")
            last.execute("PRAGMA journal_mode=DELETE")
    except sqlite3.OperationalError as error:
        raise BackupRefused(f"The database is in use ({error}). Stop Orchestra first.") from None
    except sqlite3.DatabaseError:  # damaged, which may be the reason for the restore: keep it unchanged
        for suffix in SIDE_FILES:
            with suppress(FileNotFoundError):
                Path(f"{live}{suffix}").replace(f"{kept}{suffix}")
    if Path(f"{live}-wal").exists():
        raise BackupRefused("The database is in use: its write-ahead log is open. Stop Orchestra first.")


def _live() -> Path:
    return Path(connections.settings[DEFAULT_DB_ALIAS]["NAME"])


@contextmanager
def _opened_copy(path: Path) -> Iterator[None]:
    """Open the copy without a write-ahead log, which would change the file."""
    options = {"transaction_mode": "IMMEDIATE", "init_command": "PRAGMA foreign_keys=ON;"}
    with override_database(NAME=str(path), OPTIONS=options):
        yield


def _remove(path: Path) -> None:
    for suffix in ("", *SIDE_FILES):
        Path(f"{path}{suffix}").unlink(missing_ok=True)
