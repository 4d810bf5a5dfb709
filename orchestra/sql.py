"""Plain SQL for the few statements that a person's press, or an agent that asks, waits for.

Building a statement with the ORM costs several times what running it does. What is written this way runs on PostgreSQL
and SQLite alike; everything nobody waits for stays with the ORM.
"""

from datetime import timedelta
from functools import cache
from typing import Any
from uuid import UUID

from django.db import connection
from django.db.models import Model
from django.db.models.expressions import DatabaseDefault


def row(statement: str, *values: object) -> tuple[Any, ...] | None:
    """The first row that ``statement`` returns."""
    with connection.cursor() as cursor:
        cursor.execute(statement, adapted(*values))
        found: tuple[Any, ...] | None = cursor.fetchone()
    return found


def run(statement: str, *values: object) -> int:
    """How many rows ``statement`` changed."""
    with connection.cursor() as cursor:
        cursor.execute(statement, adapted(*values))
        return int(cursor.rowcount)


@cache
def columns(model: type[Model]) -> str:
    """A table's columns by name, since a prepared ``SELECT *`` fails once a migration has added one."""
    return ", ".join(connection.ops.quote_name(str(field.column)) for field in model._meta.concrete_fields)


def adapted(*values: object) -> list[Any]:
    """Keys as the database keeps them: SQLite has no type for UUIDs."""
    if connection.features.has_native_uuid_field:
        return list(values)
    return [value.hex if isinstance(value, UUID) else value for value in values]


def insert(new: Model, **instead: tuple[str, object]) -> None:
    """``INSERT`` a model's row without asking back for what the database filled in.

    ``instead`` gives fields an SQL expression, and the value in it, in place of their Python value.
    """
    names, marks, values = [], [], []
    for field in new._meta.concrete_fields:
        value = getattr(new, field.attname)
        if field.attname in instead:
            mark, value = instead[field.attname]
        elif isinstance(value, DatabaseDefault) or (field.primary_key and value is None):
            continue
        else:
            mark, value = "%s", field.get_db_prep_save(value, connection)
        names.append(connection.ops.quote_name(str(field.column)))
        marks.append(mark)
        values.append(value)
    table = connection.ops.quote_name(new._meta.db_table)
    run(f"INSERT INTO {table} ({', '.join(names)}) VALUES ({', '.join(marks)})", *values)  # noqa: S608 - names of ours


def from_now(delta: timedelta) -> tuple[str, float]:
    """The SQL of the database's time plus ``delta``, and the value in it."""
    if connection.vendor == "postgresql":
        return "STATEMENT_TIMESTAMP() + %s * INTERVAL '1 second'", delta.total_seconds()
    return "STRFTIME('%%Y-%%m-%%d %%H:%%M:%%f', 'NOW', %s || ' seconds')", delta.total_seconds()


def now() -> str:
    """The SQL of the database's time, as Django's ``Now()`` writes it."""
    if connection.vendor == "postgresql":
        return "STATEMENT_TIMESTAMP()"
    return "STRFTIME('%%Y-%%m-%%d %%H:%%M:%%f', 'NOW')"
