"""Approvals as CSV or JSON Lines, one line for each.

Rows are streamed: they are written while they are read.
"""

import csv
import io
import json
from collections.abc import AsyncIterator
from typing import Any

from django.db.models import QuerySet

from approvals.deadlines import NEVER
from approvals.models import Approval
from approvals.presentation.safe_text import visible
from orchestra.db.async_notify import in_thread

MOST_ROWS = 50_000
BATCH = 500
COLUMNS = (
    "id", "created_at", "status", "kind", "tool_name", "title", "risk", "session", "working_directory", "requested_by",
    "expires_at", "decided_at", "decided_by", "decided_via", "reason", "note", "scope", "consumed_at", "input_digest",
    "run_digest", "reopened_from", "reopened_as",
)  # fmt: skip
TEXTS = ("tool_input", "updated_input", "answers")  # only JSON Lines has them, unchanged
FORMULA = ("=", "+", "-", "@", "\t", "\r")


async def csv_lines(rows: QuerySet[Approval]) -> AsyncIterator[bytes]:
    """Yield a header line, then one line for each approval.

    A cell that a spreadsheet would run as a formula gets an apostrophe in front.
    """
    yield _line(COLUMNS)
    async for row in _rows(rows, COLUMNS):
        yield _line([_cell(value) for value in row])


async def json_lines(rows: QuerySet[Approval]) -> AsyncIterator[bytes]:
    """Yield one JSON object for each approval, with complete inputs."""
    names = (*COLUMNS, *TEXTS)
    async for row in _rows(rows, names):
        yield (json.dumps(dict(zip(names, row, strict=True)), default=_plain_or_null) + "\n").encode()


async def _rows(rows: QuerySet[Approval], names: tuple[str, ...]) -> AsyncIterator[tuple[Any, ...]]:
    """Yield the newest ``MOST_ROWS`` rows.

    Keyset paging (each batch starts after the last row of the one before) holds one batch in memory
    and yields no row twice.
    """
    after: tuple[Any, Any] | None = None
    for _ in range(MOST_ROWS // BATCH):
        batch = await in_thread(_batch, rows, names, after)
        for row in batch:
            yield row
        if len(batch) < BATCH:
            return
        key, at = batch[-1][:2]
        after = (at, key)


def _batch(rows: QuerySet[Approval], names: tuple[str, ...], after: tuple[Any, Any] | None) -> list[tuple[Any, ...]]:
    if after is not None:
        at, key = after
        rows = rows.filter(created_at__lte=at).exclude(created_at=at, pk__lte=key)
    found: list[tuple[Any, ...]] = list(rows.order_by("-created_at", "pk").values_list(*names)[:BATCH])
    return found


def _line(cells: Any) -> bytes:
    out = io.StringIO()
    csv.writer(out).writerow(cells)
    return out.getvalue().encode()


def _cell(value: Any) -> str:
    shown = visible("" if value is None else _plain(value))
    return f"'{shown}" if shown.startswith(FORMULA) else shown


def _plain(value: Any) -> str:
    if value == NEVER:
        return ""
    return str(value.isoformat() if hasattr(value, "isoformat") else value)


def _plain_or_null(value: Any) -> str | None:
    return _plain(value) or None
