"""Verification of audit entries in archives: each must be there as it was sealed."""

import json
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any
from uuid import UUID

from approvals.audit.chain import content_sha256
from approvals.models import AuditEntry, AuditSeal
from orchestra.archive.files import ArchiveDamaged, raw_lines
from orchestra.backup.manifest import sha256_of
from orchestra.logs.redaction import HIDDEN
from orchestra.models import Archive

LABEL = AuditEntry._meta.label_lower
BATCH = 1000


@dataclass(slots=True)
class Findings:
    """The result of a verification.

    ``checked`` entries match their seals. In ``hidden`` ones a secret was redacted for the archive,
    so that they cannot be compared. ``absent`` maps the names of archives that are not in the
    folder to the number of their entries.
    """

    checked: int = 0
    hidden: int = 0
    absent: dict[str, int] = field(default_factory=dict)
    problems: list[str] = field(default_factory=list)


def check_archives(folder: Path) -> Findings:
    """Compare every archived audit entry with its seal.

    A missing file is reported as absent, not as a problem.
    """
    found = Findings()
    for archive in Archive.objects.order_by("created_at"):
        sealed = AuditSeal.objects.filter(archive=archive).count()
        path = folder / archive.name
        if not sealed:
            continue
        if not path.exists():
            found.absent[archive.name] = sealed
        elif sha256_of(path) != archive.sha256:
            found.problems.append(f"archive {archive.name} is not what was written")
        else:
            _check_file(archive, path, sealed, found)
    return found


def _check_file(archive: Archive, path: Path, sealed: int, found: Findings) -> None:
    met = 0
    try:
        for entries in _batches(path):
            seals = AuditSeal.objects.filter(entry__in=[entry.pk for entry in entries], archive=archive)
            contents = dict(seals.values_list("entry", "content_sha256"))
            met += len(contents)
            for entry in entries:
                if entry.pk not in contents:
                    continue  # it changed while the archive was written, so that a later archive took it
                if content_sha256(entry) == contents[entry.pk]:
                    found.checked += 1
                elif HIDDEN in f"{entry.reason}{entry.address}{entry.by}":
                    found.hidden += 1
                else:
                    found.problems.append(f"audit entry {entry.pk} is not in {archive.name} as it was sealed")
    except ArchiveDamaged as error:
        found.problems.append(error.detail)
    if met != sealed:
        found.problems.append(f"{archive.name} lacks {sealed - met} of its {sealed} audit entries")


def _batches(path: Path) -> Iterator[list[AuditEntry]]:
    some: list[AuditEntry] = []
    for line in raw_lines(path):
        row = json.loads(line)
        if row["model"] == LABEL:
            some.append(_entry(row))
            if len(some) == BATCH:
                yield some
                some = []
    yield some


def _entry(row: dict[str, Any]) -> AuditEntry:
    fields = dict(row["fields"])
    approval, at = fields.pop("approval"), datetime.fromisoformat(fields.pop("at"))
    return AuditEntry(pk=row["pk"], approval_id=approval and UUID(approval), at=at, **fields)
