"""Plain SQL for the few statements that a deciding person or a waiting agent waits for.

The ORM takes several times longer to build one of these statements than the database takes to run
it. The statements run on PostgreSQL and SQLite alike. All other queries use the ORM.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from functools import cache
from typing import Any, TypeVar
from uuid import UUID

from django.db import connection, transaction
from django.db.models import Field, Model, QuerySet
from django.db.models.expressions import DatabaseDefault

M = TypeVar("M", bound=Model)


@contextmanager
def async_commit() -> Iterator[None]:
    """Open a transaction whose commit does not wait for the disk (PostgreSQL only).

    A crash of the database may lose the last transactions, so it is for rows that Orchestra writes
    again in that case, and never for a row that was reported as recorded.
    """
    with transaction.atomic():
        if connection.vendor == "postgresql":
            with connection.cursor() as cursor:
                cursor.execute("SET LOCAL synchronous_commit TO OFF")
        yield


def async_commit_source() -> str:
    """Return the end of an ``INSERT … SELECT``, before ``ON CONFLICT``, with the effect of
    ``async_commit``.

    It saves the transaction around a single statement.
    """
    if connection.vendor == "postgresql":
        return " FROM (SELECT set_config('synchronous_commit', 'off', TRUE) AS mode) AS async WHERE mode IS NOT NULL"
    return " WHERE TRUE"


def row(statement: str, *values: object) -> tuple[Any, ...] | None:
    """Return the first row of the result of ``statement``, or None."""
    with connection.cursor() as cursor:
        cursor.execute(statement, adapt_values(*values))
        found: tuple[Any, ...] | None = cursor.fetchone()
    return found


def run(statement: str, *values: object) -> int:
    """Run ``statement`` and return how many rows it changed."""
    with connection.cursor() as cursor:
        cursor.execute(statement, adapt_values(*values))
        return int(cursor.rowcount)


def select(model: type[M], where: str, *values: object) -> list[M]:
    """Return the model's instances that match ``where``, in a third of the time of
    ``Model.objects.raw``.

    ``where`` may continue with the other clauses of a SELECT, such as ORDER BY.
    """
    columns, names, converters = _select_columns(model, connection.vendor)
    with connection.cursor() as cursor:
        cursor.execute(f"SELECT {columns} FROM {model._meta.db_table} WHERE {where}", adapt_values(*values))  # noqa: S608
        rows = [list(row) for row in cursor.fetchall()]
    for row in rows:
        for index, field in converters:
            row[index] = load_value(field, row[index])
    return [model.from_db(connection.alias, names, row) for row in rows]


def count_each(*querysets: QuerySet[Any]) -> list[int]:
    """Return the number of rows of each queryset, all read in one statement."""
    parts, values = [], []
    for queryset in querysets:
        text, parameters = queryset.order_by().values("pk").query.get_compiler(connection=connection).as_sql()
        parts.append(f"(SELECT count(*) FROM ({text}) AS counted)")  # noqa: S608 - the ORM wrote it
        values.extend(parameters)
    with connection.cursor() as cursor:
        cursor.execute(f"SELECT {', '.join(parts)}", values)
        return list(cursor.fetchone())


@cache
def _select_columns(model: type[Model], vendor: str) -> "tuple[str, list[str], list[tuple[int, Field[Any, Any]]]]":
    """Return a table's columns, the model's names for them, and the fields to convert on this
    ``vendor``.

    Columns are named because a prepared ``SELECT *`` fails once a migration has added a column.
    """
    fields = model._meta.concrete_fields
    columns = ", ".join(connection.ops.quote_name(str(field.column)) for field in fields)
    converted = [(index, field) for index, field in enumerate(fields) if _converters(field, vendor)]
    return columns, [field.attname for field in fields], converted


def adapt_values(*values: object) -> list[Any]:
    """Return the values as the database stores them: SQLite stores UUIDs as hex text."""
    if connection.features.has_native_uuid_field:
        return list(values)
    return [value.hex if isinstance(value, UUID) else value for value in values]


@dataclass(frozen=True, slots=True)
class Statement:
    """SQL with ``%s`` placeholders, and their values."""

    text: str
    values: tuple[object, ...] = ()


ALWAYS = Statement("TRUE")


def build_insert(new: Model, **instead: Statement) -> tuple[str, Statement]:
    """Return the parts of an ``INSERT`` of a model's row: the table with its columns, and their
    values.

    Columns with a database default are left out. ``instead`` maps field names to SQL expressions
    that replace the Python values.
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
            marks.append("NULL" if value is None else "''")  # psycopg prepares statements of up to 50 values
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
    """Convert a column's ``value`` from plain SQL to the model's type: SQLite, for one, stores
    times as text.
    """
    for convert in _converters(field, connection.vendor):
        value = convert(value, field.cached_col, connection)
    return value


@cache
def _converters(field: "Field[Any, Any]", vendor: str) -> list[Callable[..., Any]]:
    column = field.cached_col
    return [*connection.ops.get_db_converters(column), *field.get_db_converters(connection)]


def from_now(delta: timedelta) -> Statement:
    """Return an SQL expression for the database's time plus ``delta``."""
    if connection.vendor == "postgresql":
        return Statement("STATEMENT_TIMESTAMP() + %s * INTERVAL '1 second'", (delta.total_seconds(),))
    return Statement("STRFTIME('%%Y-%%m-%%d %%H:%%M:%%f', 'NOW', %s || ' seconds')", (delta.total_seconds(),))


def now() -> str:
    """Return an SQL expression for the database's time, as Django's ``Now()`` writes it."""
    if connection.vendor == "postgresql":
        return "STATEMENT_TIMESTAMP()"
    return "STRFTIME('%%Y-%%m-%%d %%H:%%M:%%f', 'NOW')"
