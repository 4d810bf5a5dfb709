"""A note goes with its call on an SQLite file, as an installation has it."""

import os
import subprocess
import sys
from pathlib import Path

from django.conf import settings

SPEND = """
import django

django.setup()

from approvals.commands import consume_approval, decide_approval, mark_note_delivered
from approvals.models import Approval
from tests.factories import make_approval


def spend(approval):
    grant = consume_approval(approval_id=approval.pk, digest=approval.input_digest)
    return grant and grant.note


approval = make_approval()
decide_approval(approval_id=approval.pk, decision="approved", by="anna", via="api", note="mind the gap")
print(spend(approval), spend(approval), mark_note_delivered([approval.pk]))
Approval.objects.update(consumed_at=None)
print(repr(spend(approval)))
"""


def test_a_spent_approval_brings_its_note_once(tmp_path: Path) -> None:
    own = {"DATABASE_URL": "", "REDIS_URL": "", "ORCHESTRA_DATA_DIR": str(tmp_path / "var"), "PYTHONPATH": "."}
    env = os.environ | own | {"DJANGO_SETTINGS_MODULE": "config.settings"}
    for command in (["manage.py", "migrate", "-v0"], ["-c", SPEND]):
        done = subprocess.run(
            [sys.executable, *command], env=env, cwd=settings.BASE_DIR, capture_output=True, text=True, timeout=300
        )
        assert done.returncode == 0, done.stderr[-3000:]
    assert done.stdout.splitlines() == ["mind the gap None 1", "''"]
