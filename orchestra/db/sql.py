"""Plain SQL for the few statements that a person's press, or an agent that asks, waits for.

Building a statement with the ORM costs several times what running it does. What is written this way runs on PostgreSQL
and SQLite alike; everything nobody waits for stays with the ORM.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from functools import cache
from typing import Any, TypeVar
from uuid import UUID

from django.db import connection, transaction
from django.db.models import Field, Model
from django.db.models.expressions import DatabaseDefault

M = TypeVar("M", bound=Model)


@contextmanager
def async_commit() -> Iterator[None]:
    """A transaction whose commit does not wait for the disk, on PostgreSQL: for notes that are made again if a crash of
    the database loses the last moments. Never for what somebody was told is recorded."""
    with transaction.atomic():
        if connection.vendor == "postgresql":
            with connection.cursor() as cursor:
                cursor.execute("SET LOCAL synchronous_commit TO OFF")
        yield


def async_commit_source() -> str:
    """The end of an ``INSERT … SELECT``, before its ``ON CONFLICT``: as `hasty`, for a statement that stands alone."""
    if connection.vendor == "postgresql":
        return " FROM (SELECT set_config('synchronous_commit', 'off', TRUE) AS told) AS hasty WHERE told IS NOT NULL"
    return " WHERE TRUE"


def row(statement: str, *values: object) -> tuple[Any, ...] | None:
    """The first row that ``statement`` returns."""
    with connection.cursor() as cursor:
        cursor.execute(statement, adapt_values(*values))
        found: tuple[Any, ...] | None = cursor.fetchone()
    return found


def run(statement: str, *values: object) -> int:
    """How many rows ``statement`` changed."""
    with connection.cursor() as cursor:
        cursor.execute(statement, adapt_values(*values))
        return int(cursor.rowcount)


def select(model: type[M], where: str, *values: object) -> list[M]:
    """The model's rows ``where`` (and behind it whatever else a SELECT may say), as ``Model.objects.raw`` would give
    them, in a third of its time."""
    columns, names, converters = _select_columns(model, connection.vendor)
    with connection.cursor() as cursor:
        cursor.execute(f"SELECT {columns} FROM {model._meta.db_table} WHERE {where}", adapt_values(*values))  # noqa: S608
        rows = [list(row) for row in cursor.fetchall()]
    for row in rows:
        for index, field in converters:
            row[index] = load_value(field, row[index])
    return [model.from_db(connection.alias, names, row) for row in rows]


@cache
def _select_columns(model: type[Model], vendor: str) -> "tuple[str, list[str], list[tuple[int, Field[Any, Any]]]]":
    """A table's columns by name, since a prepared ``SELECT *`` fails once a migration has added one; the model's names
    for them; and where a column does not come as the model has it on this ``vendor``."""
    fields = model._meta.concrete_fields
    columns = ", ".join(connection.ops.quote_name(str(field.column)) for field in fields)
    converted = [(index, field) for index, field in enumerate(fields) if _converters(field, vendor)]
    return columns, [field.attname for field in fields], converted


def adapt_values(*values: object) -> list[Any]:
    """Keys as the database keeps them: SQLite has no type for UUIDs."""
    if connection.features.has_native_uuid_field:
        return list(values)
    return [value.hex if isinstance(value, UUID) else value for value in values]


@dataclass(frozen=True, slots=True)
class Statement:
    """SQL with ``%s`` marks, and the values for them."""

    text: str
    values: tuple[object, ...] = ()


ALWAYS = Statement("TRUE")


def build_insert(new: Model, **instead: Statement) -> tuple[str, Statement]:
    """What an ``INSERT`` of a model's row says: the table with its columns, and the expressions that go into them.

    Columns that the database fills in by itself are left to it. ``instead`` gives fields an SQL expression in place of
    their Python value.
    """
    names: list[str] = []
    marks: list[str] = []
    values: list[object] = []
    for field, quoted in _insert_columns(type(new)):
        value = getattr(new, field.attname)
        if field.attname in instead:
            expression = instead[field.attname]
            marks.append(expression.text)
            values.extend(expression.values)
        elif isinstance(value, DatabaseDefault) or (field.primary_key and value is None):
            continue
        elif value is None or (value == "" and field.empty_strings_allowed):
            marks.append("NULL" if value is None else "''")  # psycopg keeps the plan of up to 50 values
        else:
            marks.append("%s")
            values.append(field.get_db_prep_save(value, connection))
        names.append(quoted)
    into = f"{connection.ops.quote_name(new._meta.db_table)} ({', '.join(names)})"
    return into, Statement(", ".join(marks), tuple(values))


@cache
def _insert_columns(model: type[Model]) -> "list[tuple[Field[Any, Any], str]]":
    return [(field, connection.ops.quote_name(str(field.column))) for field in model._meta.concrete_fields]


def load_value(field: "Field[Any, Any]", value: object) -> Any:
    """``value`` of a column, fetched by plain SQL, as the model would have it: SQLite keeps times as text."""
    for convert in _converters(field, connection.vendor):
        value = convert(value, field.cached_col, connection)
    return value


@cache
def _converters(field: "Field[Any, Any]", vendor: str) -> list[Callable[..., Any]]:
    column = field.cached_col
    return [*connection.ops.get_db_converters(column), *field.get_db_converters(connection)]


def from_now(delta: timedelta) -> Statement:
    """The database's time plus ``delta``."""
    if connection.vendor == "postgresql":
        return Statement("STATEMENT_TIMESTAMP() + %s * INTERVAL '1 second'", (delta.total_seconds(),))
    return Statement("STRFTIME('%%Y-%%m-%%d %%H:%%M:%%f', 'NOW', %s || ' seconds')", (delta.total_seconds(),))


def now() -> str:
    """The SQL of the database's time, as Django's ``Now()`` writes it."""
    if connection.vendor == "postgresql":
        return "STATEMENT_TIMESTAMP()"
    return "STRFTIME('%%Y-%%m-%%d %%H:%%M:%%f', 'NOW')"
