"""Commands that take, verify and restore backups."""

import logging
import shutil
from collections import defaultdict
from collections.abc import Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Protocol

from django.conf import settings
from django.core.management import call_command
from django.db import DatabaseError, connection, transaction
from django.db.migrations.loader import MigrationLoader
from django.db.migrations.recorder import MigrationRecorder

from orchestra.backup import postgres, sqlite
from orchestra.backup.errors import BackupRefused
from orchestra.backup.files import flush
from orchestra.backup.manifest import DAMAGED, Manifest, key_fingerprint, sha256_of
from orchestra.backup.signals import copy_checks, database_restored
from orchestra.db import fencing, notify
from orchestra.runtime import data_lock

logger = logging.getLogger(__name__)


class Engine(Protocol):
    """The database-specific part of a backup; implemented by the modules ``sqlite`` and
    ``postgres``.
    """

    FILE: str

    def server(self) -> str: ...
    def snapshot(self, folder: Path) -> AbstractContextManager[None]: ...
    def scratch(self, folder: Path, purpose: str) -> AbstractContextManager[str]: ...
    def integrity(self) -> Iterator[str]: ...
    def require_no_clients(self) -> None: ...
    def replace_database(self, copy: str, stamp: str) -> str: ...


@dataclass(frozen=True, slots=True)
class Restored:
    """The result of a restore.

    ``kept`` says where the previous data are. ``messages`` are sentences about what the apps
    changed.
    """

    manifest: Manifest
    epoch: int
    kept: str
    messages: list[str]


def take_backup(directory: Path) -> Path:
    """Write a backup below ``directory`` and return its folder; Orchestra may be running.

    The folder gets its name only when the backup is complete.

    Raises:
        BackupRefused: the database's own tools are missing or failed.
    """
    stamp, began = _stamp(), datetime.now(UTC)
    folder, partial = directory / f"orchestra-{stamp}", directory / f".orchestra-{stamp}.partial"
    partial.mkdir(mode=0o700, parents=True)
    try:
        engine = _engine()
        with engine.snapshot(partial):
            counts, migrations, fence_epoch = _counts(), _applied(), fencing.current_epoch()
        file = partial / engine.FILE
        Manifest(
            engine=connection.vendor,
            server=engine.server(),
            taken_at=began.isoformat(timespec="seconds"),
            file=file.name,
            size=file.stat().st_size,
            sha256=sha256_of(file),
            counts=counts,
            migrations=migrations,
            fence_epoch=fence_epoch,
            key_fingerprint=key_fingerprint(),
        ).write(partial)
        flush(partial)
        partial.rename(folder)
        flush(directory)
    except BaseException:
        shutil.rmtree(partial, ignore_errors=True)
        raise
    logger.info("backup written to %s", folder)
    return folder


def inspect(folder: Path) -> Manifest:
    """Return the manifest after checking signature, engine, migrations and files; no database is
    used.

    Raises:
        BackupRefused: the backup is damaged, not Orchestra's, newer than this program, of another
            engine, or made with another key.
    """
    manifest = Manifest.read(folder)
    if manifest.engine != connection.vendor:
        raise BackupRefused(f"The backup is of {manifest.engine}, this installation runs on {connection.vendor}.")
    unknown = _unknown_migrations(manifest)
    if unknown:
        raise BackupRefused(f"The backup was made by a newer Orchestra (it has {unknown[0]}); update this one first.")
    manifest.check_files(folder)
    return manifest


def verify_backup(folder: Path) -> Manifest:
    """Load a backup into a temporary copy and check every row; Orchestra may be running.

    Raises:
        BackupRefused: a check failed.
    """
    manifest = inspect(folder)
    with _engine().scratch(folder, "verify"):
        _check_copy(manifest)
    return manifest


def restore_backup(folder: Path, *, keep_rules: bool) -> Restored:
    """Replace the database by a backup, and keep the previous database under another name.

    All steps but the last work on a copy. If the process is killed at any moment, the database is
    either the complete old one or the complete restored one. With ``keep_rules``, standing rules
    with a directory or global scope apply again.

    Raises:
        BackupRefused: the backup failed a check, or Orchestra is running; the database is
            unchanged.
    """
    manifest = inspect(folder)
    engine = _engine()
    with _exclusive_data_folder():
        known = _current_epoch_or_zero()
        engine.require_no_clients()
        with engine.scratch(folder, "restore") as copy:
            _check_copy(manifest)
            with transaction.atomic(), notify.suppressed():
                new_epoch = fencing.start_epoch(known, manifest.fence_epoch)
                responses = database_restored.send(
                    sender=None, epoch=new_epoch, taken_at=manifest.taken_at, keep_rules=keep_rules
                )
            kept = engine.replace_database(copy, _stamp())
    logger.warning("restored from the backup of %s; fence epoch %d", manifest.taken_at, new_epoch)
    return Restored(manifest, new_epoch, kept, [message for _, message in responses if message])


@contextmanager
def _exclusive_data_folder() -> Iterator[None]:
    """Hold the data folder exclusively.

    Raises:
        BackupRefused: a process of Orchestra uses the folder.
    """
    with ExitStack() as held:
        try:
            held.enter_context(data_lock.exclusive(settings.ORCHESTRA.data_dir))
        except data_lock.DataFolderBusy as busy:
            raise BackupRefused(f"Orchestra is running (process {busy.owner}). Stop it first.") from None
        yield


def _engine() -> Engine:
    return postgres if connection.vendor == "postgresql" else sqlite


def _stamp() -> str:
    now = datetime.now(UTC)
    return f"{now:%Y%m%dT%H%M%S}{now.microsecond // 1000:03d}Z"


def _counts() -> dict[str, int]:
    """Return the number of rows of every table."""
    with connection.cursor() as cursor:
        counts = {}
        for table in sorted(connection.introspection.table_names(cursor)):
            cursor.execute(f"SELECT count(*) FROM {connection.ops.quote_name(table)}")  # noqa: S608 - its own name
            counts[table] = int(cursor.fetchone()[0])
    return counts


def _applied() -> dict[str, list[str]]:
    applied: defaultdict[str, list[str]] = defaultdict(list)
    for app, name in sorted(MigrationRecorder(connection).applied_migrations()):
        applied[app].append(name)
    return dict(applied)


def _unknown_migrations(manifest: Manifest) -> list[str]:
    loader = MigrationLoader(None, replace_migrations=False)
    known = set(loader.disk_migrations)
    known |= {old for migration in loader.disk_migrations.values() for old in migration.replaces}
    return [f"{app}.{name}" for app, names in manifest.migrations.items() for name in names if (app, name) not in known]


def _check_copy(manifest: Manifest) -> None:
    """Check the copy, which is the default database here, against the manifest, and migrate it.

    Raises:
        BackupRefused: the copy is damaged, or differs from the manifest.
    """
    try:
        problems = list(_engine().integrity())
        if not problems and (_counts(), _applied()) != (manifest.counts, manifest.migrations):
            problems = ["its tables are not those that the manifest counts"]
        if not problems:
            call_command("migrate", interactive=False, verbosity=0)
            problems = [problem for check in copy_checks.values() for problem in check()]
    except DatabaseError as error:
        problems = [str(error)]
    if problems:
        raise BackupRefused(DAMAGED.format("; ".join(problems[:3])), problems=problems[:100])


def _current_epoch_or_zero() -> int:
    """Return the epoch of the database that is replaced, or 0 if it cannot be read."""
    try:
        return fencing.current_epoch()
    except DatabaseError:
        return 0
