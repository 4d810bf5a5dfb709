"""Bugs put in on purpose. A checker that no planted bug makes fail proves nothing.

Each is a context manager that replaces a little of the product while it is open; ``BUGS`` names the scene of
``scenes.py`` in which it must show.
"""

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, suppress
from dataclasses import dataclass, replace
from datetime import timedelta
from types import SimpleNamespace
from typing import Any

from django.conf import settings
from django.db import DatabaseError, connection
from django.db.models.functions import Now

from approvals import commands, metrics
from approvals.commands import Grant
from approvals.errors import ApprovalClosed
from approvals.models import Approval, AuditEntry
from approvals.policy import ALLOW, PolicyDecision
from approvals.policy.digest import input_digest
from orchestra.db import sql
from orchestra.db.counters import add_to_tallies
from orchestra.db.transitions import Flow
from orchestra.db.unit_of_work import UnitOfWork
from sessions_app.models import SESSION_FLOW, AgentSession, Run
from sessions_app.supervisor import leases, orphan_reaper, permissions, supervisor
from sessions_app.supervisor.dispatcher import Subscription
from sessions_app.supervisor.leases import Claim
from sessions_app.supervisor.permission_outcome import PermissionOutcome
from sessions_app.transcript import writer

Plant = Callable[[], AbstractContextManager[None]]


@contextmanager
def instead(holder: Any, name: str, replacement: Any) -> Iterator[None]:
    original = getattr(holder, name)
    setattr(holder, name, replacement)
    try:
        yield
    finally:
        setattr(holder, name, original)


def nothing(*_: Any, **__: Any) -> int:
    return 0


# --- deciding


def decide_whatever_the_status() -> AbstractContextManager[None]:
    """Drop ``status='pending'`` from the update."""
    anything = Flow(dict.fromkeys(Approval.Status.values, frozenset(Approval.Status.values)))
    return instead(commands, "APPROVAL_FLOW", anything)


def decide_after_the_deadline() -> AbstractContextManager[None]:
    def decide(*_: Any, **given: Any) -> Approval:
        kept = settings.APPROVALS
        settings.APPROVALS = replace(kept, grace=timedelta(days=1))
        try:
            return original(**given)
        finally:
            settings.APPROVALS = kept

    original = commands.decide_approval
    return everywhere("decide_approval", decide)


@contextmanager
def everywhere(name: str, replacement: Any) -> Iterator[None]:
    """In ``approvals.commands`` and in the doors of this suite that imported it by name."""
    from tests.chaos import scenes, world

    with instead(commands, name, replacement), instead(world, name, replacement), instead(scenes, name, replacement):
        yield


def acknowledge_a_failed_commit() -> AbstractContextManager[None]:
    def decide(**given: Any) -> Approval:
        with suppress(DatabaseError):
            return original(**given)
        return Approval.objects.get(pk=given["approval_id"])

    original = commands.decide_approval
    return everywhere("decide_approval", decide)


def tell_the_loser_he_won() -> AbstractContextManager[None]:
    def decide(**given: Any) -> Approval:
        with suppress(ApprovalClosed):
            return original(**given)
        return Approval.objects.get(pk=given["approval_id"])

    original = commands.decide_approval
    return everywhere("decide_approval", decide)


def name_a_wrong_winner() -> AbstractContextManager[None]:
    def closed(approval: Approval) -> ApprovalClosed:
        return ApprovalClosed("somebody", status=approval.status, decided_by="nobody-at-all")

    return instead(commands, "_closed", closed)


def forget_the_audit() -> AbstractContextManager[None]:
    def insert(unit: UnitOfWork, new: Any, **given: Any) -> None:
        if not isinstance(new, AuditEntry) or new.action == "requested":
            original(unit, new, **given)

    original = UnitOfWork.insert
    return instead(UnitOfWork, "insert", insert)


def audit_somebody_else() -> AbstractContextManager[None]:
    original = commands.audit_entry
    return instead(commands, "audit_entry", lambda approval, **given: original(approval, **{**given, "by": "mallory"}))


def count_twice() -> AbstractContextManager[None]:
    def add(totals: Any) -> None:
        original({key: 2 * value for key, value in totals.items()})

    original = add_to_tallies
    return instead(metrics, "add_to_tallies", add)


# --- expiring


def expire_before_the_deadline() -> AbstractContextManager[None]:
    return instead(commands, "_overdue", lambda: Approval.objects.filter(status="pending"))


def expire_without_audit() -> AbstractContextManager[None]:
    return instead(commands, "_audit_expiries", nothing)


def never_expire() -> AbstractContextManager[None]:
    return instead(commands, "_overdue", Approval.objects.none)


# --- the digest and the grant


def digest_without_the_input() -> AbstractContextManager[None]:
    return _digest_without(tool_input="null")


def digest_without_the_directory() -> AbstractContextManager[None]:
    return _digest_without(working_directory="")


def digest_without_the_session() -> AbstractContextManager[None]:
    return _digest_without(session=None)


