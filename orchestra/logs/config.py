"""Format of log lines: text in development, JSON in production; with process and session ids,
without secrets.

Modules log with ``logging.getLogger(__name__)``; structlog only formats the lines.
"""

import logging
import os
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import Any

import structlog
from structlog.typing import EventDict, Processor, WrappedLogger

from orchestra.logs.file import LogFile
from orchestra.logs.redaction import scrub, visible

IDS = ("session", "approval")
OURS = frozenset({"timestamp", "level", "logger", "process"})  # these never contain text from outside


def bind(**ids: object) -> AbstractContextManager[None]:
    """Add ``ids`` to every log line of this thread or task: ``with bind(session=...,
    approval=...)``.

    Ids that are None are left out.
    """
    known = {name: str(value) for name, value in ids.items() if value is not None}
    return structlog.contextvars.bound_contextvars(**known)


@contextmanager
def only(**ids: object) -> Iterator[None]:
    """Like `bind`, but clear all other ids before and after.

    For the outermost scope, such as a request.
    """
    structlog.contextvars.clear_contextvars()
    structlog.contextvars.bind_contextvars(**ids)
    try:
        yield
    finally:
        structlog.contextvars.clear_contextvars()


class FileHandler(logging.Handler):
    """Writes lines into a file that several processes write."""

    def __init__(self, path: Path, days: int) -> None:
        super().__init__()
        self._file = LogFile(path, days=days)

    def emit(self, record: logging.LogRecord) -> None:
        try:
            self._file.write(self.format(record))
        except Exception:  # as in every handler of logging, which reports a line it cannot format on stderr
            self.handleError(record)


def logging_config(
    *, production: bool, process: str, typed: bool = False, file: Path | None = None, days: int = 7
) -> dict[str, Any]:
    """Return Django's ``LOGGING``: lines of all libraries have the same format.

    Lines go to stderr, and to ``file`` if there is one, which keeps ``days`` days. A command that a
    person ``typed`` prints its own result, so only warnings of its log reach the terminal.
    """
    level = "WARNING" if typed and not production else "INFO"
    stream = {"class": "logging.StreamHandler", "formatter": "orchestra", "level": level}
    handlers: dict[str, Any] = {"stream": stream}
    if file is not None:
        handlers["file"] = {"()": FileHandler, "path": file, "days": days, "formatter": "orchestra"}
    form: list[Processor] = [_JSON] if production else [readable]
    first: list[Processor] = [
        structlog.contextvars.merge_contextvars,
        structlog.stdlib.add_log_level,
        structlog.stdlib.add_logger_name,
        structlog.stdlib.ExtraAdder(allow=IDS),
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        named(process),
    ]
    last: list[Processor] = [
        structlog.stdlib.ProcessorFormatter.remove_processors_meta,
        structlog.processors.format_exc_info,
        without_secrets,
        *form,
    ]
    return {
        "version": 1,
        "disable_existing_loggers": False,
        "formatters": {
            "orchestra": {
                "()": structlog.stdlib.ProcessorFormatter,
                "foreign_pre_chain": first,
                "processors": last,
            }
        },
        "handlers": handlers,
        "root": {"handlers": list(handlers), "level": "INFO"},
        "loggers": {
            "django": {"handlers": [], "level": "INFO", "propagate": True},
            # sweeps run every few seconds, and these loggers write a line for each message
            "celery.worker.strategy": {"level": "WARNING"},
            "celery.app.trace": {"level": "WARNING"},
            "celery.beat": {"level": "WARNING"},
            "django_celery_beat": {"level": "WARNING"},
            "daphne": {"level": "WARNING"},
            "asyncio": {"level": "WARNING"},
        },
    }


def named(process: str) -> Processor:
    """Return a processor that adds the kind and the id of the process."""

    def add(_logger: WrappedLogger, _method: str, event: EventDict) -> EventDict:
        return {**event, "process": process or "manage", "pid": os.getpid()}

    return add


def without_secrets(_logger: WrappedLogger, _method: str, event: EventDict) -> EventDict:
    """A processor that removes secrets from all texts of a line, tracebacks included."""
    return {
        name: scrub(value) if isinstance(value, str) and name not in OURS else value for name, value in event.items()
    }


def readable(_logger: WrappedLogger, _method: str, event: EventDict) -> str:
    """Format one line for people; a traceback follows, indented so that no part of it looks like a
    log line.
    """
    rest = {name: value for name, value in event.items() if name not in ("process", "pid")}
    time, level, name, text = (str(rest.pop(key, "")) for key in ("timestamp", "level", "logger", "event"))
    trace = [str(rest.pop(key)) for key in ("exception", "stack") if rest.get(key)]
    ids = "".join(f" {key}={visible(str(rest[key]))}" for key in sorted(rest, key=_ids_first))
    indented = "".join(f"\n    {visible(line)}" for block in trace for line in block.splitlines())
    return f"{time[11:23]} {level.upper():<8} {name}: {visible(text)}{ids}{indented}"


def _ids_first(name: str) -> tuple[int, str]:
    return (IDS.index(name) if name in IDS else len(IDS), name)


_JSON: Callable[..., str | bytes] = structlog.processors.JSONRenderer(sort_keys=False)
