"""Real servers for a stack of processes: a database and a Redis index of its own."""

import os
import uuid
from collections.abc import Iterator
from urllib.parse import urlsplit, urlunsplit

import psycopg
import pytest


@pytest.fixture(scope="module")
def fresh_database_url() -> Iterator[str]:
    """An empty PostgreSQL database on the suite's server, dropped afterwards."""
    url = os.environ["DATABASE_URL"]
    name = f"stack_{uuid.uuid4().hex[:8]}"
    with psycopg.connect(url, autocommit=True) as server:
        server.execute(f"CREATE DATABASE {name}")
    yield urlunsplit(urlsplit(url)._replace(path=f"/{name}"))
    with psycopg.connect(url, autocommit=True) as server:
        server.execute(f"DROP DATABASE {name} WITH (FORCE)")


@pytest.fixture(scope="module")
def fresh_redis_url() -> str:
    """An index of the suite's Redis that no other test uses."""
    return os.environ["REDIS_URL"].split("?")[0] + "?db=7"
