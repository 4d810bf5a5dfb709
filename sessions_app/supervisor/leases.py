"""The lease on a session: claiming a turn, the heartbeat, finishing a run, and giving a lost run
up.

Every write of a supervisor filters on its fence, so that a supervisor that was given up for lost
changes nothing.
"""

import json
import logging
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import timedelta
from typing import Any
from uuid import UUID

from django.conf import settings
from django.db import IntegrityError, transaction
from django.db.models import Exists, F, OuterRef, QuerySet
from django.db.models.functions import Coalesce, Now

from approvals.commands import cancel_open_approvals
from approvals.deadlines import time_of
from approvals.models import Approval, DecisionSource
from approvals.stop.commands import when_not_stopped
from orchestra.db import notify, sql
from orchestra.logs.config import bind
from sessions_app.dispatch import dispatch_on_commit
from sessions_app.errors import StaleFence
from sessions_app.models import OPEN_TURN, SESSION_FLOW, TURN_FLOW, AgentSession, Event, PermissionRequest, Run, Turn
from sessions_app.reopened import awaited_by_turn, repeats_parked_call, taken_up_by_turn
from sessions_app.supervisor.cli.plan_mode import is_in_plan_mode
from sessions_app.supervisor.cli.protocol import Result
from sessions_app.supervisor.outcomes import GOES_ON, PARKED, STOPPED, UNSENT, Outcome, Spent, failed, from_result
from sessions_app.transcript import writer

logger = logging.getLogger(__name__)

A, S, T = Approval.Status, AgentSession.Status, Turn.Status
HEARTBEAT = timedelta(seconds=10)
LOST_AFTER = timedelta(seconds=30)
MOST_LOST_RUNS = 3


@dataclass(frozen=True, slots=True, kw_only=True)
class Worker:
    """The process a supervisor lives in; ``started`` in seconds since the epoch tells reused pids
    apart.
    """

    host: str
    pid: int
    started: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Claim:
    """A supervisor's lease on a session; it ends when the fence moves on.

    ``deferred`` is the tool use id of the call that the CLI was parked with and repeats first,
    ``interrupted`` says that an earlier process was killed in this turn and that the CLI may know
    of it, ``repeats`` that an earlier process may have made the same requests. ``prompt`` is empty
    when a parked turn goes on. ``requested_by`` is the person who sent the turn's prompt, and so
    requests what the agent does now, even if another person began the dialog. ``conversation`` is
    the CLI's own id of the dialog.
    """

    session_id: UUID
    conversation: UUID
    turn_id: UUID
    run_id: UUID
    fence: int
    title: str
    agent: str
    model: str
    directory: str
    prompt: str
    resume: bool
    deferred: str
    interrupted: bool
    repeats: bool
    requested_by: str
    approval_timeout: timedelta
    transcript_bytes: int = 0
    plan_mode: bool = False
    attachments: Sequence[Mapping[str, Any]] = ()
    options: Mapping[str, Any] = field(default_factory=dict)
    trace_parent: str = ""

    def session(self) -> QuerySet[AgentSession]:
        """The session's row while the claim holds the lease."""
        return AgentSession.objects.filter(pk=self.session_id, fence=self.fence)

    @property
    def replay(self) -> bool:
        """Whether the CLI repeats a parked call before anything else."""
        return bool(self.deferred)

    def run(self) -> QuerySet[Run]:
        return Run.objects.filter(pk=self.run_id, ended_at__isnull=True)


