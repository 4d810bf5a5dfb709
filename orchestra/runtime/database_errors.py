"""Messages that commands print in place of a traceback if the database is unreachable or not
migrated.
"""

from django.conf import settings
from django.db import DatabaseError, connection
from django.db.migrations.executor import MigrationExecutor

from orchestra.runtime.data_lock import RestoreRunning


def explain(error: DatabaseError) -> str:
    """Return the cause and the remedy, or "" if neither the connection nor missing migrations are
    the cause.
    """
    if isinstance(error, RestoreRunning):
        return str(error)
    try:
        executor = MigrationExecutor(connection)
        missing = executor.migration_plan(executor.loader.graph.leaf_nodes())
    except DatabaseError:
        return (
            f"The database does not answer: {' '.join(str(error).split())}\n"
            "Check DATABASE_URL, and that the server is running."
        )
    if not missing:
        return ""
    if executor.loader.applied_migrations:
        return "The database is older than this code: run `make run` or ./manage.py migrate to update it."
    if not settings.ORCHESTRA.embedded:
        return "The database is empty: run ./manage.py migrate to create the tables."
    return (
        f"There is no Orchestra in {settings.ORCHESTRA.data_dir} yet: `make run` creates one.\n"
        "If it is in another folder, set ORCHESTRA_DATA_DIR=/that/folder for this command or in .env."
    )
