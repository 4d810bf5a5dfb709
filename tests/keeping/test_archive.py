"""Retention takes out what is old and closed, whole, and loses nothing however it ends."""

import gzip
import json
import os
import random
import signal
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import replace
from datetime import timedelta
from io import StringIO
from pathlib import Path
from typing import Any

import pytest
from django.apps import apps
from django.conf import settings as django_settings
from django.core.management import CommandError, call_command
from django.db import connections
from django.utils import timezone

from approvals import metrics
from approvals import retention as approvals_retention
from approvals.audit import chain
from approvals.audit.archived import check_archives
from approvals.commands import decide_approval
from approvals.models import Approval, AuditEntry, AuditSeal, Rule
from orchestra.archive import commands
from orchestra.archive.commands import ArchiverBusy, archive
from orchestra.archive.files import ArchiveDamaged, ArchiveWriter
from orchestra.archive.registry import registry
from orchestra.models import Archive, IdempotentRequest
from sessions_app import metrics as session_metrics
from sessions_app import retention
from sessions_app.models import AgentSession, Event
from sessions_app.supervisor import leases
from sessions_app.supervisor.outcomes import Outcome
from tests.keeping.test_backup import ask, running_session

AGE = timedelta(days=90)
OLD = timedelta(days=100)
KINDS = ("approvals.approval", "approvals.auditentry", "sessions_app.agentsession", "sessions_app.event")


def closed_session(age: timedelta = OLD) -> AgentSession:
    """A dialog with one approved call that ended that long ago."""
    session, turn, claim = running_session()
    approval = ask(session, turn)
    decide_approval(approval_id=approval.pk, decision="approved", by="anna", via="api")
    leases.finish_run(claim, Outcome(status="completed", text="done", cost_usd=0.5), exit_code=0)
    back_date(session, age)
    return session


def back_date(session: AgentSession, age: timedelta) -> None:
    then = timezone.now() - age
    AgentSession.objects.filter(pk=session.pk).update(created_at=then, finished_at=then)
    Approval.objects.filter(session=session.pk).update(created_at=then - timedelta(seconds=9), decided_at=then)


def closed_approval(**overrides: Any) -> Approval:
    """A program's question that was answered long ago."""
    from tests.factories import make_approval

    approval = make_approval(kind="external", **overrides)
    decide_approval(approval_id=approval.pk, decision="rejected", by="anna", via="api")
    then = timezone.now() - OLD
    Approval.objects.filter(pk=approval.pk).update(created_at=then - timedelta(seconds=9), decided_at=then)
    return approval


def lines(house: Path) -> Iterator[dict[str, Any]]:
    for path in sorted(house.glob("archives/*/*.jsonl.gz")):
        with gzip.open(path) as file:
            yield from map(json.loads, file)


def archived(house: Path) -> Counter[str]:
    return Counter(line["model"] for line in lines(house))


def verified() -> str:
    out = StringIO()
    call_command("audit", "verify", "--archives", str(django_settings.KEEPING.archive_dir), stdout=out)
    return out.getvalue()


def counters() -> dict[Any, float]:
    """All that are not 0; sums of seconds differ in the last digits by the order of adding."""
    totals = {**metrics.read_snapshot().totals, **session_metrics.run_totals()}
    return {series: round(value, 2) for series, value in totals.items() if value}


def everything(*labels: str) -> dict[str, set[str]]:
    return {label: {str(pk) for pk in apps.get_model(label).objects.values_list("pk", flat=True)} for label in labels}


def test_an_old_session_goes_with_all_that_belongs_to_it(house: Path) -> None:
    session, young = closed_session(), closed_session(timedelta(days=10))
    Rule.objects.create(effect="allow", tool="Bash", scope="session", scope_value=str(session.pk))
    before = counters()
    report = archive(AGE)
    assert report.archived == {"sessions": 1, "approvals": 0}
    assert list(AgentSession.objects.all()) == [young]
    assert set(Approval.objects.values_list("session", flat=True)) == {young.pk}
    assert set(Event.objects.values_list("session", flat=True)) == {young.pk}
    assert not Rule.objects.exists()
    found = archived(house)
    assert found["sessions_app.agentsession"] == found["sessions_app.turn"] == found["approvals.rule"] == 1
    assert found["approvals.auditentry"] == 2
    assert counters() == before, "counters never shrink"
    assert "5 sealed entries" in verified()
    assert "2 in archives" in verified()


def test_what_was_archived_can_be_loaded_again(house: Path) -> None:
    closed_session()
    closed_approval()
    rows = {label: list(apps.get_model(label).objects.order_by("pk").values()) for label in KINDS}
    for row in rows["approvals.approval"]:
        row["counted"] = True
    archive(AGE)
    assert not Approval.objects.exists()
    for path in sorted(house.glob("archives/*/*.jsonl.gz")):
        call_command("loaddata", str(path), verbosity=0)
    assert {label: list(apps.get_model(label).objects.order_by("pk").values()) for label in KINDS} == rows


