"""One scripted model for each cell."""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from pytest_django.fixtures import Settings

from tests.dialog import Start
from tests.fakes.real_cli import MessagesApi, messages_api, real_cli_env
from tests.gate.rig import cli_under_test


@pytest.fixture
def api() -> Iterator[MessagesApi]:
    with messages_api([]) as served:
        yield served


@pytest.fixture
def start(api: MessagesApi, settings: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Start:
    """Starts dialogs with the CLI under test, whose home and working root are folders of the test."""
    for name, value in real_cli_env(api.url, tmp_path / "home").items():
        monkeypatch.setenv(name, value)
    (tmp_path / "home").mkdir()
    (tmp_path / "work").mkdir()
    roots = ((tmp_path / "work").resolve(),)
    settings.AGENTS = replace(settings.AGENTS, cli_path=str(cli_under_test()), working_roots=roots)
    return Start(api)
