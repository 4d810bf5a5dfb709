"""Real servers for a stack of processes (a database and a Redis index of its own), and a browser for its pages."""

import os
import uuid
from collections.abc import Iterator
from urllib.parse import urlsplit, urlunsplit

import psycopg
import pytest
from playwright.sync_api import Browser, expect

from tests import browser as browsers
from tests.desk import PATIENCE_MS, Opens, desk
from tests.stack import Stack


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


@pytest.fixture(scope="module")
def chromium() -> Iterator[Browser]:
    """A headless browser; each page of a test has a context of its own."""
    with browsers.running() as running:
        yield running


@pytest.fixture
def opens(stack: Stack, chromium: Browser) -> Iterator[Opens]:
    """Pages of ada's at the module's own ``stack``; see `desk`."""
    expect.set_options(timeout=PATIENCE_MS)
    with desk(stack, chromium) as opens:
        yield opens
