"""Every cell of the gate: nothing runs unapproved, what is approved runs once and as approved, reasons arrive."""

import os
from pathlib import Path

import pytest
from pytest_django.fixtures import Settings

from tests.fakes.real_cli import MessagesApi, real_cli_env
from tests.gate.cells import Cell, cells, short_lane
from tests.gate.rig import Rig

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.timeout(300)]

TRIED = list(cells()) if os.environ.get("GATE_CLI") else short_lane()


@pytest.mark.parametrize("cell", TRIED, ids=str)
def test_the_cli_does_what_was_decided(
    cell: Cell, api: MessagesApi, settings: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in real_cli_env(api.url, tmp_path / "home").items():
        monkeypatch.setenv(name, value)
    assert Rig(cell, tmp_path, api, settings).play() == []


def test_there_are_enough_cells() -> None:
    assert len(list(cells())) >= 500
    assert len(short_lane()) == 14
