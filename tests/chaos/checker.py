"""One judge for every run: what the rows, the agents' own ledger and the clients' histories say about the promises.

Each invariant is one function that names what violates it. They judge rows alone, so the same checker serves a unit
test with one session and a campaign of thousands of calls under fire. ``Evidence.settled`` says that nothing is in
flight any more, and takes away every tolerance for work that is merely late.
"""

import json
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from itertools import pairwise
from typing import Any
from uuid import UUID

from django.conf import settings
from django.db.models import Count, F
from django.utils import timezone

from approvals import metrics
from approvals.models import Approval, AuditEntry, DecisionSource
from approvals.policy.digest import input_digest
from sessions_app.models import OPEN_SESSION, AgentSession, Event, PermissionRequest, Run, Turn
from sessions_app.supervisor.leases import LOST_AFTER

A, S, T = Approval.Status, AgentSession.Status, Turn.Status
UNGATED = frozenset({"Read", "Task", "ToolSearch", "TaskStop", "ListAgents"})
"""Tools of the fake CLI's scenes that the default policy lets pass without a row."""

ASIDE = ("extended", "voided", "held", "released", "reopened")
"""What the audit says about an approval besides its way from question to answer."""

LATE = timedelta(seconds=60)
CLOCK_S = 0.005  # SQLite's clock is cut to milliseconds, the ledger's is not


@dataclass(frozen=True, slots=True)
class Attempt:
    """One request on the wire; ``status`` is HTTP's, 0 if no answer came."""

    at: float
    until: float
    status: int


@dataclass(slots=True)
class Deed:
    """One thing a client wanted and what it was told in the end; ``ok`` is what it may rely on for ever."""

    what: str  # start, message, decide
    by: str
    door: str = "api"
    session: str = ""
    approval: str = ""
    verdict: str = ""
    ok: bool = False
    refused: dict[str, Any] | None = None
    attempts: list[Attempt] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class Outage:
    """A part that was away, in seconds since the epoch."""

    part: str
    at: float
    until: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Evidence:
    """What is not in the database. ``orphans`` are sentences of whoever watched the process table."""

    ledger: Sequence[dict[str, Any]]
    history: Sequence[Deed] = ()
    outages: Sequence[Outage] = ()
    orphans: Sequence[str] = ()
    settled: bool = False


@dataclass(frozen=True, slots=True)
class Violation:
    invariant: str
    what: str

    def __str__(self) -> str:
        return f"{self.invariant}: {self.what}"


def violations(evidence: Evidence) -> list[Violation]:
    """Everything that breaks a promise, all invariants judged."""
    return [Violation(name, what) for name, judge in INVARIANTS.items() for what in judge(evidence)]


# --- decisions


def decided_once(evidence: Evidence) -> Iterator[str]:
    """I1: every closed approval has exactly one winning row in the audit, of the same status, person and door."""
    won: dict[UUID, list[AuditEntry]] = defaultdict(list)
    for entry in AuditEntry.objects.filter(won=True).exclude(action__in=("requested", *ASIDE)):
        if entry.approval_id:
            won[entry.approval_id].append(entry)
    for approval in Approval.objects.all():
        rows = won[approval.pk]
        if approval.is_open:
            if rows:
                yield f"approval {approval.pk} is open, the audit says {rows[0]}"
        elif len(rows) != 1:
            yield f"approval {approval.pk} is {approval.status} and has {len(rows)} winners in the audit"
        elif (rows[0].action, rows[0].by) != (approval.status, approval.decided_by):
            yield f"approval {approval.pk} is {approval.status} by {approval.decided_by!r}, the audit says {rows[0]}"


def nothing_pends_for_ever(evidence: Evidence) -> Iterator[str]:
    """I3: nothing overdue stays open; nobody decided after the deadline, no sweep expired before it."""
    grace, longest = settings.APPROVALS.grace, settings.APPROVALS.max_timeout
    late = timedelta(0) if evidence.settled else LATE
    people = Approval.objects.exclude(decided_via=DecisionSource.POLICY)
    for approval in people.filter(status=A.PENDING, expires_at__lt=timezone.now() - grace - late):
        yield f"approval {approval.pk} is still open, due since {approval.expires_at}"
    for approval in people.filter(expires_at__gt=F("created_at") + longest + timedelta(seconds=1)):
        yield f"approval {approval.pk} may wait until {approval.expires_at}, more than {longest}"
    for approval in people.exclude(status__in=(A.PENDING, A.CANCELLED)):  # SQLite would compare times as texts
        after = (approval.decided_at or approval.expires_at) - approval.expires_at - grace
        if approval.status == A.EXPIRED and after < timedelta(0):
            yield f"approval {approval.pk} expired {-after} before its deadline"
        elif approval.status != A.EXPIRED and after > timedelta(0):
            yield f"approval {approval.pk} was {approval.status} {after} after its deadline"


