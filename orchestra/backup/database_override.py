"""Another database in the place of the installation's own, so that all code can look at a copy."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from django.db import DEFAULT_DB_ALIAS, connections
from django.db.backends.base.base import BaseDatabaseWrapper
from django.db.utils import load_backend


@contextmanager
def override_database(**changes: Any) -> Iterator[BaseDatabaseWrapper]:
    """Within the ``with``, this thread's default connection is a new one, of the configured settings but ``changes``.

    It has no pool: nothing of it outlives the ``with``.
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