def test_the_manifest_beside_a_file_says_what_is_in_it(house: Path) -> None:
    closed_session()
    (name,) = archive(AGE).files
    manifest = json.loads((house / "archives" / f"{name}.manifest.json").read_text())
    row = Archive.objects.get()
    assert (manifest["sha256"], manifest["counts"]) == (row.sha256, row.counts)
    assert Counter(manifest["counts"]) == archived(house)
    assert (row.roots, row.deleted) == (1, 1)


@pytest.mark.parametrize(
    "keep",
    ["open", "young", "session held", "approval held", "live run"],
)
def test_a_session_that_is_not_to_go_stays_whole(house: Path, keep: str) -> None:
    session = closed_session()
    if keep == "open":
        AgentSession.objects.update(status="waiting")
    elif keep == "young":
        AgentSession.objects.update(finished_at=timezone.now())
    elif keep == "session held":
        retention.set_hold([session.pk], held=True, by="anna", via="admin")
    elif keep == "approval held":
        ids = list(Approval.objects.values_list("pk", flat=True))
        approvals_retention.set_hold(ids, held=True, by="anna", via="admin")
    else:
        session.runs.update(ended_at=None)
    events = Event.objects.count()
    archive(AGE)
    assert AgentSession.objects.count() == 1
    assert Event.objects.count() == events
    if keep in ("open", "session held", "approval held"):
        assert Approval.objects.count() == 1


def test_a_hold_is_audited_and_ends_when_it_is_released(house: Path) -> None:
    session, approval = closed_session(), closed_approval()
    retention.set_hold([session.pk], held=True, by="anna", via="admin")
    assert approvals_retention.set_hold([approval.pk], held=True, by="anna", via="admin") == 1
    assert approvals_retention.set_hold([approval.pk], held=True, by="anna", via="admin") == 0
    assert archive(AGE).archived == {"sessions": 0, "approvals": 0}
    retention.set_hold([session.pk], held=False, by="boris", via="admin")
    approvals_retention.set_hold([approval.pk], held=False, by="boris", via="admin")
    told = AuditEntry.objects.filter(action__in=("held", "released")).order_by("pk").values_list("action", "by")
    assert list(told) == [("held", "anna"), ("held", "anna"), ("released", "boris"), ("released", "boris")]
    assert archive(AGE).archived == {"sessions": 1, "approvals": 1}
    verified()


def test_an_old_approval_of_a_dialog_that_goes_on_is_archived_alone(house: Path) -> None:
    session = closed_session()
    AgentSession.objects.update(finished_at=timezone.now())
    assert archive(AGE).archived == {"sessions": 0, "approvals": 1}
    session.refresh_from_db()
    assert session.permission_requests.count() == 0
    assert archived(house)["sessions_app.permissionrequest"] == 1


def test_secrets_in_what_an_agent_wanted_do_not_reach_the_archive(house: Path) -> None:
    session = closed_session()
    text = json.dumps({"command": "curl -H 'Authorization: Bearer canary0123456789canary0123'"})
    Approval.objects.filter(session=session.pk).update(tool_input=text)
    archive(AGE)
    assert "canary" not in json.dumps(list(lines(house)))
    verified()


def test_a_dry_run_changes_nothing(house: Path) -> None:
    closed_session()
    metrics.count_closed()
    session_metrics.count_ended_runs()
    out = StringIO()
    call_command("archive", "--dry-run", stdout=out)
    assert "1 sessions would be archived" in out.getvalue()
    assert AgentSession.objects.count() == 1
    assert not (house / "archives").exists()


def test_of_two_archivers_one_works(house: Path) -> None:
    commands._take_lease("elsewhere/1")
    with pytest.raises(ArchiverBusy):
        archive(AGE)


def test_what_has_no_history_is_pruned(house: Path) -> None:
    row = IdempotentRequest.objects.create(username="a", path="/", key="k", body_sha256="0" * 64)
    assert archive(AGE).pruned["answers to repeated requests"] == 0
    IdempotentRequest.objects.filter(pk=row.pk).update(created_at=timezone.now() - timedelta(hours=25))
    assert archive(AGE).pruned["answers to repeated requests"] == 1


# --- the audit outlives its entries


def test_an_archive_that_was_changed_or_taken_away_is_named(house: Path) -> None:
    closed_session()
    (name,) = archive(AGE).files
    path = house / "archives" / name
    whole = path.read_bytes()
    path.write_bytes(whole[:-1] + b"x")
    with pytest.raises(CommandError):
        verified()
    path.unlink()
    assert f"not looked at: 2 entries in {name}" in verified()
    path.write_bytes(whole)
    assert "2 in archives" in verified()