def digest_without_the_tool() -> AbstractContextManager[None]:
    return _digest_without(tool_name="")


@contextmanager
def _digest_without(**skipped: Any) -> Iterator[None]:
    original = input_digest

    def digest(**given: Any) -> str:
        return original(**{**given, **skipped})

    with instead(permissions, "input_digest", digest), instead(commands, "input_digest", digest):
        yield


def _consume(guard: str, *, spend: bool = True) -> AbstractContextManager[None]:
    def consume(*, approval_id: Any, digest: str, under: sql.Statement = sql.ALWAYS) -> Grant | None:
        rows = Approval.objects.filter(pk=approval_id, status="approved")
        if "unspent" in guard:
            rows = rows.filter(consumed_at__isnull=True)
        if "digest" in guard:
            rows = rows.filter(input_digest=digest)
        row = rows.first()
        if row and spend:
            rows.update(consumed_at=Now())
        return Grant(row.updated_input, row.answers, row.decided_by) if row else None

    @contextmanager
    def planted() -> Iterator[None]:
        from tests.chaos import scenes

        with instead(commands, "consume_approval", consume), instead(scenes, "consume_approval", consume):
            yield

    return planted()


def reuse_a_grant() -> AbstractContextManager[None]:
    return _consume("digest")


def spend_for_another_input() -> AbstractContextManager[None]:
    return _consume("unspent")


def run_without_spending() -> AbstractContextManager[None]:
    return _consume("digest", spend=False)


def answer_before_the_commit() -> AbstractContextManager[None]:
    """The agent is told to go whether or not the commit came through."""

    def answer(claim: Claim, request: Any, *given: Any, **more: Any) -> PermissionOutcome | None:
        try:
            return original(claim, request, *given, **more)
        except DatabaseError:
            return PermissionOutcome(effect="allow", tool_input=request.tool_input, status="approved")

    original = permissions.outcome_from_row
    return instead(permissions, "outcome_from_row", answer)


def deny_lets_run() -> AbstractContextManager[None]:
    def answer(claim: Claim, request: Any, *given: Any, **more: Any) -> PermissionOutcome | None:
        decision = original(claim, request, *given, **more)
        if decision and decision.effect == "deny":
            return replace(decision, effect="allow", tool_input=request.tool_input)
        return decision

    original = permissions.outcome_from_row
    return instead(permissions, "outcome_from_row", answer)


# --- policy


def policy_fails_open() -> AbstractContextManager[None]:
    def judge(call: Any, rules: Any, surroundings: Any) -> PolicyDecision:
        try:
            raise ValueError("no such path")
        except ValueError:
            return PolicyDecision(effect=ALLOW, reason="could not be judged", source="default")

    return instead(permissions, "_evaluate_policy", judge)


# --- fences


def ask_without_the_fence() -> AbstractContextManager[None]:
    def moving(claim: Claim, to: str) -> sql.Statement:
        return sql.Statement("UPDATE agent_sessions SET status = %s WHERE id = %s", (to, claim.session_id))

    return instead(permissions, "_moving", moving)


def consume_without_the_fence() -> AbstractContextManager[None]:
    return instead(permissions, "_fence", lambda claim: sql.ALWAYS)


def policy_answer_without_the_fence() -> AbstractContextManager[None]:
    return instead(permissions, "require_fence", nothing)


def append_without_the_fence() -> AbstractContextManager[None]:
    original = writer.append
    return instead(writer, "append", lambda session_id, lines, *, fence=None: original(session_id, lines))


def finish_without_the_fence() -> AbstractContextManager[None]:
    return instead(Claim, "session", lambda claim: AgentSession.objects.filter(pk=claim.session_id))


def reclaim_without_moving_the_fence() -> AbstractContextManager[None]:
    def reclaim(run: Run, **given: Any) -> bool:
        done = original(run, **given)
        AgentSession.objects.filter(pk=run.session_id).update(fence=run.fence)
        return done

    original = leases.reclaim
    return instead(leases, "reclaim", reclaim)


@contextmanager
def two_claims_win() -> Iterator[None]:
    """A claim does not look whether somebody has the session, and the constraint behind it is gone as well."""

    def claim(turn_id: Any, worker: Any) -> Claim | None:
        AgentSession.objects.filter(turns=turn_id, status="running").update(status="queued")
        return original(turn_id, worker)

    original = leases.claim_turn
    [constraint] = [one for one in Run._meta.constraints if one.name == "one_live_run"]
    with connection.schema_editor() as editor:
        editor.remove_constraint(Run, constraint)
    try:
        with instead(leases, "claim_turn", claim):
            yield
    finally:
        Run.objects.filter(ended_at__isnull=True).update(ended_at=Now())
        with connection.schema_editor() as editor:
            editor.add_constraint(Run, constraint)