def acknowledged_is_durable(evidence: Evidence) -> Iterator[str]:
    """I6: what a client was told is done is in the rows, and a refusal named the true winner (I1)."""
    approvals = {str(row.pk): row for row in Approval.objects.all()}
    sessions = {str(pk) for pk in AgentSession.objects.values_list("pk", flat=True)}
    turns = Counter(str(pk) for pk in Turn.objects.values_list("session", flat=True))
    wanted: Counter[str] = Counter()
    for deed in evidence.history:
        if deed.what == "decide":
            row = approvals.get(deed.approval)
            if deed.ok and (row is None or (row.status, row.decided_by) != (deed.verdict, deed.by)):
                yield f"{deed.by} was told that {deed.approval} is {deed.verdict}; the row says {row and row.status}"
            winner = (deed.refused or {}).get("decided_by")
            if winner and row and winner != row.decided_by:
                yield f"{deed.by} was told that {winner} decided {deed.approval}; it was {row.decided_by}"
        elif deed.ok:
            wanted[deed.session] += 1
            if deed.session not in sessions:
                yield f"session {deed.session} was acknowledged and is not there"
    for session, number in wanted.items():
        if turns[session] < number:
            yield f"session {session} has {turns[session]} turns, {number} were acknowledged"


def decision_and_effect(evidence: Evidence) -> Iterator[str]:
    """I9: a closed approval's call is told of it: by a live supervisor at once, by a sweep after a crash.

    A turn that is parked with several calls goes on when all of them are closed, and no sooner.
    """
    late = timedelta(0) if evidence.settled else LATE
    live = Run.objects.filter(ended_at__isnull=True).values("session")
    unanswered = PermissionRequest.objects.filter(answered_at__isnull=True)
    waiting = unanswered.filter(approval__status=A.PENDING, session__status=S.WAITING).exclude(session__in=live)
    open_requests = unanswered.exclude(approval__status=A.PENDING).exclude(turn__in=waiting.values("turn"))
    for request in open_requests.filter(approval__decided_at__lt=timezone.now() - late).select_related("approval"):
        yield f"call {request.tool_use_id} of {request.session_id} was never told that it is {request.approval.status}"


def one_question_per_call(evidence: Evidence) -> Iterator[str]:
    """I11: one open approval for a tool call."""
    asked = Approval.objects.filter(status=A.PENDING).exclude(subject="").values("subject")
    for row in asked.annotate(number=Count("pk")).filter(number__gt=1):
        yield f"{row['number']} open approvals for {row['subject']}"


# --- runs


def _digest_of(entry: dict[str, Any], directories: dict[str, str]) -> str:
    return input_digest(
        tool_name=entry["tool"],
        tool_input=entry["input"],
        working_directory=directories.get(entry["session"], ""),
        session=UUID(entry["session"]),
    )


def _gated(evidence: Evidence) -> list[tuple[dict[str, Any], str]]:
    """Ledger entries that needed an approval, each with the digest of what ran."""
    directories = {str(pk): where for pk, where in AgentSession.objects.values_list("pk", "working_directory")}
    gated = [entry for entry in evidence.ledger if entry["tool"] not in UNGATED]
    return [(entry, _digest_of(entry, directories)) for entry in sorted(gated, key=lambda entry: entry["at"])]


def ran_only_what_was_approved(evidence: Evidence) -> Iterator[str]:
    """I2: the nth run of an input has its own nth spent approval, decided and spent before it began."""
    spent: dict[tuple[str, str], list[Approval]] = defaultdict(list)
    for approval in Approval.objects.filter(consumed_at__isnull=False).order_by("consumed_at"):
        spent[str(approval.session), approval.run_digest].append(approval)
        if not approval.decided_at or not approval.consumed_at or approval.consumed_at < approval.decided_at:
            yield f"approval {approval.pk} was spent before it was decided"
        edited = approval.updated_input or approval.tool_input
        meant = input_digest(
            tool_name=approval.tool_name, tool_input=edited,
            working_directory=approval.working_directory, session=approval.session,
        )  # fmt: skip
        if approval.run_digest != meant:
            yield f"approval {approval.pk} carries a digest that is not that of what it lets run"
    times: Counter[tuple[str, str]] = Counter()
    for entry, digest in _gated(evidence):
        what = f"{entry['tool']} {entry['input'][:80]} of session {entry['session']} ({entry['tool_use_id']})"
        grants, number = spent[entry["session"], digest], times[entry["session"], digest]
        times[entry["session"], digest] += 1
        if number >= len(grants):
            yield f"{what} ran {number + 1} times with {len(grants)} spent approvals"
        elif (at := grants[number].consumed_at) and at.timestamp() > entry["at"] + CLOCK_S:
            yield f"{what} ran before approval {grants[number].pk} was spent"


