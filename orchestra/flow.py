"""The conditional UPDATE behind every status column."""

from collections.abc import Mapping, Set
from dataclasses import dataclass
from typing import Any
from uuid import UUID

from django.db.models import Model, QuerySet

from orchestra import sql


@dataclass(frozen=True, slots=True)
class Flow:
    """Which status may follow which: ``{old: {allowed next, ...}}``."""

    arrows: Mapping[str, Set[str]]

    def move(self, rows: QuerySet[Any], *, to: str, **changes: object) -> int:
        """Move those of ``rows`` that may still become ``to``; return how many did.

        One conditional UPDATE, so of two racing callers exactly one is told 1.
        ``rows`` may filter on its own table only: a join becomes a sub-select, which
        PostgreSQL does not check again after waiting for the row, and both would win.
        UPDATE skips ``save()``, ``auto_now`` and model signals.
        """
        olds = self._before(to)
        # SQLite uses a partial index for "=" only, so a single old status is not written as IN.
        match: dict[str, Any] = {"status": olds[0]} if len(olds) == 1 else {"status__in": olds}
        return rows.filter(**match).update(status=to, **changes)

    def move_row(self, model: type[Model], key: UUID, *, to: str, fence: int) -> int:
        """``move`` for the one row with that key and fence, as plain SQL: somebody waits for it."""
        olds = self._before(to)
        marks = ", ".join(["%s"] * len(olds))
        return sql.run(
            f"UPDATE {model._meta.db_table} SET status = %s WHERE id = %s AND fence = %s AND status IN ({marks})",  # noqa: S608
            *(to, key, fence, *olds),
        )

    def _before(self, to: str) -> list[str]:
        return [old for old, nexts in self.arrows.items() if to in nexts]
