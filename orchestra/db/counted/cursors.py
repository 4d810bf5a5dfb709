"""Cursors that count and time their statements."""

from collections.abc import Callable, Iterable
from functools import cache
from time import perf_counter
from typing import Any

from django_prometheus.db.metrics import (
    errors_total,
    execute_many_total,
    execute_total,
    query_duration_seconds,
)


@cache
def counting_cursor(cursor_class: Any, alias: str, vendor: str) -> Any:
    """Return a subclass of ``cursor_class`` that counts as django-prometheus does.

    django-prometheus makes such a class for every connection (PostgreSQL) or cursor (SQLite), and
    looks up the series of every statement by their labels. That doubles the processor time of a
    small statement, so both are done once here.
    """
    executed, executed_many = (total.labels(alias, vendor) for total in (execute_total, execute_many_total))
    duration = query_duration_seconds.labels(alias, vendor)

    def run(statement: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
        started = perf_counter()
        try:
            return statement(*args, **kwargs)
        except Exception as error:
            errors_total.labels(alias, vendor, type(error).__name__).inc()
            raise
        finally:
            duration.observe(perf_counter() - started)

    class CountingCursor(cursor_class):
        def execute(self, *args: Any, **kwargs: Any) -> Any:
            executed.inc()
            return run(super().execute, *args, **kwargs)

        def executemany(self, query: Any, param_list: Iterable[Any], *args: Any, **kwargs: Any) -> Any:
            rows = list(param_list)
            executed.inc(len(rows))
            executed_many.inc(len(rows))
            return run(super().executemany, query, rows, *args, **kwargs)

    return CountingCursor
