"""The suite's own servers start wherever the checkout lies and whatever the umask is."""

import os
import subprocess
from pathlib import Path

import pytest

from tests.servers import NOBODY, _copied

MARK = "#!/bin/sh\nexec cat ../share/words\n"


def test_another_account_may_run_a_copy_that_was_made_under_a_closed_umask(tmp_path: Path) -> None:
    package = tmp_path / "closed folder" / "pgserver"
    (package / "pginstall" / "bin").mkdir(parents=True)
    (package / "pginstall" / "share").mkdir()
    (package.parent / "pgserver.libs").mkdir()
    program, words = package / "pginstall" / "bin" / "initdb", package / "pginstall" / "share" / "words"
    program.write_text(MARK)
    words.write_text("it runs")
    for path, mode in ((program, 0o700), (words, 0o600), (package, 0o700), (package.parent, 0o700)):
        path.chmod(mode)
    before = os.umask(0o077)
    try:
        copied = _copied(program.parent)
    finally:
        os.umask(before)
    _open_to_others(copied)
    if os.geteuid() == 0:
        other = {"user": NOBODY.pw_uid, "group": NOBODY.pw_gid, "extra_groups": []}
        said = subprocess.run([copied / "initdb"], cwd=copied, capture_output=True, text=True, check=True, **other)
        assert said.stdout == "it runs"


def _open_to_others(copied: Path) -> None:
    top = copied.parent.parent.parent
    paths = [top, *top.rglob("*")]
    closed = [path for path in paths if not path.stat().st_mode & 0o004]
    closed += [path for path in paths if path.is_dir() and not path.stat().st_mode & 0o001]
    if closed:
        pytest.fail(f"closed to others: {closed}")
