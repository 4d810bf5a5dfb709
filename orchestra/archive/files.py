"""Archive files: gzipped JSON Lines, one row per line as Django's ``loaddata`` reads it."""

import gzip
import hashlib
import json
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any, Self

from django.core.serializers.json import DjangoJSONEncoder

from orchestra.archive.registry import Rows
from orchestra.backup.files import flush
from orchestra.backup.manifest import sha256_of
from orchestra.errors import OrchestraError
from orchestra.logs.redaction import scrub

CHUNK = 500
PARTIAL = ".partial"


class ArchiveDamaged(OrchestraError):
    """An archive file differs from what was written; none of its rows was deleted."""

    code = "archive_damaged"


class _Exact(DjangoJSONEncoder):
    """Writes times to the microsecond, because the digests of audit entries include them."""

    def default(self, value: Any) -> Any:
        return value.isoformat() if isinstance(value, datetime) else super().default(value)


@dataclass(slots=True)
class ArchiveWriter:
    """Writes one archive file. ``text`` is the SHA-256 of the lines before compression."""

    path: Path
    file: gzip.GzipFile
    counts: Counter[str] = field(default_factory=Counter)
    text: Any = field(default_factory=hashlib.sha256)

    @classmethod
    def create(cls, path: Path) -> Self:
        """Open a file that has the suffix ``.partial`` until ``finish`` renames it to ``path``."""
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        return cls(path, gzip.GzipFile(path.with_name(path.name + PARTIAL), "wb", compresslevel=6))

    def add(self, rows: Rows) -> int:
        """Write ``rows`` and return how many there were. Values that look like secrets are
        redacted.
        """
        number = 0
        for row in rows.iterator(chunk_size=CHUNK):
            line = (scrub(json.dumps(_plain(row), cls=_Exact, ensure_ascii=True)) + "\n").encode()
            self.text.update(line)
            self.file.write(line)
            number += 1
        self.counts[rows.model._meta.label_lower] += number
        return number

    def finish(self) -> None:
        """Flush the file to the disk, read it back, write its manifest and give it its final name.

        Raises:
            ArchiveDamaged: the content read back differs from what was written.
        """
        partial = self.path.with_name(self.path.name + PARTIAL)
        self.file.close()
        flush(partial)
        counts, text = Counter[str](), hashlib.sha256()
        for line in raw_lines(partial):
            text.update(line)
            counts[json.loads(line)["model"]] += 1
        if (+counts, text.digest()) != (+self.counts, self.text.digest()):
            raise ArchiveDamaged(f"{self.path.name} cannot be read back as it was written.")
        manifest = {
            "product": "orchestra", "format": 1, "file": self.path.name, "size": partial.stat().st_size,
            "sha256": sha256_of(partial), "text_sha256": text.hexdigest(), "counts": dict(+self.counts),
        }  # fmt: skip
        beside = manifest_of(self.path)
        beside.write_text(json.dumps(manifest, indent=2) + "\n")
        flush(beside)
        partial.rename(self.path)
        flush(self.path.parent)


def manifest_of(path: Path) -> Path:
    """Return the path of a file's manifest, which holds its row counts and checksums."""
    return path.with_name(path.name + ".manifest.json")


def raw_lines(path: Path) -> Iterator[bytes]:
    """Yield the lines of a file.

    Raises:
        ArchiveDamaged: the file is truncated or not in gzip format.
    """
    try:
        with gzip.open(path, "rb") as file:
            yield from file
    except (EOFError, OSError) as error:
        raise ArchiveDamaged(f"{path.name} cannot be read: {error}") from error


def _plain(row: Any) -> dict[str, Any]:
    """Return ``{"model", "pk", "fields"}`` as ``loaddata`` reads it."""
    values = {field.name: getattr(row, field.attname) for field in row._meta.concrete_fields if not field.primary_key}
    return {"model": row._meta.label_lower, "pk": row.pk, "fields": values}
