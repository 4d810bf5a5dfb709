"""One scripted model for each cell."""

from collections.abc import Iterator

import pytest

from tests.fakes.real_cli import MessagesApi, messages_api


@pytest.fixture
def api() -> Iterator[MessagesApi]:
    with messages_api([]) as served:
        yield served
