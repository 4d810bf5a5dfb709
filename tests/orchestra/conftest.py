"""A web process for the tests of the live hub."""

from collections.abc import Iterator
from typing import Any
from uuid import uuid4

import pytest

from tests.factories import make_user, token_for
from tests.hub import Client, client
from tests.web import Web, running


@pytest.fixture(scope="session")
def _shared_web(
    django_db_setup: None, django_db_blocker: Any, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Web]:
    """One for all: what a test leaves behind in it, another must be able to live with."""
    with django_db_blocker.unblock(), running(tmp_path_factory.mktemp("hub")) as web:
        yield web


@pytest.fixture
def hub_web(transactional_db: None, _shared_web: Web) -> Web:
    """A web process; its ``token`` is an administrator's."""
    _shared_web.token = token_for(make_user("ada-" + uuid4().hex[:6], group="Administrator"))
    return _shared_web


@pytest.fixture
def ada(hub_web: Web) -> Iterator[Client]:
    """An administrator's socket."""
    with client(hub_web.port, hub_web.token) as ada:
        yield ada
