"""The log file keeps every line, whoever writes and whenever the day ends."""

import gzip
import json
import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from orchestra.logs.file import LogFile
from tests.stack import ROOT, until

WRITERS, LINES = 4, 1000
WRITE = f"""
import sys
from pathlib import Path
from orchestra.logs.file import LogFile
log = LogFile(Path(sys.argv[1]), days=1000)
for number in range({LINES}):
    log.write(f"{{sys.argv[2]}} {{number}} " + "x" * 200)
"""
SPEAK = """
import os, django
os.environ["DJANGO_SETTINGS_MODULE"] = "config.settings"
django.setup()
import logging
from orchestra.logs.config import bind
with bind(session="s-1"):
    logging.getLogger("approvals").warning("approval %s timeout\\nforged", "a-1")
"""


def test_no_line_is_lost_while_several_processes_write_and_days_end(tmp_path: Path) -> None:
    path = tmp_path / "api.log"
    writers = [
        subprocess.Popen([sys.executable, "-c", WRITE, str(path), str(writer)], cwd=ROOT) for writer in range(WRITERS)
    ]
    midnights = 0
    while any(writer.poll() is None for writer in writers):
        if path.exists():
            midnights += 1
            day = time.time() - 86400 * midnights
            with_old_lines_only(path, day)
        time.sleep(0.02)
    assert [writer.wait(60) for writer in writers] == [0] * WRITERS
    assert midnights
    with_old_lines_only(path, time.time() - 86400 * (midnights + 1))
    LogFile(path, days=1000).write("last 0 x")  # the next day tidies up what writers that ended had begun
    until(lambda: all(one.suffix == ".gz" for one in rotated(path)), "what was rotated is compressed")
    written = path.read_text().splitlines() if path.exists() else []
    for old in rotated(path):
        written += gzip.decompress(old.read_bytes()).decode().splitlines()
    assert sorted(line.rsplit(" ", 1)[0] for line in written) == sorted(
        ["last 0", *(f"{writer} {number}" for writer in range(WRITERS) for number in range(LINES))]
    )
    assert {len(line) for line in written} <= {8, *(len(f"0 {n} ") + 200 for n in (0, 10, 100))}


def with_old_lines_only(path: Path, day: float) -> None:
    """As if the last line had been written on that day."""
    try:
        os.utime(path, (day, day))
    except FileNotFoundError:
        return


def rotated(path: Path) -> list[Path]:
    return list(path.parent.glob(f"{path.name}.*"))


def test_a_full_or_forbidden_disk_costs_lines_and_nothing_else(tmp_path: Path) -> None:
    (tmp_path / "api.log").mkdir()  # opening it fails, also for root
    LogFile(tmp_path / "api.log", days=7).write("lost")


@pytest.mark.parametrize(
    ("changes", "written"),
    [
        ({"ORCHESTRA_PROCESS": "web"}, True),
        ({"ORCHESTRA_PROCESS": "web", "ORCHESTRA_LOG_JOINED": "on"}, False),  # `up` writes what it prints
        ({"ORCHESTRA_PROCESS": "web", "ORCHESTRA_ENVIRONMENT": "development"}, False),
        ({}, False),  # a command by hand, perhaps of another account
    ],
)
def test_a_service_in_production_writes_the_file_itself_beside_its_output(
    tmp_path: Path, changes: dict[str, str], written: bool
) -> None:
    own = {"ORCHESTRA_ENVIRONMENT": "production", "ORCHESTRA_LOG_DIR": str(tmp_path / "logs")}
    done = subprocess.run(
        [sys.executable, "-c", SPEAK],
        cwd=ROOT,
        env=os.environ | own | changes,
        capture_output=True,
        text=True,
        check=True,
    )
    assert "approval a-1 timeout" in done.stderr
    path = tmp_path / "logs" / "api.log"
    assert path.exists() == written
    if written:
        line = next(line for line in path.read_text().splitlines() if "a-1" in line)
        facts = json.loads(line)
        assert (facts["event"], facts["level"], facts["session"]) == ("approval a-1 timeout\nforged", "warning", "s-1")
        assert facts["process"] == "web"


def test_a_process_that_a_service_runs_writes_the_file(tmp_path: Path) -> None:
    own = {"ORCHESTRA_ENVIRONMENT": "production", "ORCHESTRA_LOG_DIR": str(tmp_path / "logs")}
    path = tmp_path / "logs" / "api.log"
    service = subprocess.Popen([sys.executable, "manage.py", "run", "beat"], cwd=ROOT, env=os.environ | own)
    try:
        line = until(lambda: path.exists() and path.read_text().partition("\n")[0], "it writes its first line")
        assert json.loads(str(line))["process"] == "beat"
    finally:
        service.kill()
        service.wait()
