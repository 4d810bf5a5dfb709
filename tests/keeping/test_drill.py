"""A drill writes its report whatever it finds."""

from pathlib import Path

import pytest
from django.conf import settings
from django.core.management import CommandError, call_command

from config import drill


@pytest.mark.timeout(300)  # five web processes are started
def test_a_web_process_that_does_not_start_is_a_finding(db: None, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(drill, "START_S", 0.0)
    folder: Path = settings.ORCHESTRA.data_dir / "drills"
    before = set(folder.glob("*.md"))
    with pytest.raises(CommandError, match="5 of 5 paths failed"):
        call_command("drill")
    (report,) = set(folder.glob("*.md")) - before
    text = report.read_text()
    assert text.count("| web process starts | FAILED |") == 5
    assert "| the database | web process starts | FAILED |" in text
    assert "did not answer within 0 s; try `manage.py run web` by hand" in text
