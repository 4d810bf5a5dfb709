import json
import threading
from io import StringIO

import pytest
from django.core.management import CommandError, call_command
from django.db import connections, transaction

from approvals.audit import chain as audit
from approvals.commands import decide_approval
from approvals.models import AuditEntry, AuditSeal
from orchestra.models import Lease
from tests.factories import make_approval
from tests.threads import at_once


def record(reason=""):
    return AuditEntry.objects.create(
        approval=make_approval(), action="approved", won=True, by="anna", via="api", reason=reason
    )


def sealed(number):
    entries = [record(reason=f"reason {place}") for place in range(number)]
    assert audit.seal_new_entries() == number
    return entries


def found():
    return list(audit.problems(audit.head()))


def test_an_untouched_audit_verifies_and_sealing_again_adds_nothing(db):
    sealed(5)
    assert audit.seal_new_entries() == 0
    record()
    assert audit.seal_new_entries() == 1
    assert found() == []
    assert list(AuditSeal.objects.values_list("number", flat=True)) == [1, 2, 3, 4, 5, 6]


def test_an_empty_audit_verifies(db):
    assert audit.seal_new_entries() == 0
    assert found() == []


def test_what_a_person_decided_is_sealed(db):
    decide_approval(approval_id=make_approval().pk, decision="rejected", by="anna", via="api", reason="nö \ud7ff")
    audit.seal_new_entries()
    assert found() == []


@pytest.mark.parametrize(
    "change",
    [
        {"won": False},
        {"by": "boris"},
        {"reason": ""},
        {"via": "admin"},
        {"digest": "0" * 64},
        {"action": "rejected"},
        {"address": "x"},
    ],
)
def test_an_edited_entry_is_named_and_only_it(db, change):
    third = sealed(5)[2]
    AuditEntry.objects.filter(pk=third.pk).update(**change)
    assert found() == [f"audit entry {third.pk} (seal 3) was edited"]


def test_an_edited_time_or_another_approval_is_an_edit_too(db):
    first, second = sealed(2)
    AuditEntry.objects.filter(pk=first.pk).update(at=second.at.replace(year=2020))
    AuditEntry.objects.filter(pk=second.pk).update(approval=first.approval)
    assert [problem.rpartition(" ")[2] for problem in found()] == ["edited", "edited"]


def test_a_deleted_entry_is_named(db):
    entries = sealed(5)
    entries[1].delete()
    entry_id = AuditSeal.objects.get(number=2).entry
    assert found() == [f"audit entry {entry_id} (seal 2) was deleted"]


def test_a_deleted_entry_is_missed_even_if_its_seal_went_too(db):
    entries = sealed(5)
    entries[1].delete()
    AuditSeal.objects.filter(number=2).delete()
    assert found() == ["seal 2 was deleted"]


def test_a_cut_end_is_missed(db):
    entries = sealed(5)
    for entry in entries[3:]:
        AuditSeal.objects.filter(entry=entry.pk).delete()
        entry.delete()
    assert found() == ["seals 4 to 5 were deleted"]


def test_a_cut_end_stays_visible_after_the_sealer_went_on(db):
    entries = sealed(3)
    AuditSeal.objects.filter(number=3).delete()
    entries[2].delete()
    record()
    audit.seal_new_entries()
    assert found() == ["seal 3 was deleted"]


def test_two_swapped_entries_are_named(db):
    first, second = sealed(2)
    AuditEntry.objects.filter(pk=first.pk).update(reason=second.reason)
    AuditEntry.objects.filter(pk=second.pk).update(reason=first.reason)
    assert found() == [f"audit entry {first.pk} (seal 1) was edited", f"audit entry {second.pk} (seal 2) was edited"]


def test_two_swapped_seals_are_named(db):
    sealed(4)
    second, third = AuditSeal.objects.filter(number__in=[2, 3])
    AuditSeal.objects.filter(number__in=[2, 3]).delete()
    second.number, third.number = 3, 2
    AuditSeal.objects.bulk_create([second, third])
    assert f"audit entry {third.entry} (seal 2) is not in its place, or its seal was changed" in found()


def test_an_edit_with_a_new_seal_breaks_the_link_after_it(db):
    entries = sealed(3)
    AuditEntry.objects.filter(pk=entries[1].pk).update(by="mallory")
    entries[1].refresh_from_db()
    content = audit.content_sha256(entries[1])
    before = AuditSeal.objects.get(number=1).chain_sha256
    AuditSeal.objects.filter(number=2).update(content_sha256=content, chain_sha256=audit.link(before, content))
    assert found() == [f"audit entry {entries[2].pk} (seal 3) is not in its place, or its seal was changed"]


