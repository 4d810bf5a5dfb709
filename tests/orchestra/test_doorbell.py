import os
import queue
import subprocess
import sys
from pathlib import Path
from uuid import uuid4

import pytest
from django.db import connection, transaction

from approvals.commands import decide_approval
from orchestra.db import notify
from tests.factories import make_approval

PATIENCE_S = 20


@pytest.fixture
def heard(transactional_db):
    """What the listener of this process hears."""
    rings: queue.Queue[tuple[str, str]] = queue.Queue()

    def hear(topic, key):
        rings.put((topic, key))

    notify.listener.add(hear)
    assert notify.listener.listening.wait(PATIENCE_S)
    yield rings
    notify.listener.remove(hear)


def until(rings, wanted):
    """Everything heard up to and including ``wanted``."""
    got = []
    while wanted not in got:
        got.append(rings.get(timeout=PATIENCE_S))
    return got


def test_a_ring_arrives_when_its_transaction_commits_and_not_before(heard):
    with transaction.atomic():
        notify.send("test", "one")
        with pytest.raises(queue.Empty):
            heard.get(timeout=0.3)
    assert until(heard, ("test", "one")) == [("test", "one")]


def test_a_transaction_that_is_rolled_back_rings_nobody(heard):
    with pytest.raises(RuntimeError), transaction.atomic():
        notify.send("test", "undone")
        raise RuntimeError
    notify.send("test", "after")
    assert until(heard, ("test", "after")) == [("test", "after")]


def test_a_decision_rings_with_the_id_of_its_approval(heard):
    approval = make_approval()
    decide_approval(approval_id=approval.pk, decision="approved", by="anna", via="api")
    assert ("approval", str(approval.pk)) in until(heard, ("approval", str(approval.pk)))


def test_a_listener_that_fails_does_not_deafen_the_others(heard):
    rings: queue.Queue[str] = queue.Queue()

    def fails(topic, key):
        raise ValueError

    def hears(topic, key):
        rings.put(key)

    notify.listener.add(fails)
    notify.listener.add(hears)
    try:
        notify.send("test", "x")
        assert rings.get(timeout=PATIENCE_S) == "x"
    finally:
        notify.listener.remove(fails)
        notify.listener.remove(hears)


def test_the_listener_comes_back_after_its_connection_was_cut(heard):
    notify.send("test", "before")
    until(heard, ("test", "before"))
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
            " WHERE datname = current_database() AND pid <> pg_backend_pid() AND query ~ '^(LISTEN|SELECT 1$)'"
        )
    for _ in range(100):
        notify.send("test", "again")
        try:
            assert heard.get(timeout=0.2) == ("test", "again")
            break
        except queue.Empty:
            continue
    else:
        pytest.fail("the listener stayed deaf")


ON_SQLITE = """
import os, sys, time
import django
django.setup()
from django.core.management import call_command
call_command("migrate", verbosity=0)
from approvals.commands import ApprovalRequest, decide_approval, request_approval
from orchestra.db import notify
listener, rings = notify.Listener(), []
listener.add(lambda topic, key: rings.append((topic, key)))
alive = listener.listening.wait(float(sys.argv[1]))
began = time.monotonic()
pk = request_approval(ApprovalRequest(title="x"))
approval = decide_approval(approval_id=pk, decision="approved", by="anna", via="cli")
took = time.monotonic() - began
end = time.monotonic() + float(sys.argv[1])
while alive and len(rings) < 2 and time.monotonic() < end:
    time.sleep(0.01)
print(approval.status, alive, set(rings) == {("approval", str(pk))}, took < 5, sep=",", flush=True)
os._exit(0)
"""


def on_sqlite(tmp_path: Path, redis_url: str, patience_s: float) -> str:
    environment = os.environ | {
        "DJANGO_SETTINGS_MODULE": "config.settings",
        "DATABASE_URL": f"sqlite:///{tmp_path / f'{uuid4()}.db'}",
        "REDIS_URL": redis_url,
        "ORCHESTRA_DATA_DIR": str(tmp_path),
    }
    done = subprocess.run(
        [sys.executable, "-c", ON_SQLITE, str(patience_s)],
        env=environment, cwd=Path(__file__).parents[2], capture_output=True, text=True, timeout=120,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return done.stdout.strip().splitlines()[-1]


def test_on_sqlite_redis_carries_the_ring_after_the_commit(tmp_path):
    assert on_sqlite(tmp_path, os.environ["REDIS_URL"], PATIENCE_S) == "approved,True,True,True"


def test_on_sqlite_a_dead_redis_neither_fails_nor_delays_a_decision(tmp_path):
    assert on_sqlite(tmp_path, f"unix://{tmp_path}/nobody.sock", 0.2) == "approved,False,False,True"
