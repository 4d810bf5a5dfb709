from collections.abc import Iterator
from pathlib import Path

import pytest
from pytest_django import Settings

from tests.sessions_app.supervisor.stage import Stage


@pytest.fixture
def stage(tmp_path: Path, settings: Settings, transactional_db: None) -> Iterator[Stage]:
    """A stage whose promises are checked when the test is over."""
    made = Stage(tmp_path, settings)
    made.approvals()
    yield made
    made.check_promises()
