"""Copies the CLI's own conversation files while a session is parked.

The CLI keeps a dialog in ``<config>/projects/<directory>/<session id>.jsonl`` and a folder of the
same name beside it (measured on 2.1.330; its format is its own). A parked session must outlive a
cleaned home.
"""

import logging
import shutil
from collections.abc import Mapping
from pathlib import Path
from uuid import UUID

from django.conf import settings

logger = logging.getLogger(__name__)


def keep(conversation: UUID, env: Mapping[str, str]) -> bool:
    """Copy the files of a conversation; return False if there are none, or the disk failed."""
    source = _file(conversation, env)
    if source is None:
        return False
    store = _store(conversation)
    try:
        shutil.rmtree(store, ignore_errors=True)
        store.mkdir(mode=0o700, parents=True)
        (store / "project").write_text(source.parent.name)
        shutil.copy2(source, store / source.name)
        if source.with_suffix("").is_dir():
            shutil.copytree(source.with_suffix(""), store / str(conversation))
    except OSError as error:
        logger.warning("conversation %s could not be copied: %s", conversation, error.strerror)
        return False
    return True


def restore(conversation: UUID, env: Mapping[str, str]) -> bool:
    """Put the copy back if the CLI has lost its files; return whether it was put back."""
    store = _store(conversation)
    if _file(conversation, env) is not None or not (store / f"{conversation}.jsonl").is_file():
        return False
    folder = _projects(env) / (store / "project").read_text()
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    if (store / str(conversation)).is_dir():
        shutil.copytree(store / str(conversation), folder / str(conversation), dirs_exist_ok=True)
    shutil.copy2(store / f"{conversation}.jsonl", folder / f"{conversation}.jsonl")
    logger.warning("conversation %s: the CLI had lost it; the copy was put back", conversation)
    return True


def forget(conversation: UUID) -> None:
    """Delete the copy: the dialog goes on or has ended."""
    shutil.rmtree(_store(conversation), ignore_errors=True)


def _file(conversation: UUID, env: Mapping[str, str]) -> Path | None:
    return next(_projects(env).glob(f"*/{conversation}.jsonl"), None)


def _projects(env: Mapping[str, str]) -> Path:
    config = env.get("CLAUDE_CONFIG_DIR")
    return (Path(config) if config else Path(env.get("HOME", "/")) / ".claude") / "projects"


def _store(conversation: UUID) -> Path:
    return Path(settings.ORCHESTRA.data_dir) / "conversations" / str(conversation)
