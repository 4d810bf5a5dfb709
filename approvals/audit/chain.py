"""The hash chain over the audit: each committed entry is chained to the one sealed before it.

One sealer does this after the deciding transactions have committed, because chaining inside them
would make every decision wait for every other. This has two consequences:

* The chain's order is the order of sealing. Ids are assigned before commit, so an entry may become
  visible after one with a higher id was sealed. It is not lost: each pass reads every unsealed
  entry above ``scan_from``, and that mark moves only past entries that have been visible for ten
  minutes, far longer than any of our transactions. An unsealed entry below the mark was not written
  by Orchestra, and ``problems`` reports it.
* An entry is unprotected until it is sealed, a few seconds after its commit.

Retention removes old entries from the database; their seals stay and name the archive (see
``approvals.audit.archived``), so that the chain starts at the first entry ever written.

The chain reveals every change by a person who did not rewrite all later seals. A person who can
rewrite the whole table can make a new chain: keep the head that ``audit verify`` prints out of
their reach.
"""

import hashlib
import json
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from datetime import UTC, timedelta
from itertools import islice
from typing import Any

from django.db import transaction
from django.db.models import Exists, Max, OuterRef, QuerySet
from django.db.models.functions import Now

from approvals.models import AuditEntry, AuditSeal
from orchestra.models import Lease

SEALER = "audit_sealer"
BATCH = 1000
SETTLED_AFTER = timedelta(minutes=10)
GENESIS = "0" * 64


@dataclass(frozen=True, slots=True, kw_only=True)
class Head:
    """The end of the chain. Up to the id ``scan_from`` no unsealed entry can appear any more."""

    number: int = 0
    chain: str = GENESIS
    scan_from: int = 0


def seal_new_entries() -> int:
    """Seal every committed entry that has no seal; return how many.

    Of two concurrent calls one returns 0.
    """
    Lease.objects.bulk_create([Lease(name=SEALER)], ignore_conflicts=True)
    settled = _settled_up_to(head().scan_from)  # read first, so that the batches below contain all that it covers
    total = last = 0
    while (batch := _seal_batch(last, settled)).number:
        total, last = total + batch.number, batch.last
    return total


def content_of(entry: AuditEntry) -> dict[str, Any]:
    """Return the whole content of an entry as JSON values; this is what is sealed and exported."""
    return {
        "id": entry.pk,
        "approval": str(entry.approval_id or ""),
        "at": entry.at.astimezone(UTC).isoformat(timespec="microseconds"),
        "action": entry.action,
        "won": entry.won,
        "by": entry.by,
        "via": entry.via,
        "address": entry.address,
        "reason": entry.reason,
        "digest": entry.digest,
    }


def content_sha256(entry: AuditEntry) -> str:
    """Return the SHA-256 of the canonical JSON (sorted keys, no spaces, ASCII) of ``content_of``."""
    text = json.dumps(content_of(entry), sort_keys=True, separators=(",", ":"), ensure_ascii=True)
    return hashlib.sha256(text.encode("ascii")).hexdigest()


def link(previous: str, content: str) -> str:
    """Return the chain value: SHA-256 over the previous value and the entry's own digest, both as
    hexadecimal text.
    """
    return hashlib.sha256((previous + content).encode("ascii")).hexdigest()


def head() -> Head:
    """Return the end of the chain."""
    return _head_of(Lease.objects.filter(name=SEALER).first())


