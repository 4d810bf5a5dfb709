import os
from pathlib import Path


def flush(path: Path) -> None:
    """Write a file or a folder's entries to the disk, so that they survive a power failure."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
