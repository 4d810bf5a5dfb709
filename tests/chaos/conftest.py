from collections.abc import Iterator
from pathlib import Path

import pytest
from pytest_django import Settings

from tests.chaos.world import World
from tests.sessions_app.supervisor.stage import Stage


@pytest.fixture
def world(tmp_path: Path, settings: Settings, transactional_db: None) -> Iterator[World]:
    """A small Orchestra with nothing in it."""
    stage = Stage(tmp_path, settings)
    stage.approvals()
    world = World(stage)
    yield world
    world.close()
