"""One owner of a data folder at a time: the runner, or a restore."""

import fcntl
import os
from pathlib import Path
from typing import TextIO


class DataFolderBusy(Exception):
    """Another process holds the folder; ``owner`` is its pid as it wrote it down, or "unknown"."""

    def __init__(self, owner: str) -> None:
        super().__init__(owner)
        self.owner = owner


def take(data_dir: Path) -> TextIO:
    """Lock the data folder for this process and what it becomes; the kernel lets go when the file is closed.

    Raises:
        DataFolderBusy: another one holds it.
    """
    path = data_dir / "run" / "up.lock"
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    file = path.open("a+")
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