def answers_its_own_call(evidence: Evidence) -> Iterator[str]:
    """I10: what ran under a tool use id was approved under that id, in that session."""
    by_call: dict[tuple[str, str], list[Approval]] = defaultdict(list)
    for request in PermissionRequest.objects.select_related("approval"):
        by_call[str(request.session_id), request.tool_use_id].append(request.approval)
        if request.approval.session != request.session_id:
            yield f"call {request.tool_use_id} of {request.session_id} is answered by another session's approval"
    for approval in Approval.objects.filter(decided_via=DecisionSource.POLICY):
        by_call[str(approval.session), approval.subject.rpartition(":")[2]].append(approval)
    for entry, digest in _gated(evidence):
        own = by_call[entry["session"], entry["tool_use_id"]]
        if not any(approval.consumed_at and approval.run_digest == digest for approval in own):
            yield f"call {entry['tool_use_id']} of {entry['session']} ran without a spent approval of its own"


def fails_closed(evidence: Evidence) -> Iterator[str]:
    """I12: nothing refused, overdue, withdrawn or still open is ever spent or run."""
    for approval in Approval.objects.filter(consumed_at__isnull=False).exclude(status=A.APPROVED):
        yield f"approval {approval.pk} is {approval.status} and was spent"
    granted = set(Approval.objects.filter(status=A.APPROVED).values_list("session", "run_digest"))
    for entry, digest in _gated(evidence):
        if (UUID(entry["session"]), digest) not in granted:
            yield f"{entry['tool']} of session {entry['session']} ran; nobody approved it"


# --- sessions, supervisors, processes


def ends_or_visibly_waits(evidence: Evidence) -> Iterator[str]:
    """I4: an open session is exactly one of queued, running, waiting; a closed one has nothing open."""
    now = timezone.now()
    turns = {turn.session_id: turn for turn in Turn.objects.filter(status__in=(T.QUEUED, T.RUNNING))}
    runs = {run.session_id: run for run in Run.objects.filter(ended_at__isnull=True)}
    asked = set(Approval.objects.filter(status=A.PENDING).values_list("session", flat=True))
    lately = set(Approval.objects.filter(decided_at__gt=now - LATE).values_list("session", flat=True))
    for session in AgentSession.objects.all():
        turn, run = turns.get(session.pk), runs.get(session.pk)
        if session.status not in OPEN_SESSION:
            left = [name for name, has in (("turn", turn), ("run", run), ("question", session.pk in asked)) if has]
            if left:
                yield f"session {session.pk} is {session.status} with an open {' and '.join(left)}"
        elif turn is None:
            yield f"session {session.pk} is {session.status} without an open turn"
        elif evidence.settled and session.status in (S.QUEUED, S.RUNNING):
            yield f"session {session.pk} is still {session.status} when all is quiet"
        elif session.status == S.QUEUED and (run or not _recent(turn.dispatched_at, now, LATE)):
            yield f"session {session.pk} is queued, last dispatched {turn.dispatched_at}, run {run}"
        elif session.status == S.RUNNING and (run is None or not _recent(run.heartbeat_at, now, LOST_AFTER)):
            yield f"session {session.pk} is running, last sign of life {run and run.heartbeat_at}"
        elif session.status == S.WAITING and session.pk not in asked | (set() if evidence.settled else lately):
            yield f"session {session.pk} waits for nothing"


def _recent(at: datetime | None, now: datetime, age: timedelta) -> bool:
    return at is not None and now - at < age


def no_process_outlives_its_run(evidence: Evidence) -> Iterator[str]:
    """I5: as seen by whoever watched the process table."""
    yield from evidence.orphans


def one_supervisor(evidence: Evidence) -> Iterator[str]:
    """I7: fences grow from run to run, no two runs of a session overlap, and its transcript has no gap or repeat."""
    runs: dict[UUID, list[Run]] = defaultdict(list)
    for run in Run.objects.order_by("session", "fence"):
        runs[run.session_id].append(run)
    seqs: dict[UUID, list[int]] = defaultdict(list)
    for session_id, seq in Event.objects.order_by("session", "seq").values_list("session", "seq"):
        seqs[session_id].append(seq)
    for session in AgentSession.objects.all():
        mine = runs[session.pk]
        for earlier, later in pairwise(mine):
            if earlier.ended_at is None or later.created_at < earlier.ended_at:
                yield f"session {session.pk} had runs {earlier.fence} and {later.fence} at the same time"
        if mine and mine[-1].fence > session.fence:
            yield f"session {session.pk} has fence {session.fence}, its last run {mine[-1].fence}"
        if seqs[session.pk] != list(range(1, session.last_seq + 1)):
            yield f"the transcript of session {session.pk} is not 1 to {session.last_seq}"


