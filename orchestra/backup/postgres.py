"""PostgreSQL backups: ``pg_dump`` writes them, and a restore loads them into a new schema.

The dump is in PostgreSQL's own archive format, which an administrator can read with ``pg_restore``
alone. A restore never writes to the tables in use: it fills a schema beside them, and one short
transaction renames the two schemas.
"""

import os
import re
import shutil
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any, cast

from django.db import DEFAULT_DB_ALIAS, DatabaseError, connection, connections, transaction

from orchestra.backup.database_override import override_database
from orchestra.backup.errors import BackupRefused
from orchestra.backup.files import flush
from orchestra.logs.redaction import scrub

FILE = "database.pgdump"
CHUNK = 1024 * 1024
LEAVING_S = 3.0  # the server lists a connection for a short time after it was closed
LOGICAL = ("--no-owner", "--no-privileges")  # the restoring account owns the restored tables
HEADING = (b"--", b"\\restrict ", b"\\unrestrict ", b"SET ", b"CREATE SCHEMA ", b"COMMENT ON SCHEMA ")

NAMES_SCHEMA = re.compile(rb'CREATE TABLE ((?:"[^"]+"|\w+))\.')


def server() -> str:
    """Return the name and version of the database server."""
    return f"PostgreSQL {_value('SHOW server_version')}"


@contextmanager
def snapshot(folder: Path) -> Iterator[None]:
    """Dump a snapshot of the database into ``folder``; the block of the ``with`` reads the same
    snapshot.

    Writers do not wait.

    Raises:
        BackupRefused: ``pg_dump`` is missing, too old, or failed.
    """
    with transaction.atomic():
        with connection.cursor() as cursor:
            cursor.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ, READ ONLY")
        _allow_idle_transaction()  # while pg_dump runs
        selection = [
            f"--snapshot={_value('SELECT pg_export_snapshot()')}",
            f"--schema={_value('SELECT current_schema()')}",
        ]
        target = folder / FILE
        # The lowest level: transcripts compress well at any level, and pg_dump is limited by one
        # processor.
        run = [_program("pg_dump"), "--format=custom", "--compress=1", *LOGICAL, *selection, f"--file={target}"]
        done = subprocess.run(
            [*run, f"--dbname={_conninfo()}"], env=_environment(), capture_output=True, text=True, check=False
        )
        if done.returncode:
            raise BackupRefused(f"pg_dump failed: {scrub(done.stderr.strip())[:500]}")
        yield
    flush(target)


@contextmanager
def scratch(folder: Path, purpose: str) -> Iterator[str]:
    """Load a backup into a new schema, which is the default database within the ``with``; yield its
    name.

    Raises:
        BackupRefused: ``pg_restore`` is missing or failed, or the database does not accept the
            dump.
    """
    name = f"orchestra_{purpose}"
    with override_database(OPTIONS=_searching(name)):
        with connection.cursor() as cursor:
            cursor.execute(f"DROP SCHEMA IF EXISTS {name} CASCADE")  # left behind by a killed process
            cursor.execute(f"CREATE SCHEMA {name}")
        try:
            try:
                _load(folder / FILE, name)
            except DatabaseError as error:
                raise BackupRefused(f"The backup cannot be loaded: {error}") from error
            yield name
        finally:
            with connection.cursor() as cursor:
                cursor.execute(f"DROP SCHEMA IF EXISTS {name} CASCADE")


def integrity() -> Iterator[str]:
    """Yield nothing: loading the dump has checked every constraint."""
    yield from ()


def require_no_clients() -> None:
    """Check that no other client is connected to the database.

    Raises:
        BackupRefused: another client is connected.
    """
    connections[DEFAULT_DB_ALIAS].close()
    connections[DEFAULT_DB_ALIAS].close_pool()  # type: ignore[attr-defined]
    with override_database():
        _require_no_clients()


def replace_database(copy: str, stamp: str) -> str:
    """Make the copy's schema the one in use; return the name under which the previous schema is
    kept.
    """
    kept = f"before_restore_{stamp.lower()}"
    with override_database():
        live = _quoted(_value("SELECT current_schema()"))
        with transaction.atomic():
            _require_no_clients(allowed=1)  # the connection that loaded the copy
            with connection.cursor() as cursor:
                cursor.execute(f"ALTER SCHEMA {live} RENAME TO {kept}")
                cursor.execute(f"ALTER SCHEMA {copy} RENAME TO {live}")
    return f"schema {kept}"


def _require_no_clients(allowed: int = 0) -> None:
    until = time.monotonic() + LEAVING_S
    while len(others := _other_clients()) > allowed and time.monotonic() < until:
        time.sleep(0.1)
    if len(others) > allowed:
        pid, user, program, host = others[0]
        raise BackupRefused(
            f"Other clients are connected to the database, {len(others)} in all: {user} from {host} "
            f"({program or 'no name'}, process {pid}). First stop Orchestra on every host and all other programs that "
            "use this database."
        )