def claim_turn(turn_id: UUID, worker: Worker) -> Claim | None:
    """Take a queued session for its open turn.

    Return None if another worker has it, there is nothing to do, or all agents are stopped.
    """
    try:
        with transaction.atomic():
            turn = Turn.objects.filter(pk=turn_id, status__in=OPEN_TURN).first()
            if turn is None:
                return None
            queued = AgentSession.objects.filter(when_not_stopped(), pk=turn.session_id, status=S.QUEUED)
            if not SESSION_FLOW.move(
                queued, to=S.RUNNING, fence=F("fence") + 1, host=worker.host, started_at=Coalesce("started_at", Now())
            ):
                return None
            fresh = TURN_FLOW.move(Turn.objects.filter(pk=turn_id, status=T.QUEUED), to=T.RUNNING, started_at=Now())
            session = AgentSession.objects.get(pk=turn.session_id)
            run = Run.objects.create(
                session=session,
                turn=turn,
                fence=session.fence,
                host=worker.host,
                worker_pid=worker.pid,
                worker_started=worker.started,
            )
            writer.append(session.pk, [writer.line("status", status=S.RUNNING, turn=turn.number)])
            notify.send("session", str(session.pk))
    except IntegrityError:  # an older run of the session has not been closed yet; the sweep closes it
        return None
    with bind(session=session.pk):
        logger.info("session %s running, fence %d", session.pk, session.fence)
    return _claim_of(session, turn, run, fresh=bool(fresh))


def _claim_of(session: AgentSession, turn: Turn, run: Run, *, fresh: bool) -> Claim:
    parked = bool(session.deferred_tool_use_id)
    minutes = session.options.get("approval_timeout_minutes")
    return Claim(
        session_id=session.pk,
        conversation=session.conversation_id,
        turn_id=turn.pk,
        run_id=run.pk,
        fence=session.fence,
        title=session.title,
        agent=session.agent,
        model=session.model,
        directory=session.working_directory,
        prompt="" if parked and (not fresh or repeats_parked_call(session, turn)) else turn.prompt,
        resume=session.resumable,
        deferred=session.deferred_tool_use_id,
        interrupted=not fresh and not parked and session.resumable,
        repeats=turn.started_at is not None,
        requested_by=turn.requested_by or session.requested_by,
        approval_timeout=time_of(minutes) or settings.APPROVALS.timeout,
        transcript_bytes=session.transcript_bytes,
        plan_mode=is_in_plan_mode(session.pk, session.options),
        attachments=turn.attachments,
        options=session.options,
        trace_parent=session.trace_parent,
    )


def record_process(claim: Claim, pid: int, started: float) -> None:
    """Record the process, so that others can check whether it is alive."""
    claim.run().update(pid=pid, pid_started=started, heartbeat_at=Now())


def heartbeat_all(run_ids: list[UUID]) -> int:
    """Update the heartbeat of these runs in one statement; return how many are still open."""
    return Run.objects.filter(pk__in=run_ids, ended_at__isnull=True).update(heartbeat_at=Now())


def mark_resumable(claim: Claim) -> None:
    """Record that the CLI has this conversation."""
    claim.session().filter(resumable=False).update(resumable=True)


def finish_run(claim: Claim, outcome: Outcome, *, exit_code: int | None, stderr: str = "", deferred: str = "") -> bool:
    """Close the run and, unless it was parked, its turn; return False if the fence has moved on.

    A cancelled session stays cancelled; only its run is closed then. ``deferred`` is the tool use
    id of the call that the CLI keeps for its next start.
    """
    with transaction.atomic():
        ended = claim.run().update(
            ended_at=Now(),
            exit_code=exit_code,
            ended_why=outcome.code or outcome.status,
            stderr_tail=writer.storable(stderr[-2000:]),
            **_cost(outcome),
        )
        if not claim.session().update(deferred_tool_use_id=deferred, **_spent(outcome)):
            return False
        turn = Turn.objects.filter(pk=claim.turn_id)
        turn.update(**_spent(outcome))
        if outcome.status in GOES_ON:
            _leave_open(claim.session(), turn, outcome)
        elif outcome.code == "conversation_lost" and not _tool_ran(claim.turn_id):
            claim.session().update(resumable=False)  # no tool ran, so the prompt runs again
            _leave_open(claim.session(), turn, replace(outcome, status=UNSENT))
        elif outcome.code == "conversation_in_use" and not claim.resume:
            claim.session().update(resumable=True)  # a process that was killed early had begun it
            _leave_open(claim.session(), turn, replace(outcome, status=STOPPED))
        else:
            close_turn(claim.session(), turn, outcome, claim.session_id)
        notify.send("session", str(claim.session_id))
    logger.info("session %s run ended: %s", claim.session_id, outcome.code or outcome.status)
    return bool(ended)


