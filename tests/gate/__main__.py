"""``make gate``: every cell on the oldest CLI that is fit, the pinned one and the newest of npm; then a table.

``ARGS="--versions pinned"`` takes some of them, ``--jobs 4`` more at once (a cell mostly waits), ``--keep "Bash and
parked"`` cells by name as for ``pytest -k``. The CLIs are kept in the virtual environment.
"""

import argparse
import os
import shutil
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from xml.etree import ElementTree

from sessions_app.agents.cli_versions import OLDEST_FIT
from tests.fakes.real_cli import CLI_VERSION, real_cli_path

CLIS = Path(sys.prefix) / "gate"
PACKAGE = "@anthropic-ai/claude-code"


@dataclass(frozen=True)
class Row:
    """What came of one version."""

    version: str
    cells: int
    failed: int
    holes: int
    holes_missed: int
    minutes: float


def main() -> int:
    given = arguments()
    rows = [tried(name, given) for name in given.versions.split(",")]
    print("\n| CLI | cells | not as decided | planted holes | missed | minutes |\n|---|---|---|---|---|---|")
    for row in rows:
        print(f"| {row.version} | {row.cells} | {row.failed} | {row.holes} | {row.holes_missed} | {row.minutes:.0f} |")
    return int(any(row.failed or row.holes_missed or not row.cells for row in rows))


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="make gate", description=__doc__.splitlines()[0])
    parser.add_argument("--versions", default="oldest,pinned,newest", help="of oldest, pinned, newest, or 2.1.330")
    parser.add_argument("--jobs", default="3", help="cells at once")
    parser.add_argument("--rounds", default="50", help="how often each hole is planted")
    parser.add_argument("--keep", default="", help="cells by name, as for pytest -k")
    return parser.parse_args()


def tried(name: str, given: argparse.Namespace) -> Row:
    version, cli = found(name)
    report = CLIS / f"{version}.xml"
    env = os.environ | {"GATE_CLI": str(cli), "GATE_ROUNDS": given.rounds}
    command = [sys.executable, "-m", "pytest", "-q", "-n", given.jobs, "--tb=short", f"--junitxml={report}"]
    started = time.monotonic()
    print(f"--- {version}", flush=True)
    subprocess.run([*command, "-k", given.keep, "tests/gate"], env=env, check=False)
    return counted(version, report, (time.monotonic() - started) / 60)


def found(name: str) -> tuple[str, Path]:
    """Version and program; fetched from npm if it is not the pinned one."""
    CLIS.mkdir(exist_ok=True)
    if name in ("pinned", CLI_VERSION):
        return CLI_VERSION, real_cli_path()
    version = {"oldest": ".".join(map(str, OLDEST_FIT))}.get(name) or (newest() if name == "newest" else name)
    folder = CLIS / version
    if not programs(folder):
        npm("install", "--prefix", str(folder), "--no-audit", "--no-fund", f"{PACKAGE}@{version}")
    return version, programs(folder)[0]


def newest() -> str:
    return npm("view", PACKAGE, "version").strip()


def npm(*arguments: str) -> str:
    program = shutil.which("npm")
    if program is None:
        raise SystemExit("Other CLIs than the pinned one come from npm, which is not on PATH: --versions pinned")
    return subprocess.run([program, *arguments], check=True, text=True, capture_output=True).stdout


def programs(folder: Path) -> list[Path]:
    """The CLI's own binary: the one in ``.bin`` wants a newer Node than many machines have."""
    return sorted(folder.glob(f"node_modules/{PACKAGE}-*/claude"))


def counted(version: str, report: Path, minutes: float) -> Row:
    cases = list(ElementTree.parse(report).iter("testcase"))
    holes = [case for case in cases if "planted_holes" in (case.get("classname") or "")]
    cells = [case for case in cases if "what_was_decided" in (case.get("name") or "")]
    return Row(version, len(cells), bad(cells), len(holes), bad(holes), minutes)


def bad(cases: list[ElementTree.Element]) -> int:
    return sum(case.find("failure") is not None or case.find("error") is not None for case in cases)


if __name__ == "__main__":
    raise SystemExit(main())
