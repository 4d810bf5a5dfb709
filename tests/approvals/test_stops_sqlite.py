"""A stop of all agents against calls that are being allowed, on an SQLite file as an installation has it."""

import os
import subprocess
import sys
from pathlib import Path

from django.conf import settings

RACE = """
import sys
import time
from functools import partial

import django

django.setup()

from approvals.stop import commands as stops
from approvals.commands import consume_approval, decide_approval
from approvals.models import Approval, Stop
from tests.factories import make_approval
from tests.threads import at_once


def approved():
    approval = make_approval()
    return decide_approval(approval_id=approval.pk, decision="approved", by="anna", via="api")


def spend(approval):
    return consume_approval(approval_id=approval.pk, digest=approval.input_digest)


def stop_and_look():
    stops.stop_all(by="anna", via="api")
    before = Approval.objects.filter(consumed_at__isnull=False).count()
    time.sleep(0.02)
    return Approval.objects.filter(consumed_at__isnull=False).count() - before


seen = set()
for _ in range(15):
    grants = [approved() for _ in range(3)]
    *spent, later = at_once([*(partial(spend, grant) for grant in grants), stop_and_look])
    failed = [one for one in (*spent, later) if isinstance(one, Exception)]
    assert not failed, failed
    assert later == 0, later
    seen.add(sum(one is not None for one in spent))
    stops.lift_stop(by="anna", via="api")
made = at_once([partial(stops.stop_all, by=f"p{n}", via="api") for n in range(6)])
assert sum(new for _, new in made) == 1, made
assert Stop.objects.filter(lifted_at=None).count() == 1
print("spent beside a stop:", sorted(seen))
"""


def test_once_a_stop_has_answered_no_grant_is_spent_any_more(tmp_path: Path) -> None:
    own = {"DATABASE_URL": "", "REDIS_URL": "", "ORCHESTRA_DATA_DIR": str(tmp_path / "var"), "PYTHONPATH": "."}
    env = os.environ | own | {"DJANGO_SETTINGS_MODULE": "config.settings"}
    for command in (["manage.py", "migrate", "-v0"], ["-c", RACE]):
        done = subprocess.run(
            [sys.executable, *command], env=env, cwd=settings.BASE_DIR, capture_output=True, text=True, timeout=300
        )
        assert done.returncode == 0, done.stderr[-3000:]
    assert "spent beside a stop" in done.stdout