def _cost(outcome: Outcome) -> dict[str, Any]:
    """Return the cost of one process."""
    return {name: getattr(outcome, name) for name in ("cost_usd", "input_tokens", "output_tokens")}


def _spent(outcome: Outcome) -> dict[str, Any]:
    """Return the changes that add the cost of an outcome to the sums of a session or a turn."""
    return {name: F(name) + value for name, value in _cost(outcome).items()}


def _leave_open(session: QuerySet[AgentSession], turn: QuerySet[Turn], outcome: Outcome) -> None:
    """Leave the turn to another process: after a decision if one is awaited, else as soon as a
    worker is free.
    """
    if outcome.status == UNSENT:
        TURN_FLOW.move(turn, to=T.QUEUED, dispatched_at=None)
    if outcome.status != PARKED:
        SESSION_FLOW.move(session.filter(status=S.RUNNING), to=S.QUEUED)


def _tool_ran(turn_id: UUID) -> bool:
    """Whether the agent may have used any tool in this turn; a requested tool runs only once its
    approval is consumed.
    """
    turn = Turn.objects.get(pk=turn_id)
    used = Event.objects.filter(session=turn.session_id, kind=Event.Kind.TOOL_USE, at__gte=turn.started_at)
    asked = PermissionRequest.objects.filter(turn=turn, approval__consumed_at__isnull=True)
    waited = set(asked.values_list("tool_use_id", flat=True))
    return turn.number > 1 or any(
        json.loads(call).get("id") not in waited for call in used.values_list("payload", flat=True)
    )


def close_turn(session: QuerySet[AgentSession], turn: QuerySet[Turn], outcome: Outcome, session_id: UUID) -> None:
    """End a turn and its session, and cancel its approval requests. A turn that has ended already
    stays as it is.
    """
    failure = {"failure_code": outcome.code, "failure_detail": writer.storable(outcome.detail)}
    if not TURN_FLOW.move(turn, to=outcome.status, result=writer.storable(outcome.text), finished_at=Now(), **failure):
        return  # it was cancelled before
    to = S.FAILED if outcome.status == T.FAILED else S.COMPLETED
    SESSION_FLOW.move(session, to=to, finished_at=Now(), **(failure if to == S.FAILED else {}))
    why = outcome.detail or "the turn ended"
    cancel_open_approvals(session=session_id, by="", via=DecisionSource.SYSTEM, reason=why, which=awaited_by_turn())
    never_made_again = _never_made_again(session_id)
    PermissionRequest.objects.filter(session=session_id, answered_at__isnull=True).update(answered_at=Now())
    writer.append(
        session_id,
        [*never_made_again, writer.line("status", status=to, turn=outcome.status, **failure)],
    )


def _never_made_again(session_id: UUID) -> list[writer.Line]:
    """What was approved and did not run, because the agent did not make the call again that was put
    off.
    """
    left = PermissionRequest.objects.filter(session=session_id, put_off=True, answered_at__isnull=True)
    unused = left.filter(approval__status=A.APPROVED, approval__consumed_at__isnull=True).select_related("approval")
    why = "The agent did not make this call again, so it did not run."
    return [
        writer.line(
            Event.Kind.APPROVAL, approval=str(one.approval_id), status=one.approval.status,
            tool=one.approval.tool_name, tool_use_id=one.tool_use_id, by=one.approval.decided_by, reason=why,
        )
        for one in unused.order_by("created_at")
    ]  # fmt: skip


