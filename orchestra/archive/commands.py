"""Retention: closed sessions and approvals are written to files and then deleted from the database.

A file is complete on the disk, read back and recorded in ``archives`` before the first of its rows
is deleted. Rows are deleted in small transactions, and only if they are still exactly what was
written. So a crash at any moment leaves each row in the database, in a file, or in both.
"""

import logging
import os
import socket
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from itertools import islice
from pathlib import Path
from typing import Any

import psutil
from django.conf import settings
from django.db import connection, transaction
from django.db.models import F, Q
from django.db.models.functions import Now

from orchestra.archive.files import PARTIAL, ArchiveWriter
from orchestra.archive.registry import ArchivedModel, RowsChanged, registry, rows_to_archive
from orchestra.backup.manifest import sha256_of
from orchestra.db import leases
from orchestra.errors import Conflict
from orchestra.models import Archive, Lease

logger = logging.getLogger(__name__)

ARCHIVER, LAST_RUN = "archiver", "archive"
LEASE = timedelta(minutes=10)
ROOTS_A_FILE = 20_000
PAUSE_S = 0.01  # between two deleting transactions, so that decisions do not wait for them


class ArchiverBusy(Conflict):
    """Another process is archiving."""

    code = "archiver_busy"


@dataclass(frozen=True, slots=True)
class Step:
    """The root rows that one transaction deletes, and how many rows of each table were written with
    them.
    """

    ids: tuple[Any, ...]
    counts: tuple[int, ...]


@dataclass(slots=True)
class Report:
    """What a run did: ``archived`` and ``pruned`` count rows by kind.

    ``skipped`` counts rows that changed while they were written; they stay in the database.
    """

    archived: dict[str, int] = field(default_factory=dict)
    pruned: dict[str, int] = field(default_factory=dict)
    files: list[str] = field(default_factory=list)
    skipped: int = 0


def count_due(age: timedelta) -> dict[str, int]:
    """Return, by name of the archived model, how many rows a run would archive now."""
    return {
        archived_model.name: archived_model.due_for_archive(age).count()
        for archived_model in registry.archived_models.values()
    }


def archive(age: timedelta) -> Report:
    """Archive and delete rows that were closed more than ``age`` ago, then run the pruners.

    Raises:
        ArchiverBusy: another process is archiving.
        ArchiveDamaged: a file could not be read back; none of its rows was deleted.
    """
    report = Report()
    owner = f"{socket.gethostname()}/{os.getpid()}"
    _take_lease(owner)
    try:
        _remove_partial_files()
        for archived_model in registry.archived_models.values():
            archived_model.prepare()
            report.archived[archived_model.name] = 0
            while _archive_file(archived_model, age, owner, report):
                pass
        report.pruned = {what: prune() for what, prune in registry.pruners.items()}
    finally:
        _drop_lease(owner)
    leases.touch(LAST_RUN)
    logger.info("archive finished: archived %s, pruned %s", report.archived, report.pruned)
    return report


def _archive_file(archived_model: ArchivedModel, age: timedelta, owner: str, report: Report) -> bool:
    """Write one file and delete its rows; return whether there may be more rows that are due."""
    ids = list(
        archived_model.due_for_archive(age).order_by("created_at", "pk").values_list("pk", flat=True)[:ROOTS_A_FILE]
    )
    if not ids:
        return False
    name = f"{datetime.now(UTC):%Y/}{archived_model.name}-{_stamp()}.jsonl.gz"
    written = ArchiveWriter.create(settings.KEEPING.archive_dir / name)
    steps = []
    for some in _steps(ids, archived_model.rows_per_transaction):
        steps.append(Step(some, tuple(written.add(rows) for rows in rows_to_archive(archived_model, some))))
        _keep_lease(owner)
    written.finish()
    file = Archive.objects.create(
        shelf=archived_model.name,
        name=name,
        size=written.path.stat().st_size,
        sha256=sha256_of(written.path),
        counts=dict(+written.counts),
        roots=len(ids),
    )
    gone = 0
    for step in steps:
        gone += _delete(archived_model, age, file, step)
        _keep_lease(owner)
        time.sleep(PAUSE_S)
    report.files.append(name)
    report.archived[archived_model.name] += gone
    report.skipped += len(ids) - gone
    return gone > 0 and len(ids) == ROOTS_A_FILE


def _delete(archived_model: ArchivedModel, age: timedelta, file: Archive, step: Step) -> int:
    """Delete the step's rows and return how many; 0 if they changed since, which leaves them to the
    next run.
    """
    try:
        with transaction.atomic():
            roots = archived_model.due_for_archive(age).filter(pk__in=list(step.ids)).select_for_update()
            if len(roots.values_list("pk", flat=True)) != len(step.ids):
                raise RowsChanged
            rows = rows_to_archive(archived_model, step.ids)
            archived_model.before_delete(file, rows)
            for some, number in zip(reversed(rows), reversed(step.counts), strict=True):
                # delete() would load every row to find what it cascades to, which `rows` already
                # names.
                if some._raw_delete(connection.alias) != number:
                    raise RowsChanged
            Archive.objects.filter(pk=file.pk).update(deleted=F("deleted") + len(step.ids))
    except RowsChanged:
        logger.info("archive: %d %s changed while they were written, and stay", len(step.ids), archived_model.name)
        return 0
    return len(step.ids)


def _steps(ids: Sequence[Any], size: int) -> Iterator[tuple[Any, ...]]:
    left = iter(ids)
    while some := tuple(islice(left, size)):
        yield some


def _remove_partial_files() -> None:
    """Remove files of an archiver that was killed; their rows were not deleted."""
    for path in Path(settings.KEEPING.archive_dir).glob(f"*/*{PARTIAL}"):
        path.unlink()


def _take_lease(owner: str) -> None:
    Lease.objects.bulk_create([Lease(name=ARCHIVER)], ignore_conflicts=True)
    held = Lease.objects.get(name=ARCHIVER)
    over = Q(expires_at=None) | Q(expires_at__lte=Now())
    if _is_dead(held.owner):
        over |= Q(owner=held.owner)
    free = Lease.objects.filter(over, name=ARCHIVER)
    if not free.update(owner=owner, expires_at=Now() + LEASE, fence=F("fence") + 1):
        raise ArchiverBusy("Another process is archiving now. Try again when it has finished.")


def _is_dead(owner: str) -> bool:
    """Return whether ``owner`` was a process of this machine that no longer runs."""
    host, _, pid = owner.rpartition("/")
    return host == socket.gethostname() and pid.isdigit() and not psutil.pid_exists(int(pid))


def _keep_lease(owner: str) -> None:
    Lease.objects.filter(name=ARCHIVER, owner=owner).update(expires_at=Now() + LEASE)


def _drop_lease(owner: str) -> None:
    Lease.objects.filter(name=ARCHIVER, owner=owner).update(owner="", expires_at=None)


def _stamp() -> str:
    now = datetime.now(UTC)
    return f"{now:%Y%m%dT%H%M%S}{now.microsecond:06d}Z"
