"""Applied and unapplied migrations, under the names of django-prometheus and true at each scrape.

Its own export counts once, when a process starts, and needs the database for every command.
"""

from collections.abc import Iterator
from functools import lru_cache

from django.db import DEFAULT_DB_ALIAS, connections
from django.db.migrations.executor import MigrationExecutor
from django.db.migrations.recorder import MigrationRecorder
from prometheus_client.core import GaugeMetricFamily, Metric


def families() -> Iterator[Metric]:
    applied = frozenset(MigrationRecorder(connections[DEFAULT_DB_ALIAS]).applied_migrations())
    for state, value in (("applied", len(applied)), ("unapplied", _count_missing(applied))):
        name, text = f"django_migrations_{state}_total", f"Count of {state} migrations by database connection"
        family = GaugeMetricFamily(name, text, labels=["connection"])
        family.add_metric([DEFAULT_DB_ALIAS], value)
        yield family


@lru_cache(maxsize=1)
def _count_missing(_applied: frozenset[tuple[str, str]]) -> int:
    """Read the migration files only when the set of applied migrations has changed."""
    executor = MigrationExecutor(connections[DEFAULT_DB_ALIAS])
    return len(executor.migration_plan(executor.loader.graph.leaf_nodes()))