def resume_answered(session_id: UUID) -> bool:
    """Queue a parked session again once nothing it asked is open; False if there is nothing to
    resume.

    An expired or withdrawn question starts no process: the turn ends with that as its reason.
    """
    with transaction.atomic():
        # queued: its process died before anybody knew whether it had repeated a call parked in an
        # earlier turn
        turn = Turn.objects.filter(session=session_id, status__in=OPEN_TURN).first()
        session = AgentSession.objects.filter(pk=session_id, status=S.WAITING)
        if session.select_for_update().first() is None:
            return False
        live = Run.objects.filter(session=session_id, ended_at__isnull=True)
        asked = Approval.objects.filter(session=session_id)
        if turn is None or live.exists() or asked.filter(awaited_by_turn(), status=A.PENDING).exists():
            return False
        last = _ends_turn(session_id)
        ending = last and _ending_without_process(last)
        if not (last and ending):
            if not SESSION_FLOW.move(session, to=S.QUEUED):
                return False
            Turn.objects.filter(pk=turn.pk).update(dispatched_at=Now())
            dispatch_on_commit(turn.pk, turn.session.host)
        else:
            writer.append(session_id, [_decision_line(last)])
            close_turn(session, Turn.objects.filter(pk=turn.pk), ending, session_id)
        notify.send("session", str(session_id))
    return True


def _ends_turn(session_id: UUID) -> Approval | None:
    """Return the request of a parked session that determines how its turn goes on.

    Several calls of one message are requested at once: a cancelled request ends the turn, and an
    expired one only if no other was decided. A request that was reopened no longer counts: the
    newer request does.
    """
    requests = Approval.objects.filter(taken_up_by_turn(), session=session_id)
    decided = requests.exclude(decided_via=DecisionSource.POLICY).order_by("decided_at")
    unsent = PermissionRequest.objects.filter(session=session_id, answered_at__isnull=True).values("approval")
    closed = list(decided.filter(pk__in=unsent)) or list(decided.reverse()[:1])
    still = [one for one in closed if one.reopened_as is None]
    order = {A.CANCELLED: 0, A.EXPIRED: 2}
    return min(reversed(still), key=lambda one: order.get(A(one.status), 1), default=None)


def _ending_without_process(approval: Approval) -> Outcome | None:
    if approval.status in (A.APPROVED, A.REJECTED):
        return None
    if approval.status == A.EXPIRED:
        unanswered = f"Nobody answered in time ({approval.title}), so the agent did not go on."
        return failed("approval_expired", f"{unanswered} Send a message to continue.")
    who = f" by {approval.decided_by}" if approval.decided_by else ""
    withdrawn = f"The request ({approval.title}) was withdrawn{who}."
    return Outcome(status=T.INTERRUPTED, code="approval_cancelled", detail=withdrawn)


def _decision_line(approval: Approval) -> writer.Line:
    """Return the transcript line that a live supervisor would have written about this request."""
    return writer.line(
        Event.Kind.APPROVAL, approval=str(approval.pk), status=approval.status, tool=approval.tool_name,
        by=approval.decided_by, reason=approval.reason,
    )  # fmt: skip


def is_held_live(approval_id: UUID) -> bool:
    """Whether the session that made the request has a live supervisor, which is notified of the
    decision itself.
    """
    found = sql.row(
        "SELECT 1 FROM permission_requests AS request JOIN runs AS run ON run.session_id = request.session_id"
        " WHERE request.approval_id = %s AND run.ended_at IS NULL",
        approval_id,
    )
    return found is not None


def answered_parked_sessions(*, approval_ids: Collection[UUID] | None = None) -> list[UUID]:
    """Return waiting sessions without a live run and without a pending request; only those of
    ``approval_ids`` if given.
    """
    waiting = AgentSession.objects.filter(status=S.WAITING)
    if approval_ids is not None:
        asked_them = Approval.objects.filter(pk__in=approval_ids, session__isnull=False)
        waiting = waiting.filter(pk__in=asked_them.values("session"))
    live = Run.objects.filter(session=OuterRef("pk"), ended_at__isnull=True)
    asked = Approval.objects.filter(awaited_by_turn(), session=OuterRef("pk"), status=A.PENDING)
    return list(waiting.filter(~Exists(live), ~Exists(asked)).values_list("pk", flat=True))


def lost_runs() -> list[Run]:
    """Return runs without a heartbeat for 30 s by the database's clock, the oldest first."""
    return list(Run.objects.filter(ended_at__isnull=True, heartbeat_at__lt=Now() - LOST_AFTER).order_by("heartbeat_at"))


