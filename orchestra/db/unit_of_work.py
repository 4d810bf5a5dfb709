"""Rows that commit together, in one round trip where the database can do it.

A decision is an UPDATE, its audit row and a notification; a request is an UPDATE, three rows and a
notification. On PostgreSQL such a unit is one statement, which is a transaction by itself and saves
five round trips. SQLite has no round trips to save and no INSERT within a WITH, so there the same
statements run one after the other in a transaction.
"""

from collections.abc import Callable
from typing import Any

from django.db import connection, transaction
from django.db.models import Model

from orchestra.db import notify, sql
from orchestra.db.sql import Statement


class UnitOfWork:
    """Collects rows and notifications; ``commit`` writes all of them or none.

    ``guard`` is an UPDATE of one row. If it changes no row, ``commit`` writes nothing.
    """

    def __init__(self, guard: Statement | None = None, *, returning: str = "id") -> None:
        self._guard = guard
        self._returning = returning
        self._inserts: list[tuple[str, Statement]] = []
        self._notifications: list[tuple[str, str]] = []
        self._callbacks: list[Callable[[], object]] = []

    def insert(self, new: Model, **instead: Statement) -> None:
        """Add a row of a model; see ``sql.build_insert``.

        The order in which rows are written is undefined, and values that the database fills in are
        not read back.
        """
        self._inserts.append(sql.build_insert(new, **instead))

    def notify(self, topic: str, key: str) -> None:
        """Notify other processes when the unit commits."""
        self._notifications.append((topic, key))

    def on_commit(self, call: Callable[[], object]) -> None:
        """Call ``call`` after the commit; an exception in it is logged, not raised."""
        self._callbacks.append(call)

    def commit(self) -> tuple[Any, ...] | None:
        """Write the unit; return the guard's ``returning`` columns, or None if the guard changed no
        row.

        Without a guard the result is an empty tuple.
        """
        changed = (
            self._commit_in_one_statement() if connection.vendor == "postgresql" else self._commit_in_transaction()
        )
        for call in self._callbacks if changed is not None else ():
            transaction.on_commit(call, robust=True)
        return changed

    def _commit_in_one_statement(self) -> tuple[Any, ...] | None:
        parts: list[str] = []
        values: list[object] = []
        source = ""
        if self._guard:
            parts.append(f"guard AS ({self._guard.text} RETURNING {self._returning})")
            values.extend(self._guard.values)
            source = " FROM guard"
        for number, (into, row) in enumerate(self._inserts):
            parts.append(f"row{number} AS (INSERT INTO {into} SELECT {row.text}{source})")
            values.extend(row.values)
        outcome = ["guard.*"] if self._guard else []
        for topic, key in self._notifications:
            notification = notify.notification(topic, key)
            outcome.append(notification.text)
            values.extend(notification.values)
        found = sql.row(f"WITH {', '.join(parts)} SELECT {', '.join(outcome)}{source}", *values)
        if found is None:
            return None
        return found[: len(found) - len(self._notifications)]

    def _commit_in_transaction(self) -> tuple[Any, ...] | None:
        with transaction.atomic(savepoint=False):  # a failure rolls back the caller's own statements, too
            changed: tuple[Any, ...] | None = ()
            if self._guard:
                changed = sql.row(f"{self._guard.text} RETURNING {self._returning}", *self._guard.values)
            if changed is not None:
                for into, row in self._inserts:
                    sql.run(f"INSERT INTO {into} VALUES ({row.text})", *row.values)  # noqa: S608 - names of ours
                for topic, key in self._notifications:
                    notify.send(topic, key)
        return changed
