"""What tests of sessions share."""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from pytest_django.fixtures import Settings

from tests.dialog import Start
from tests.fakes.real_cli import messages_api, real_cli_env, real_cli_path


@pytest.fixture
def start(settings: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Start]:
    """Starts dialogs with the pinned real CLI, whose home and working root are folders of the test."""
    with messages_api([]) as api:
        for name, value in real_cli_env(api.url, tmp_path / "home").items():
            monkeypatch.setenv(name, value)
        (tmp_path / "home").mkdir()
        (tmp_path / "work").mkdir()
        settings.AGENTS = replace(
            settings.AGENTS, cli_path=str(real_cli_path()), working_roots=((tmp_path / "work").resolve(),)
        )
        yield Start(api)