def reclaim(run: Run, *, why: str, dead: bool = False) -> bool:
    """Give a run up for lost; return False if it has a heartbeat again or is closed.

    ``dead`` says that its worker is known to be gone. The fence moves on with it, so a supervisor
    that wakes up late can write nothing any more. Open requests stay open; without any, the turn is
    queued again. A turn that has lost three runs fails with the reason.
    """
    with transaction.atomic():
        lost = Run.objects.filter(pk=run.pk, ended_at__isnull=True)
        if not dead:
            lost = lost.filter(heartbeat_at__lt=Now() - LOST_AFTER)
        if not lost.update(ended_at=Now(), ended_why="lost"):
            return False
        AgentSession.objects.filter(pk=run.session_id, fence=run.fence).update(fence=F("fence") + 1)
        session = AgentSession.objects.filter(pk=run.session_id, fence=run.fence + 1)
        turn = Turn.objects.filter(pk=run.turn_id)
        turn.update(lost_runs=F("lost_runs") + 1)
        _after_loss(session, turn, run, why)
        notify.send("session", str(run.session_id))
    with bind(session=run.session_id):
        logger.error("session %s lost its run on %s: %s", run.session_id, run.host, why)
    resume_answered(run.session_id)
    return True


def _after_loss(session: QuerySet[AgentSession], turn: QuerySet[Turn], run: Run, why: str) -> None:
    row = turn.get()
    writer.append(run.session_id, [writer.line("status", status="lost", detail=why)])
    outcome = _recorded_outcome(session, run)
    _doubt_parked_call(session, turn, run)
    if outcome is not None:
        session.update(**_spent(outcome))
        turn.update(**_spent(outcome))
        Run.objects.filter(pk=run.pk).update(**_cost(outcome))
        close_turn(session, turn, outcome, run.session_id)
    elif row.interrupt_requested_at:
        close_turn(session, turn, Outcome(status=T.INTERRUPTED, code="interrupted", detail=why), run.session_id)
    elif row.lost_runs >= MOST_LOST_RUNS:
        detail = f"{row.lost_runs} processes of this turn were lost, so it is not tried again. The last: {why}"
        close_turn(session, turn, failed("poison", detail), run.session_id)
    elif SESSION_FLOW.move(session.filter(status=S.RUNNING), to=S.QUEUED):
        turn.update(dispatched_at=Now())
        dispatch_on_commit(run.turn_id, run.host)


def _recorded_outcome(session: QuerySet[AgentSession], run: Run) -> Outcome | None:
    """Return how the turn ended if the lost run had recorded the agent's result and died before it
    closed the turn.

    Return None while a parked call of an earlier turn is outstanding: the result may be that call's
    own.
    """
    recorded = Event.objects.filter(session=run.session_id, kind=Event.Kind.RESULT, at__gte=run.created_at)
    results = [
        from_result(Result(json.loads(text))) for text in recorded.order_by("seq").values_list("payload", flat=True)
    ]
    if not results or session.exclude(deferred_tool_use_id="").exists():
        return None
    spent = Spent()
    for result in results:  # background tasks bring results of their own
        spent.add(result)
    return None if results[-1].status in GOES_ON else replace(results[-1], **spent.figures())


def _doubt_parked_call(session: QuerySet[AgentSession], turn: QuerySet[Turn], run: Run) -> None:
    """Do not wait for the parked call if the lost process may have repeated it already: that could
    be for ever.

    A CLI that is resumed as interrupted repeats the call if it still has it, and goes on by itself
    if not. A call that was parked in an earlier turn comes before this turn's prompt, which is then
    sent again.
    """
    parked = session.exclude(deferred_tool_use_id="").values_list("deferred_tool_use_id", flat=True).first()
    if parked is None:
        return
    if PermissionRequest.objects.filter(turn=run.turn_id, tool_use_id=parked).exists():
        session.update(deferred_tool_use_id="")
    else:
        TURN_FLOW.move(turn, to=T.QUEUED)


def require_fence(changed: int) -> None:
    """Raise if a write under the fence changed nothing.

    Raises:
        StaleFence: the session has another supervisor by now.
    """
    if not changed:
        raise StaleFence("The session belongs to another supervisor.")