def redelivery_is_harmless(evidence: Evidence) -> Iterator[str]:
    """I8: no run of a turn begins after its end, and a turn ends once."""
    for run in Run.objects.filter(created_at__gt=F("turn__finished_at")).select_related("turn"):
        yield f"turn {run.turn_id} ended at {run.turn.finished_at} and was run again at {run.created_at}"
    ends: Counter[UUID] = Counter()
    for session_id, payload in Event.objects.filter(kind=Event.Kind.STATUS).values_list("session", "payload"):
        ends[session_id] += json.loads(payload).get("turn") in (T.COMPLETED, T.FAILED, T.INTERRUPTED)
    closed = Turn.objects.filter(status__in=(T.COMPLETED, T.FAILED, T.INTERRUPTED))
    turns = Counter(closed.values_list("session", flat=True))
    for session_id in ends.keys() | turns.keys():
        if ends[session_id] != turns[session_id]:
            yield f"session {session_id} has {turns[session_id]} ended turns and {ends[session_id]} ends on record"


def declared_transitions(evidence: Evidence) -> Iterator[str]:
    """I22: an approval's winning audit rows are a declared path, and the counters are what the audit adds up to."""
    paths: dict[UUID, list[str]] = defaultdict(list)
    policy = set(Approval.objects.filter(decided_via=DecisionSource.POLICY).values_list("pk", flat=True))
    for approval_id, action in AuditEntry.objects.filter(won=True).order_by("pk").values_list("approval", "action"):
        paths[approval_id].append(action)
    for approval_id in Approval.objects.values_list("pk", flat=True):
        path = [action for action in paths[approval_id] if action not in ASIDE]
        legal = len(path) == 1 if approval_id in policy else path[:1] == ["requested"] and len(path) <= 2
        if not legal:
            yield f"approval {approval_id} went {' -> '.join(path) or 'nowhere'}"
    people = AuditEntry.objects.filter(won=True).exclude(via=DecisionSource.POLICY)
    told = Counter(people.values_list("action", flat=True))
    totals = metrics.read_snapshot().totals
    for name, action in (
        (metrics.ACCEPTED, A.APPROVED),
        (metrics.REJECTED, A.REJECTED),
        (metrics.TIMED_OUT, A.EXPIRED),
    ):
        if round(totals[name, ""]) != told[action]:
            yield f"{name} is {totals[name, '']:g}, the audit counts {told[action]}"
    closed = sum(told[action] for action in (A.APPROVED, A.REJECTED, A.EXPIRED, A.CANCELLED))
    if round(totals[metrics.DEQUEUED, ""]) != closed:
        yield f"{metrics.DEQUEUED} is {totals[metrics.DEQUEUED, '']:g}, the audit counts {closed}"


def outages_block_nobody(evidence: Evidence) -> Iterator[str]:
    """I23: while Redis alone is away, no decision by REST fails."""
    for outage in (outage for outage in evidence.outages if outage.part == "redis"):
        others = [other for other in evidence.outages if other.part != "redis"]
        for deed in evidence.history:
            for attempt in deed.attempts:
                during = attempt.at > outage.at and attempt.until < outage.until
                excused = any(other.at <= attempt.until and attempt.at <= other.until for other in others)
                failed = attempt.status == 0 or attempt.status >= 500
                if deed.what == "decide" and during and failed and not excused:
                    yield f"{deed.by} could not decide {deed.approval} while Redis was away: {attempt.status}"


INVARIANTS: dict[str, Callable[[Evidence], Iterable[str]]] = {
    "I1": decided_once,
    "I2": ran_only_what_was_approved,
    "I3": nothing_pends_for_ever,
    "I4": ends_or_visibly_waits,
    "I5": no_process_outlives_its_run,
    "I6": acknowledged_is_durable,
    "I7": one_supervisor,
    "I8": redelivery_is_harmless,
    "I9": decision_and_effect,
    "I10": answers_its_own_call,
    "I11": one_question_per_call,
    "I12": fails_closed,
    "I22": declared_transitions,
    "I23": outages_block_nobody,
}
