"""Replacing the default database within a block, so that all code reads and writes a copy."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from django.db import DEFAULT_DB_ALIAS, connections
from django.db.backends.base.base import BaseDatabaseWrapper
from django.db.utils import load_backend


@contextmanager
def override_database(**changes: Any) -> Iterator[BaseDatabaseWrapper]:
    """Replace this thread's default connection within the ``with``.

    The new connection has the configured settings with ``changes``, and no pool, so that it is
    closed when the block ends.
    """
    own = connections[DEFAULT_DB_ALIAS]
    wanted: dict[str, Any] = {**connections.settings[DEFAULT_DB_ALIAS], **changes}
    wanted["OPTIONS"] = {name: value for name, value in wanted["OPTIONS"].items() if name != "pool"}
    other: BaseDatabaseWrapper = load_backend(wanted["ENGINE"]).DatabaseWrapper(wanted, DEFAULT_DB_ALIAS)
    connections[DEFAULT_DB_ALIAS] = other
    try:
        yield other
    finally:
        other.close()
        connections[DEFAULT_DB_ALIAS] = own
