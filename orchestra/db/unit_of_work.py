"""Rows that commit together, in one round trip where the database can.

A decision is an UPDATE, its audit row and a ring; a question is an UPDATE, three rows and a ring. On PostgreSQL such a
unit is one statement, which is a transaction by itself: five round trips less for somebody who waits. SQLite has no
round trips to save and no INSERT within a WITH, so the same statements run one by one in a transaction there.
"""

from collections.abc import Callable
from typing import Any

from django.db import connection, transaction
from django.db.models import Model

from orchestra.db import notify, sql
from orchestra.db.sql import Statement


class UnitOfWork:
    """Collects what must commit together; ``commit`` writes all of it or nothing.

    ``guard`` is an UPDATE of one row: where it changes none, nothing else of the unit happens.
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
        """Ring other processes with the commit."""
        self._notifications.append((topic, key))

    def on_commit(self, call: Callable[[], object]) -> None:
        """Call this right after the commit; what it raises is logged."""
        self._callbacks.append(call)

    def commit(self) -> tuple[Any, ...] | None:
        """What the guard returned (an empty tuple if there is no guard), or None if it changed nothing."""
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
        with transaction.atomic(savepoint=False):  # if this fails, so does what the caller wrote
            changed: tuple[Any, ...] | None = ()
            if self._guard:
                changed = sql.row(f"{self._guard.text} RETURNING {self._returning}", *self._guard.values)
            if changed is not None:
                for into, row in self._inserts:
                    sql.run(f"INSERT INTO {into} VALUES ({row.text})", *row.values)  # noqa: S608 - names of ours
                for topic, key in self._notifications:
                    notify.send(topic, key)
        return changed
