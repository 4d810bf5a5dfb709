"""The short lane of the proof: under a minute of fire on each database; ``make chaos`` is the long one."""

import os
import subprocess
import sys

import pytest

from tests.stack import ROOT

SEED = 20240611


@pytest.mark.timeout(400)
@pytest.mark.parametrize(("database", "seconds", "sessions"), [("postgresql", 20, 12), ("sqlite", 15, 8)])
def test_under_fire_no_decision_is_lost_and_nothing_runs_unapproved(database: str, seconds: int, sessions: int) -> None:
    command = [sys.executable, "-m", "tests.chaos", f"--{database}", "--seed", str(SEED)]
    size = ["--seconds", str(seconds), "--sessions", str(sessions), "--approvals", "4", "--every", "2"]
    done = subprocess.run(
        [*command, *size], cwd=ROOT, env=_plain(), capture_output=True, text=True, timeout=380, check=False
    )
    print(done.stdout)
    assert done.returncode == 0, f"{done.stdout}\n{done.stderr[-3000:]}"


def _plain() -> dict[str, str]:
    """Nothing of the suite's own servers."""
    ours = ("DATABASE_URL", "REDIS_URL", "ORCHESTRA_", "APPROVAL_", "AGENT_", "DJANGO_", "PYTEST_")
    return {name: value for name, value in os.environ.items() if not name.startswith(ours)}