def _other_clients() -> list[Any]:
    with connection.cursor() as cursor:
        cursor.execute("SELECT pg_stat_clear_snapshot()")  # a transaction caches the statistics it read first
        cursor.execute(
            "SELECT pid, usename, application_name, coalesce(host(client_addr), 'this machine') FROM pg_stat_activity"
            " WHERE datname = current_database() AND backend_type = 'client backend' AND pid <> pg_backend_pid()"
        )
        return list(cursor.fetchall())


def _allow_idle_transaction() -> None:
    """Disable the timeout that ends idle transactions: this one waits for a program."""
    with connection.cursor() as cursor:
        cursor.execute("SET LOCAL idle_in_transaction_session_timeout = 0")


def _load(dump: Path, schema: str) -> None:
    """Run the script that ``pg_restore`` writes, with the name of the schema replaced by
    ``schema``.
    """
    run = [_program("pg_restore"), *LOGICAL, "--no-comments", "--file=-", str(dump)]
    with (
        tempfile.TemporaryFile() as errors,
        subprocess.Popen(run, stdout=subprocess.PIPE, stderr=errors, env=_environment()) as restoring,
    ):
        with transaction.atomic():
            _allow_idle_transaction()  # while pg_restore runs
            _Loader(schema).feed(cast("IO[bytes]", restoring.stdout))
        if restoring.wait():
            errors.seek(0)
            raise BackupRefused(f"pg_restore failed: {scrub(errors.read(500).decode(errors='replace').strip())}")
    with connection.cursor() as cursor:
        cursor.execute("ANALYZE")


@dataclass(slots=True)
class _Loader:
    """Runs a script of ``pg_restore`` in ``schema`` instead of the dumped schema."""

    schema: str
    dumped: bytes = b""
    statements: list[bytes] = field(default_factory=list)

    def feed(self, script: IO[bytes]) -> None:
        for line in script:
            found = NAMES_SCHEMA.match(line)
            self.dumped = self.dumped or (found[1] if found else b"")
            if line.startswith(b"COPY ") and line.endswith(b" FROM stdin;\n"):
                self._execute()
                self._copy(line, script)
            elif not line.startswith(HEADING) and b"set_config('search_path'" not in line:
                self.statements.append(line)
        self._execute()

    def _execute(self) -> None:
        text = self._moved(b"".join(self.statements))
        self.statements.clear()
        if text.strip():
            with connection.cursor() as cursor:
                cursor.execute(text)

    def _copy(self, statement: bytes, rows: IO[bytes]) -> None:
        buffer = bytearray()
        with connection.cursor() as cursor, cursor.copy(self._moved(statement)) as copy:
            for row in rows:
                if row == b"\\.\n":
                    break
                buffer += row
                if len(buffer) > CHUNK:
                    copy.write(bytes(buffer))
                    buffer.clear()
            copy.write(bytes(buffer))

    def _moved(self, sql: bytes) -> str:
        """Replace the schema in a statement.

        ``pg_dump`` qualifies every name, and our tables' statements contain no text with such a
        prefix.
        """
        if not self.dumped:
            return sql.decode()
        return re.sub(rb"(?<![\w.\"])" + re.escape(self.dumped) + rb"\.", self.schema.encode() + b".", sql).decode()


def _searching(schema: str) -> dict[str, Any]:
    options = connections.settings[DEFAULT_DB_ALIAS]["OPTIONS"]
    return {**options, "options": f"{options.get('options', '')} -c search_path={schema}".strip()}


def _value(statement: str) -> str:
    with connection.cursor() as cursor:
        cursor.execute(statement)
        return str(cursor.fetchone()[0])


def _quoted(name: str) -> str:
    return connection.ops.quote_name(name)


def _conninfo() -> str:
    """Return the connection string without the password, because other accounts can read command
    lines.
    """
    from psycopg import conninfo, pq

    known = {option.keyword.decode() for option in pq.Conninfo.get_defaults()} - {"password"}
    params = connection.get_connection_params()
    return conninfo.make_conninfo("", **{name: value for name, value in params.items() if name in known})


def _environment() -> dict[str, str]:
    password = connection.settings_dict.get("PASSWORD")
    return dict(os.environ) | ({"PGPASSWORD": str(password)} if password else {})


def _program(name: str) -> str:
    found = shutil.which(name)
    if found is None:
        raise BackupRefused(
            f"{name} is not on PATH. Install PostgreSQL's client programs (Debian: postgresql-client) in the server's "
            "version or a newer one."
        )
    return found
