"""The conditional UPDATE behind every status column."""

from collections.abc import Mapping, Set
from dataclasses import dataclass
from typing import Any
from uuid import UUID

from django.db.models import Model, QuerySet

from orchestra.db import sql


@dataclass(frozen=True, slots=True)
class Flow:
    """Which status may follow which: ``{old: {allowed next, ...}}``."""

    transitions: Mapping[str, Set[str]]

    def move(self, rows: QuerySet[Any], *, to: str, **changes: object) -> int:
        """Move those of ``rows`` that may still become ``to``; return how many did.

        One conditional UPDATE, so of two racing callers exactly one gets 1.
        ``rows`` may filter on its own table only: a join becomes a sub-select, which
        PostgreSQL does not check again after waiting for the row, and both would win.
        UPDATE skips ``save()``, ``auto_now`` and model signals.
        """
        olds = self._statuses_before(to)
        # SQLite uses a partial index for "=" only, so a single old status is not written as IN.
        match: dict[str, Any] = {"status": olds[0]} if len(olds) == 1 else {"status__in": olds}
        return rows.filter(**match).update(status=to, **changes)

    def move_statement(
        self, model: type[Model], key: UUID, *, to: str, guard: sql.Statement, stamp: str = "", **changes: object
    ) -> sql.Statement:
        """Return ``move`` for the row with this ``key`` as plain SQL, for the paths that a person
        waits for.

        ``guard`` is a further condition on the row. ``stamp`` is a column that is set to the
        database's time.
        """
        olds = self._statuses_before(to)
        marks = ", ".join(["%s"] * len(olds))
        columns = ["status = %s", *(f"{name} = %s" for name in changes), *([f"{stamp} = {sql.now()}"] if stamp else [])]
        return sql.Statement(
            f"UPDATE {model._meta.db_table} SET {', '.join(columns)}"  # noqa: S608 - names of ours
            f" WHERE id = %s AND {guard.text} AND status IN ({marks})",
            (to, *changes.values(), key, *guard.values, *olds),
        )

    def _statuses_before(self, to: str) -> list[str]:
        return [old for old, nexts in self.transitions.items() if to in nexts]
