"""The checker counts only because each of these bugs makes it fail, and because nothing else does."""

import pytest

from sessions_app.supervisor import database_access
from tests.chaos.planted import BUGS, Bug
from tests.chaos.scenes import SCENES
from tests.chaos.world import World
from tests.sessions_app.supervisor import stage


@pytest.fixture(autouse=True)
def hasty(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(database_access, "RETRY_S", 0.1)
    monkeypatch.setattr(stage, "GUARD_S", 8.0)  # a planted bug makes some scenes wait in vain


@pytest.mark.parametrize("scene", SCENES)
def test_without_a_planted_bug_nothing_is_found(world: World, scene: str) -> None:
    assert world.judge(*SCENES[scene](world)) == []


@pytest.mark.parametrize("bug", BUGS, ids=lambda bug: bug.plant.__name__)
def test_a_planted_bug_is_found(world: World, bug: Bug) -> None:
    with bug.plant():
        try:
            seen = SCENES[bug.scene](world)
        except Exception as error:  # a product that fails loudly is caught, too
            seen = [f"{type(error).__name__}: {error}"]
        found = world.judge(*seen)
    assert found


def test_there_are_enough_of_them() -> None:
    assert len(BUGS) >= 20
