"""Processes that escaped: found by their marker, whatever they did to get away."""

import dataclasses
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from uuid import UUID, uuid4

import pytest
from django.conf import settings as django_settings
from pytest_django import Settings

from orchestra.conf import OrchestraSettings
from orchestra.environment import Environment
from sessions_app.models import Run
from sessions_app.supervisor import leases, orphan_reaper
from sessions_app.supervisor.outcomes import failed
from tests.factories import make_turn
from tests.sessions_app.supervisor.stage import eventually, gone

pytestmark = pytest.mark.django_db(transaction=True)
DAEMON = """
import os, sys
if os.fork(): os._exit(0)
os.setsid()
if os.fork(): os._exit(0)
print(os.getpid(), flush=True)
os.close(1)
os.execvp("sleep", ["sleep", "600"])
"""


@pytest.fixture(autouse=True)
def own_instance(settings: Settings) -> None:
    settings.ORCHESTRA = dataclasses.replace(settings.ORCHESTRA, marker=uuid4().hex)


@pytest.fixture
def escaped() -> Iterator[list[int]]:
    pids: list[int] = []
    yield pids
    for pid in pids:
        if not gone(pid):
            os.kill(pid, signal.SIGKILL)


def escape(escaped: list[int], run_id: UUID | str, instance: str = "") -> int:
    """A grandchild in a session of its own whose parents are gone."""
    env = {
        "PATH": os.environ["PATH"],
        "ORCHESTRA_RUN": str(run_id),
        "ORCHESTRA_INSTANCE": instance or django_settings.ORCHESTRA.marker,
    }
    out = subprocess.run([sys.executable, "-I", "-S", "-c", DAEMON], env=env, stdout=subprocess.PIPE, check=True).stdout
    escaped.append(int(out))
    return escaped[-1]


def test_a_daemon_of_a_run_is_killed_with_it_and_others_are_left_alone(escaped: list[int]) -> None:
    ours, others, strangers = uuid4(), escape(escaped, uuid4()), None
    mine = [escape(escaped, ours) for _ in range(2)]
    strangers = escape(escaped, ours, instance="another installation")
    assert orphan_reaper.kill_run(ours) == 2
    eventually(lambda: all(gone(pid) for pid in mine))
    assert not gone(others) and not gone(strangers)
    assert orphan_reaper.kill_run(ours) == 0


def test_only_processes_without_a_live_run_are_leftovers(escaped: list[int]) -> None:
    claim = leases.claim_turn(make_turn().pk, leases.Worker(host="here", pid=1, started=1.0))
    assert claim
    live, lost = escape(escaped, claim.run_id), escape(escaped, "never was")
    assert orphan_reaper.kill_leftovers() == 1
    eventually(lambda: gone(lost))
    assert not gone(live)
    leases.finish_run(claim, failed("x", "y"), exit_code=1)
    assert Run.objects.get(pk=claim.run_id).ended_at
    assert orphan_reaper.kill_leftovers() == 1
    eventually(lambda: gone(live))


def names(database: str, secret_key: str = "the same key") -> tuple[str, str]:
    """Instance and marker of an installation."""
    found = OrchestraSettings.from_env(
        Environment(),
        data_dir=Path("/srv/orchestra"),
        embedded=False,
        redis_url="redis://localhost",
        secret_key=secret_key,
        database=Environment().db_url_config(database),
    )
    return found.instance, found.marker


def test_installations_that_share_a_secret_key_are_told_apart_by_their_database() -> None:
    one = names("postgres://me:secret@db:5432/orchestra")
    assert names("postgres://you:other@db:5432/orchestra") == one
    elsewhere = names("postgres://me:secret@otherdb:5432/orchestra")
    assert elsewhere[0] == one[0], "hosts that spell the address differently hear each other"
    different = [names("postgres://me:secret@db:5432/staging"), names("sqlite:////a/o.db"), names("sqlite:////b/o.db")]
    assert len({one[1], elsewhere[1], *(marker for _, marker in different)}) == 5
    assert not set(names("postgres://me:secret@db:5432/orchestra", "another key")) & set(one)
