"""What a command says, in place of a traceback, where the database is not there or not ready."""

from django.conf import settings
from django.db import DatabaseError, connection
from django.db.migrations.executor import MigrationExecutor

from orchestra.runtime.data_lock import RestoreRunning


def explain(error: DatabaseError) -> str:
    """Why a command could not work with the database, and what to do; empty if the database is not to blame."""
    if isinstance(error, RestoreRunning):
        return str(error)
    try:
        executor = MigrationExecutor(connection)
        missing = executor.migration_plan(executor.loader.graph.leaf_nodes())
    except DatabaseError:
        return (
            f"The database does not answer: {' '.join(str(error).split())}\nLook at DATABASE_URL, and whether it runs."
        )
    if not missing:
        return ""
    if executor.loader.applied_migrations:
        return "The database is older than this code: `make run` brings it up to date, or ./manage.py migrate."
    if not settings.ORCHESTRA.embedded:
        return "The database is empty: ./manage.py migrate makes the tables."
    return (
        f"There is no Orchestra in {settings.ORCHESTRA.data_dir} yet: `make run` makes one.\n"
        "If it is elsewhere, say so to commands, too: ORCHESTRA_DATA_DIR=/its/folder ./manage.py …, or in .env"
    )
