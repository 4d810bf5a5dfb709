"""The description of a backup: ``manifest.json``, signed with the installation's key."""

import hashlib
import hmac
import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Self

from django.utils.crypto import salted_hmac

from orchestra.backup.errors import BackupRefused

NAME = "manifest.json"
PRODUCT, FORMAT = "orchestra", 1
LARGEST = 16 * 1024 * 1024  # bytes
CHUNK = 1024 * 1024
DAMAGED = "The backup is damaged: {}. Use another one."


@dataclass(frozen=True, slots=True, kw_only=True)
class Manifest:
    """The content of ``manifest.json``.

    ``counts`` are rows by table, ``migrations`` the applied ones by app, ``size`` is in bytes, and
    ``taken_at`` is the time of the snapshot (ISO 8601). ``key_fingerprint`` identifies the secret
    key without revealing it.
    """

    product: str = PRODUCT
    format: int = FORMAT
    engine: str
    server: str
    taken_at: str
    file: str
    size: int
    sha256: str
    counts: dict[str, int]
    migrations: dict[str, list[str]]
    fence_epoch: int
    key_fingerprint: str

    def write(self, folder: Path) -> None:
        """Write indented JSON with a signature over all fields."""
        facts = asdict(self)
        signed = facts | {"signature": _signature(facts)}
        (folder / NAME).write_text(json.dumps(signed, indent=2, ensure_ascii=True) + "\n")

    @classmethod
    def read(cls, folder: Path) -> Self:
        """Read the manifest of a backup and check that this installation may use the backup.

        Raises:
            BackupRefused: the manifest is missing, damaged, not Orchestra's, of a newer Orchestra,
                or made with another key.
        """
        facts = _facts(folder)
        if facts.get("product") != PRODUCT:
            raise BackupRefused(f"{folder} is not a backup of Orchestra.")
        if facts.get("format") != FORMAT:
            raise BackupRefused("The backup was made by a newer Orchestra; update this one first.")
        mine = key_fingerprint()
        if facts.get("key_fingerprint") != mine:
            raise BackupRefused(
                f"The backup was made with another key (fingerprint {str(facts.get('key_fingerprint'))[:16]}, this "
                f"installation's is {mine}). Put the secret key of that time back first: ORCHESTRA_SECRET_KEY, or "
                "secret_key in the data folder."
            )
        signature = str(facts.pop("signature", ""))
        if not hmac.compare_digest(signature.encode(), _signature(facts).encode()):
            raise BackupRefused(DAMAGED.format("its manifest does not carry its signature"))
        return cls(**facts)

    def check_files(self, folder: Path) -> None:
        """Check the files of the folder against the manifest.

        Raises:
            BackupRefused: a file is missing, unexpected or changed.
        """
        there = {path.name for path in folder.iterdir()}
        if there != {NAME, self.file}:
            raise BackupRefused(DAMAGED.format(f"it should hold {NAME} and {self.file}, and nothing else"))
        path = folder / self.file
        if not path.is_file() or path.stat().st_size != self.size:
            raise BackupRefused(DAMAGED.format(f"{self.file} should have {self.size} bytes"))
        if sha256_of(path) != self.sha256:
            raise BackupRefused(DAMAGED.format(f"{self.file} is not what was written (SHA-256)"))


def key_fingerprint() -> str:
    """Return a short digest that identifies the secret key without revealing it."""
    return salted_hmac("orchestra.backup.key", "", algorithm="sha256").hexdigest()[:16]


def sha256_of(path: Path) -> str:
    """Return the SHA-256 of a file as hexadecimal text; the file is read in chunks."""
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while chunk := file.read(CHUNK):
            digest.update(chunk)
    return digest.hexdigest()


def _facts(folder: Path) -> dict[str, Any]:
    path = folder / NAME
    try:
        if path.stat().st_size > LARGEST:
            raise ValueError("too long")
        facts = json.loads(path.read_bytes())
    except FileNotFoundError:
        raise BackupRefused(f"There is no backup in {folder}: it has no {NAME}.") from None
    except (OSError, ValueError, RecursionError):
        raise BackupRefused(DAMAGED.format("its manifest cannot be read")) from None
    if not isinstance(facts, dict):
        raise BackupRefused(DAMAGED.format("its manifest is no object"))
    return facts


def _signature(facts: dict[str, Any]) -> str:
    text = json.dumps(facts, sort_keys=True, separators=(",", ":"), ensure_ascii=True)
    return salted_hmac("orchestra.backup.manifest", text, algorithm="sha256").hexdigest()