def problems(until: Head) -> Iterator[str]:
    """Yield a sentence for each row that was edited, deleted, moved or inserted, in the chain up to
    ``until``.
    """
    number, chain = 0, GENESIS
    for seal, entry in sealed_entries(until):
        if seal.number != number + 1:
            yield f"{_seals(number + 1, seal.number - 1)} deleted"
        elif seal.chain_sha256 != link(chain, seal.content_sha256):
            yield f"audit entry {seal.entry} (seal {seal.number}) is not in its place, or its seal was changed"
        if entry is None and seal.archive_id is None:
            yield f"audit entry {seal.entry} (seal {seal.number}) was deleted"
        elif entry is not None and content_sha256(entry) != seal.content_sha256:
            yield f"audit entry {seal.entry} (seal {seal.number}) was edited"
        number, chain = seal.number, seal.chain_sha256
    if number < until.number:
        yield f"{_seals(number + 1, until.number)} deleted"
    elif chain != until.chain:
        yield f"seal {number} is not the one that was made"
    for entry_id in _unsealed().filter(pk__lte=until.scan_from).values_list("pk", flat=True):
        yield f"audit entry {entry_id} was slipped in: it carries no seal"


def sealed_entries(until: Head) -> Iterator[tuple[AuditSeal, AuditEntry | None]]:
    """Yield the seals in the chain's order, each with its entry, or None if that is not in the
    database.
    """
    seals = AuditSeal.objects.filter(number__lte=until.number).order_by("number")
    for some in _in_batches(seals):
        entries = AuditEntry.objects.in_bulk([seal.entry for seal in some])
        for seal in some:
            yield seal, entries.get(seal.entry)


def unsealed_count() -> int:
    """Count the entries that have no seal yet."""
    return _unsealed().filter(pk__gt=head().scan_from).count()


def _in_batches(seals: QuerySet[AuditSeal]) -> Iterator[list[AuditSeal]]:
    rows = seals.iterator(chunk_size=BATCH)
    while some := list(islice(rows, BATCH)):
        yield some


def _seals(first: int, last: int) -> str:
    return f"seal {first} was" if first == last else f"seals {first} to {last} were"


def _unsealed() -> QuerySet[AuditEntry]:
    return AuditEntry.objects.exclude(Exists(AuditSeal.objects.filter(entry=OuterRef("pk"))))


@dataclass(frozen=True, slots=True)
class _Batch:
    """The number of entries that were sealed, and the id of the last one."""

    number: int = 0
    last: int = 0


@transaction.atomic
def _seal_batch(after: int, settled: int) -> _Batch:
    """Seal the oldest unsealed entries; the sealer's row stays locked until the seals are
    committed.

    ``after`` is where the previous batch ended, so that a long backlog is not searched again for
    each batch. The next pass finds an entry that becomes visible below it: ``scan_from`` moves only
    to ``settled``, and only when all entries are sealed.
    """
    lease = Lease.objects.select_for_update(skip_locked=True).filter(name=SEALER).first()
    if lease is None:
        return _Batch()
    at = _head_of(lease)
    entries = list(_unsealed().filter(pk__gt=max(at.scan_from, after)).order_by("pk")[:BATCH])
    seals, chain = [], at.chain
    for number, entry in enumerate(entries, start=at.number + 1):
        content = content_sha256(entry)
        chain = link(chain, content)
        seals.append(AuditSeal(number=number, entry=entry.pk, content_sha256=content, chain_sha256=chain))
    AuditSeal.objects.bulk_create(seals)
    drained = len(entries) < BATCH
    scan_from = max(settled, at.scan_from) if drained else at.scan_from
    now = Head(number=at.number + len(seals), chain=chain, scan_from=scan_from)
    if now != at:
        Lease.objects.filter(pk=lease.pk).update(state=asdict(now), updated_at=Now())
    return _Batch(len(seals), entries[-1].pk if entries else after)


def _head_of(lease: Lease | None) -> Head:
    """Return the head that the sealer stored; without its row, the head is that of the last seal."""
    if lease and lease.state:
        return Head(**lease.state)
    last = AuditSeal.objects.order_by("number").last()
    return Head(number=last.number, chain=last.chain_sha256) if last else Head()


def _settled_up_to(scan_from: int) -> int:
    recent = AuditEntry.objects.filter(pk__gt=scan_from, at__lte=Now() - SETTLED_AFTER)
    newest: int | None = recent.aggregate(newest=Max("pk"))["newest"]
    return newest or scan_from