def run_a_finished_turn_again() -> AbstractContextManager[None]:
    @contextmanager
    def planted() -> Iterator[None]:
        transitions = {**SESSION_FLOW.transitions, "completed": frozenset({"queued", "running"})}
        names = {
            name: getattr(leases.T, name) for name in ("RUNNING", "COMPLETED", "FAILED", "INTERRUPTED", "CANCELLED")
        }
        with (
            instead(leases, "SESSION_FLOW", Flow(transitions)),
            instead(leases, "S", SimpleNamespace(**{**_names(leases.S), "QUEUED": "completed"})),
            instead(leases, "T", SimpleNamespace(**names, QUEUED="completed")),
        ):
            yield

    return planted()


def _names(choices: Any) -> dict[str, str]:
    return {name: getattr(choices, name) for name in choices.names}


# --- going on


def resume_while_the_question_is_open() -> AbstractContextManager[None]:
    return instead(leases, "A", SimpleNamespace(**{**_names(leases.A), "PENDING": "never"}))


def resume_twice() -> AbstractContextManager[None]:
    transitions = {**SESSION_FLOW.transitions, "queued": SESSION_FLOW.transitions["queued"] | {"queued"}}
    waiting = SimpleNamespace(**{**_names(leases.S), "WAITING": "queued"})

    @contextmanager
    def planted() -> Iterator[None]:
        with instead(leases, "SESSION_FLOW", Flow(transitions)), instead(leases, "S", waiting):
            yield

    return planted()


def nobody_hears_and_nobody_sweeps() -> AbstractContextManager[None]:
    """A live supervisor learns of an answer by the bell or by the sweep; without both it never does."""
    return instead(Subscription, "deliver", nothing)


@contextmanager
def nobody_resumes() -> Iterator[None]:
    with instead(leases, "answered_parked_sessions", lambda **_: []), instead(leases, "is_held_live", lambda _: True):
        yield


def expect_a_lost_process_to_repeat_its_call() -> AbstractContextManager[None]:
    return instead(leases, "_doubt_parked_call", nothing)


# --- ends


@contextmanager
def leave_questions_open() -> Iterator[None]:
    """Neither the supervisor nor the end of the turn withdraws what nobody can use any more."""
    with instead(leases, "cancel_open_approvals", nothing), instead(supervisor.Supervisor, "_cancel_request", nothing):
        yield


def leave_the_run_open() -> AbstractContextManager[None]:
    return instead(Claim, "run", lambda claim: Run.objects.none())


def leave_escaped_processes() -> AbstractContextManager[None]:
    return instead(orphan_reaper, "kill_run", nothing)


def skip_a_number() -> AbstractContextManager[None]:
    def taking(session_id: Any, lines: Any, fence: int | None) -> sql.Statement:
        return original(session_id, [*lines, lines[-1]], fence)

    original = writer._take_numbers
    return instead(writer, "_take_numbers", taking)


@dataclass(frozen=True, slots=True)
class Bug:
    plant: Plant
    scene: str


BUGS = [
    Bug(decide_whatever_the_status, "two_doors"),
    Bug(tell_the_loser_he_won, "two_doors"),
    Bug(name_a_wrong_winner, "two_doors"),
    Bug(forget_the_audit, "two_doors"),
    Bug(audit_somebody_else, "two_doors"),
    Bug(count_twice, "two_doors"),
    Bug(acknowledge_a_failed_commit, "commit_fails"),
    Bug(decide_after_the_deadline, "past_the_deadline"),
    Bug(expire_without_audit, "past_the_deadline"),
    Bug(never_expire, "past_the_deadline"),
    Bug(expire_before_the_deadline, "early_sweep"),
    Bug(digest_without_the_input, "held"),
    Bug(digest_without_the_directory, "held"),
    Bug(digest_without_the_session, "held"),
    Bug(digest_without_the_tool, "held"),
    Bug(run_without_spending, "held"),
    Bug(deny_lets_run, "held"),
    Bug(policy_fails_open, "held"),
    Bug(leave_the_run_open, "held"),
    Bug(skip_a_number, "held"),
    Bug(nobody_hears_and_nobody_sweeps, "held"),
    Bug(leave_escaped_processes, "escapes"),
    Bug(leave_questions_open, "dies_asking"),
    Bug(answer_before_the_commit, "consume_fails"),
    Bug(nobody_resumes, "parked_and_answered"),
    Bug(resume_while_the_question_is_open, "parked"),
    Bug(resume_twice, "parked"),
    Bug(reuse_a_grant, "grant"),
    Bug(spend_for_another_input, "grant"),
    Bug(ask_without_the_fence, "stale"),
    Bug(consume_without_the_fence, "stale"),
    Bug(policy_answer_without_the_fence, "stale"),
    Bug(append_without_the_fence, "stale"),
    Bug(finish_without_the_fence, "stale"),
    Bug(reclaim_without_moving_the_fence, "stale"),
    Bug(two_claims_win, "redelivered"),
    Bug(run_a_finished_turn_again, "redelivered"),
    Bug(expect_a_lost_process_to_repeat_its_call, "killed_after_the_repeat"),
]
