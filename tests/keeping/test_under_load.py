"""A backup taken while everybody writes is one moment, and restores to rows that keep every promise."""

import threading
from pathlib import Path

import pytest
from django.db import connection

from approvals.commands import consume_approval, decide_approval
from approvals.metrics import count_closed
from approvals.models import Approval
from approvals.tasks import seal_audit
from orchestra.backup.commands import restore_backup, take_backup
from sessions_app.models import AgentSession, PermissionRequest
from sessions_app.supervisor import leases
from sessions_app.supervisor.outcomes import Outcome
from tests.chaos.checker import Evidence, violations
from tests.keeping.test_backup import ask, running_session

WRITERS, ROUNDS = 3, 2


def one_dialog() -> None:
    """From start to end, as an agent and a person would."""
    session, turn, claim = running_session()
    claim.session().update(status=AgentSession.Status.WAITING)
    approval = ask(session, turn)
    decide_approval(approval_id=approval.pk, decision="approved", by="anna", via="api")
    assert consume_approval(approval_id=approval.pk, digest=approval.input_digest)
    claim.session().update(status=AgentSession.Status.RUNNING)
    PermissionRequest.objects.filter(approval=approval).update(answered_at=approval.created_at)
    assert leases.finish_run(claim, Outcome(status="completed", text="done"), exit_code=0)


@pytest.mark.timeout(300)
def test_backups_under_load_restore_to_sound_rows(house: Path) -> None:
    stop, failures = threading.Event(), list[BaseException]()

    def write() -> None:
        try:
            while not stop.is_set():
                one_dialog()
        except BaseException as error:
            failures.append(error)
        finally:
            connection.close()

    def sweep() -> None:
        while not stop.wait(0.05):
            seal_audit()
            count_closed()
        connection.close()

    threads = [threading.Thread(target=write) for _ in range(WRITERS)] + [threading.Thread(target=sweep)]
    for thread in threads:
        thread.start()
    try:
        backups = []
        for _ in range(ROUNDS):
            stop.wait(0.4)
            backups.append(take_backup(house / "backups"))
    finally:
        stop.set()
        for thread in threads:
            thread.join(60)
    assert failures == []
    sizes = []
    for folder in reversed(backups):
        restored = restore_backup(folder, keep_rules=False)
        sizes.append(Approval.objects.count())
        assert sizes[-1] == restored.manifest.counts["approvals"]
        seal_audit()
        assert violations(Evidence(ledger=[], settled=True)) == []
    assert sizes == sorted(sizes, reverse=True)
    assert sizes[0] > sizes[-1] > 0