def test_a_forged_last_seal_does_not_fit_the_head(db):
    (entry,) = sealed(1)
    AuditEntry.objects.filter(pk=entry.pk).update(by="mallory")
    entry.refresh_from_db()
    content = audit.content_sha256(entry)
    AuditSeal.objects.update(content_sha256=content, chain_sha256=audit.link(audit.GENESIS, content))
    assert found() == ["seal 1 is not the one that was made"]


def test_an_entry_slipped_in_below_the_settled_mark_is_named(db):
    entries = sealed(2)
    old = record()
    AuditEntry.objects.filter(pk=old.pk).update(at=old.at.replace(year=2020))
    audit.seal_new_entries()
    assert audit.head().scan_from == 0 or audit.head().scan_from == old.pk
    audit.seal_new_entries()
    assert audit.head().scan_from == old.pk
    AuditEntry.objects.create(pk=entries[0].pk - 1_000_000, action="approved", won=True, via="api")
    audit.seal_new_entries()
    assert found() == [f"audit entry {entries[0].pk - 1_000_000} was slipped in: it carries no seal"]


def test_without_its_lease_the_sealer_goes_on_from_the_last_seal(db):
    sealed(2)
    Lease.objects.all().delete()
    record()
    assert audit.seal_new_entries() == 1
    assert found() == []


@pytest.mark.django_db(transaction=True)
def test_many_sealers_at_once_make_one_chain():
    for _ in range(40):
        record()
    assert sum(at_once([audit.seal_new_entries] * 4)) == 40
    assert found() == []


@pytest.mark.django_db(transaction=True)
def test_an_entry_that_commits_late_is_sealed_after_younger_ones():
    approval = make_approval()
    written, younger_sealed = threading.Event(), threading.Event()

    def slow_writer():
        try:
            with transaction.atomic():
                AuditEntry.objects.create(approval=approval, action="approved", won=True, via="api", reason="slow")
                written.set()
                younger_sealed.wait(30)
        finally:
            connections.close_all()

    writer = threading.Thread(target=slow_writer)
    writer.start()
    assert written.wait(30)
    record(reason="quick")
    assert audit.seal_new_entries() == 1
    younger_sealed.set()
    writer.join(30)
    assert audit.seal_new_entries() == 1
    slow, quick = (AuditEntry.objects.get(reason=reason).pk for reason in ("slow", "quick"))
    assert slow < quick
    assert list(AuditSeal.objects.values_list("entry", flat=True)) == [quick, slow]
    assert found() == []


def test_a_backlog_is_sealed_batch_by_batch(db, monkeypatch):
    monkeypatch.setattr(audit, "BATCH", 3)
    entries = [record() for _ in range(8)]
    AuditEntry.objects.update(at=entries[0].at.replace(year=2020))
    Lease.objects.create(name=audit.SEALER)
    assert audit._seal_batch(0, audit._settled_up_to(0)).number == 3
    assert audit.head().scan_from == 0, "what is old but not yet sealed must stay in sight"
    assert audit.seal_new_entries() == 5
    assert audit.head().scan_from == entries[-1].pk
    assert found() == []


def run(action):
    out = StringIO()
    call_command("audit", action, stdout=out)
    return out.getvalue().splitlines()


def test_the_command_prints_the_head_or_fails_with_the_problems(db):
    entries = sealed(2)
    lines = run("verify")
    assert lines[0].startswith("2 sealed entries")
    assert lines[1] == f"head: {AuditSeal.objects.get(number=2).chain_sha256}"
    entries[0].delete()
    out = StringIO()
    with pytest.raises(CommandError, match="1 problem"):
        call_command("audit", "verify", stdout=out)
    assert "was deleted" in out.getvalue()


def test_an_export_can_be_checked_without_the_database(db):
    import hashlib

    sealed(3)
    chain = audit.GENESIS
    for line in map(json.loads, run("export")):
        text = json.dumps(line["entry"], sort_keys=True, separators=(",", ":"))
        content = hashlib.sha256(text.encode()).hexdigest()
        chain = hashlib.sha256((chain + content).encode()).hexdigest()
        assert (line["content_sha256"], line["chain_sha256"]) == (content, chain)
    assert chain == audit.head().chain
