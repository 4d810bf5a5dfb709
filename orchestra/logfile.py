"""The log file: plain appending, a new file each day, old ones compressed and in the end deleted.

One process writes it, the runner; `logging`'s own rotating handler loses lines when several do.
"""

import gzip
import shutil
import threading
import time
from contextlib import suppress
from pathlib import Path

DAY_S = 86400


class LogFile:
    """Appends lines to ``path``; yesterday's lines move to ``<path>.<date>.gz``, of which ``days`` are kept.

    Days are UTC, as the times in the lines. Safe to use from several threads. The file is opened for each line:
    it may be moved or deleted under us. A full disk loses lines, never the caller.
    """

    def __init__(self, path: Path, *, days: int) -> None:
        self._path = path
        self._days = days
        self._lock = threading.Lock()
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        self._day = _day_of(path)

    def write(self, line: str) -> None:
        """Append one line, without its end; rotate first if the day is another one."""
        with self._lock, suppress(OSError):
            today = int(time.time()) // DAY_S
            if self._day not in (None, today):
                self._rotate()
            self._day = today
            with self._path.open("ab") as file:
                file.write(line.encode(errors="replace") + b"\n")

    def _rotate(self) -> None:
        finished = time.strftime("%Y-%m-%d", time.gmtime((self._day or 0) * DAY_S))
        with suppress(FileNotFoundError):
            self._path.rename(_unused(self._path.with_name(f"{self._path.name}.{finished}")))
        threading.Thread(target=self._tidy, daemon=True).start()

    def _tidy(self) -> None:
        """Compress what is not yet compressed, also what an earlier crash left, and keep the newest ``days``."""
        with suppress(OSError):
            for plain in self._rotated():
                if plain.suffix != ".gz":
                    _compress(plain)
            for old in self._rotated()[: -self._days or None]:
                old.unlink()

    def _rotated(self) -> list[Path]:
        return sorted(path for path in self._path.parent.glob(f"{self._path.name}.*") if path.suffix != ".part")


def _day_of(path: Path) -> int | None:
    try:
        return int(path.stat().st_mtime) // DAY_S
    except FileNotFoundError:
        return None


def _unused(path: Path) -> Path:
    """``path``, or with a number behind it where a clock that jumped has been before."""
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