def test_an_entry_in_the_archive_that_is_not_the_sealed_one_is_named(house: Path) -> None:
    """Even by somebody who also changed the sums."""
    closed_session()
    (name,) = archive(AGE).files
    path = house / "archives" / name
    text = gzip.decompress(path.read_bytes()).replace(b'"by": "anna"', b'"by": "nina"')
    path.write_bytes(gzip.compress(text))
    from orchestra.backup.manifest import sha256_of

    Archive.objects.update(sha256=sha256_of(path))
    assert "is not in" in check_archives(house / "archives").problems[0]


def test_an_entry_that_was_deleted_and_not_archived_is_still_named(house: Path) -> None:
    closed_session()
    kept = closed_session(timedelta(days=1))
    archive(AGE)
    AuditEntry.objects.filter(approval__session=kept.pk).first().delete()
    assert "was deleted" in next(iter(chain.problems(chain.head())))


# --- nothing is lost


def test_a_session_that_goes_on_while_it_is_written_stays(house: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    session, other = closed_session(), closed_session()
    archived_model = registry.archived_models["sessions"]

    def related_rows(ids: Any) -> Any:
        AgentSession.objects.filter(pk=session.pk).update(status="queued")
        return archived_model.related_rows(ids)

    monkeypatch.setitem(
        registry.archived_models, "sessions", replace(archived_model, related_rows=related_rows, rows_per_transaction=1)
    )
    report = archive(AGE)
    assert (report.archived["sessions"], report.skipped) == (1, 1)
    assert list(AgentSession.objects.all()) == [session]
    assert not Event.objects.filter(session=other.pk).exists()
    assert Event.objects.filter(session=session.pk).exists()


def test_a_row_that_is_added_while_it_is_written_undoes_the_step(house: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    session = closed_session()
    archived_model = registry.archived_models["sessions"]

    def leave(file: Archive, rows: Any) -> None:
        Event.objects.create(session_id=session.pk, seq=99, kind="text", payload="{}")

    monkeypatch.setitem(registry.archived_models, "sessions", replace(archived_model, before_delete=leave))
    assert archive(AGE).skipped == 1
    assert AgentSession.objects.count() == 1
    assert Archive.objects.get(shelf="sessions").deleted == 0
    assert not AuditSeal.objects.filter(archive__shelf="sessions").exists()


def test_a_file_that_cannot_be_read_back_deletes_nothing(tmp_path: Path) -> None:
    written = ArchiveWriter.create(tmp_path / "2026" / "x.jsonl.gz")
    written.file.write(b'{"model": "x"}\n')
    written.file.close()
    with pytest.raises(ArchiveDamaged):
        written.finish()
    assert not (tmp_path / "2026" / "x.jsonl.gz").exists()


def test_a_full_or_absent_disk_deletes_nothing(house: Path, settings: Any) -> None:
    closed_session()
    (house / "file").write_text("")
    settings.KEEPING = replace(settings.KEEPING, archive_dir=house / "file" / "archives")
    with pytest.raises(OSError):
        archive(AGE)
    assert AgentSession.objects.count() == 1


@pytest.mark.timeout(300)
def test_kill_9_at_random_moments_loses_nothing(house: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for _ in range(8):
        closed_session()
        closed_approval()
    closed_session(timedelta(days=1))
    monkeypatch.setattr(commands, "ROOTS_A_FILE", 4)
    for name, archived_model in registry.archived_models.items():
        monkeypatch.setitem(registry.archived_models, name, replace(archived_model, rows_per_transaction=1))
    chain.seal_new_entries()
    whole, before, chance = everything(*KINDS), counters(), random.Random(9)
    killed = 0
    for _ in range(10):
        connections.close_all()
        child = os.fork()
        if child == 0:
            try:
                archive(AGE)
            finally:
                os._exit(0)
        time.sleep(chance.uniform(0.0, 0.35))
        os.kill(child, signal.SIGKILL)
        killed += os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == -signal.SIGKILL
        _nothing_lost(house, whole)
        assert counters() == before
    assert killed
    archive(AGE)
    _nothing_lost(house, whole)
    assert (AgentSession.objects.count(), Approval.objects.count()) == (1, 1)
    assert counters() == before
    verified()
    assert not list(house.glob("archives/*/*.partial"))


def _nothing_lost(house: Path, whole: dict[str, set[str]]) -> None:
    """Every row is in the database, in a finished file, or in both."""
    found = everything(*KINDS)
    for line in lines(house):
        if line["model"] in found:
            found[line["model"]].add(str(line["pk"]))
    assert found == whole
