"""``manage.py`` as people call it: by any Python, into ``head``, and quickly."""

import os
import subprocess
import sys
import venv
from pathlib import Path

import pytest

from tests.stack import ROOT

HEAVY = {
    "config.urls", "approvals.rest.views", "approvals.admin", "sessions_app.rest.views", "sessions_app.supervisor",
    "escalation.telegram.api.breaker",
    "orchestra.diagnostics.probes", "orchestra.metrics.exposition", "orchestra.statistics",
    "rest_framework.serializers", "drf_spectacular.utils", "redis", "opentelemetry", "prometheus_client", "requests",
    "markdown_it", "jsonschema", "pybreaker", "twisted.internet.reactor", "daphne", "channels.layers",
}  # fmt: skip
"""What a list of open requests has no use for. Modules and not seconds: a busy machine is no defect."""
LOADED = """
import sys
sys.argv = ["manage.py", *sys.argv[1:]]
import manage
try:
    manage.main()
finally:
    print("LOADED", *sys.modules)
"""


@pytest.fixture(scope="module")
def environment(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """An installation of its own, with its tables made."""
    folder = tmp_path_factory.mktemp("house")
    own = {"ORCHESTRA_DATA_DIR": str(folder), "DATABASE_URL": "", "REDIS_URL": "", "ORCHESTRA_PROCESS": ""}
    made = os.environ | own
    subprocess.run([sys.executable, "manage.py", "migrate", "-v", "0"], cwd=ROOT, env=made, check=True, timeout=170)
    return made


@pytest.mark.parametrize("command", [["approvals", "list"], ["approvals", "--help"]], ids=" ".join)
def test_a_command_that_people_wait_for_loads_nothing_it_has_no_use_for(
    environment: dict[str, str], command: list[str]
) -> None:
    done = subprocess.run(
        [sys.executable, "-c", LOADED, *command], cwd=ROOT, env=environment, capture_output=True, text=True,
        timeout=100, check=True,
    )  # fmt: skip
    loaded = set(done.stdout.rpartition("LOADED ")[2].split())
    assert "approvals.models" in loaded
    assert not loaded & HEAVY
    if sys.prefix != sys.base_prefix:
        assert "psycopg" not in loaded  # SQLite's installations have no use for it


@pytest.mark.parametrize("command", ["approvals list", "help", "approvals --help", "nothing of this name"])
def test_a_reader_that_leaves_early_is_no_error(environment: dict[str, str], command: str) -> None:
    line = f"{sys.executable} manage.py {command} 2>&1 | true; exit ${{PIPESTATUS[0]}}"
    done = subprocess.run(
        ["bash", "-c", f"exec 3>&1; {line.replace('2>&1', '2>&3')}"], cwd=ROOT, env=environment, capture_output=True,
        text=True, timeout=100, check=False,
    )  # fmt: skip
    assert "Traceback" not in done.stdout and "BrokenPipe" not in done.stdout


def test_another_python_with_another_django_hands_over_to_the_project_s_own(
    tmp_path: Path, environment: dict[str, str]
) -> None:
    checkout = tmp_path / "check out"
    checkout.mkdir()
    (checkout / "manage.py").write_text((ROOT / "manage.py").read_text())
    (checkout / ".venv").symlink_to(sys.prefix)
    for name in ("config", "console", "orchestra", "approvals", "sessions_app", "escalation"):
        (checkout / name).symlink_to(ROOT / name)
    venv.create(tmp_path / "foreign", with_pip=False, symlinks=True)
    foreign = tmp_path / "foreign" / "bin" / "python"
    (packages,) = (tmp_path / "foreign").glob("lib/python*/site-packages")
    (packages / "django" / "core").mkdir(parents=True)
    (packages / "django" / "__init__.py").write_text("VERSION = (1, 4)\n")
    (packages / "django" / "core" / "__init__.py").touch()
    (packages / "django" / "core" / "management.py").write_text("raise RuntimeError('a Django of 2012')\n")
    done = subprocess.run(
        [foreign, "manage.py", "approvals", "list"], cwd=checkout, env=environment, capture_output=True, text=True,
        timeout=100, check=False,
    )  # fmt: skip
    assert (done.returncode, done.stderr) == (0, "")
    assert "Nothing waits" in done.stdout
