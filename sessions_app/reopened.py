"""What becomes of a session when a call of it is asked again and approved.

The call may still stand in the conversation, put off: then the CLI repeats it under its own id and is answered from
the new request, as after any answer. Or the model has been told no: then the approval is a grant for exactly the same
input, good once, and a turn tells the model that it may do now what it was refused. Such a grant counts from the
approval until the end of that turn. Everything is judged by rows, so that a lost signal costs seconds.
"""

import logging
from typing import Any
from uuid import UUID

from django.db import IntegrityError, transaction
from django.db.models import Exists, OuterRef, Q, QuerySet
from django.db.models.functions import Now

from approvals.models import Approval
from approvals.presentation.render import answers_given, one_line
from approvals.reopening import newest_of
from orchestra.db import notify
from orchestra.logs.config import bind
from sessions_app.dispatch import dispatch_on_commit
from sessions_app.errors import StaleFence
from sessions_app.models import SESSION_FLOW, AgentSession, Event, PermissionRequest, Turn
from sessions_app.transcript import writer

logger = logging.getLogger(__name__)

A, S = Approval.Status, AgentSession.Status
LONGEST_TITLE = 300


def of_the_turn() -> Q:
    """Requests that the session itself waits for: not one that was asked again and that no process has taken up."""
    asked = PermissionRequest.objects.filter(approval=OuterRef("pk"), answered_at=None)
    return Q(reopened_from=None) | Q(Exists(asked))


def answered_by_the_turn() -> Q:
    """As ``of_the_turn``, for requests that are closed: those a process has asked or taken up at some time."""
    return Q(reopened_from=None) | Q(Exists(PermissionRequest.objects.filter(approval=OuterRef("pk"))))


def asked_under(session_id: UUID, tool_use_id: str) -> QuerySet[Approval]:
    """Requests about the call with this id, also those that were asked under another one and taken up by it."""
    taken_up = PermissionRequest.objects.filter(session=session_id, tool_use_id=tool_use_id).values("approval")
    return Approval.objects.filter(Q(subject=f"session:{session_id}:{tool_use_id}") | Q(pk__in=taken_up))


def why_no_reopening(approval: Approval) -> str:
    """Why the session of a closed request cannot take it up again, as a sentence; empty if it can."""
    if approval.session is None:
        return ""
    status = AgentSession.objects.filter(pk=approval.session).values_list("status", flat=True).first()
    if status is None:
        return "The session that asked this is no longer kept."
    return "The session that asked this was cancelled; start a new one." if status == S.CANCELLED else ""


def usable_grant(session_id: UUID, turn_id: UUID, digest: str) -> Approval | None:
    """An approved, unspent grant for this input, given when the call was asked again; the oldest of several."""
    over = Turn.objects.filter(reopened=OuterRef("pk")).exclude(pk=turn_id)
    granted = Approval.objects.filter(
        session=session_id, input_digest=digest, status=A.APPROVED, consumed_at=None, reopened_from__isnull=False
    )
    return granted.filter(~Exists(over)).order_by("decided_at").first()


def repeats_parked_call(session: AgentSession, turn: Turn) -> bool:
    """Whether the turn was started for the very call that the CLI will repeat first: nothing has to be said then."""
    parked = asked_under(session.pk, session.deferred_tool_use_id).order_by("created_at").last()
    return parked is not None and turn.reopened == newest_of(parked).pk


def go_on_with(approval_id: UUID) -> bool:
    """Start the turn that tells the model of this grant, once the session is idle; whether one was started.

    Safe to call at any time and twice at once: the turn names the request, and no second one may.
    """
    approval = _waiting_grants().filter(pk=approval_id).first()
    if approval is None or approval.session is None:
        return False
    try:
        with transaction.atomic():
            return _start_turn(approval, approval.session)
    except IntegrityError:  # somebody's message, or another sweep, was quicker
        return False


def grants_to_go_on_with(session_id: UUID | None = None) -> list[UUID]:
    """Grants whose session is idle and was not told of them; the oldest first, one for each session."""
    rows = _waiting_grants() if session_id is None else _waiting_grants().filter(session=session_id)
    first: dict[UUID | None, UUID] = {}
    for key, session in rows.order_by("decided_at").values_list("pk", "session"):
        first.setdefault(session, key)
    return list(first.values())


def go_on(session_id: UUID) -> None:
    """Start what waited for the end of this session's turn."""
    for approval_id in grants_to_go_on_with(session_id):
        go_on_with(approval_id)


def write_down_reopening(*, approval_id: UUID, by: str, **_: Any) -> None:
    """A receiver of ``approval_reopened``: the transcript says that the call is asked again."""
    approval = Approval.objects.filter(pk=approval_id, session__isnull=False).first()
    if approval is None or approval.session is None:
        return
    line = writer.line(
        Event.Kind.APPROVAL, approval=str(approval.pk), status=approval.status, tool=approval.tool_name, by=by,
        tool_use_id=approval.subject.rpartition(":")[2], reopened_from=str(approval.reopened_from),
        reason="Asked again.",
    )  # fmt: skip
    try:
        writer.append(approval.session, [line])
    except StaleFence:
        logger.info("approval %s: its session is gone", approval_id)


def _waiting_grants() -> QuerySet[Approval]:
    """Approved when asked again, unspent, without a turn of their own, and no process is about to take them."""
    idle = AgentSession.objects.filter(pk=OuterRef("session"), status__in=(S.COMPLETED, S.FAILED))
    told = Turn.objects.filter(reopened=OuterRef("pk"))
    taken_up = PermissionRequest.objects.filter(approval=OuterRef("pk"), answered_at=None)
    granted = Approval.objects.filter(status=A.APPROVED, consumed_at=None, reopened_from__isnull=False)
    return granted.filter(Exists(idle), ~Exists(told), ~Exists(taken_up))


def _start_turn(approval: Approval, session_id: UUID) -> bool:
    idle = AgentSession.objects.filter(pk=session_id, status__in=(S.COMPLETED, S.FAILED))
    if not SESSION_FLOW.move(idle, to=S.QUEUED, failure_code="", failure_detail="", finished_at=None):
        return False
    session = AgentSession.objects.get(pk=session_id)
    number, prompt = session.turns.count() + 1, _prompt(approval)
    turn = Turn.objects.create(
        session=session, number=number, prompt=prompt, requested_by=_requester(approval, session),
        dispatched_at=Now(), reopened=approval.pk,
    )  # fmt: skip
    said = writer.line("prompt", turn=number, text=prompt, by=approval.decided_by, approval=str(approval.pk))
    writer.append(session_id, [said])
    notify.send("session", str(session_id))
    dispatch_on_commit(turn.pk, session.host)
    with bind(session=session_id, approval=approval.pk):
        logger.info("session %s: turn %d queued, a call that was asked again is approved", session_id, number)
    return True


def _requester(approval: Approval, session: AgentSession) -> str:
    """Who asked for this work, whoever decided: the agent goes on with their rights, and others decide what it asks."""
    return approval.requested_by or session.requested_by


def _prompt(approval: Approval) -> str:
    """What the model reads: the call it was refused is approved, or its question answered."""
    who = approval.decided_by or "A person"
    title = one_line(approval.title, LONGEST_TITLE)
    if approval.kind == Approval.Kind.QUESTION:
        answers = "\n".join(f"{question}: {answer}" for question, answer in answers_given(approval))
        return f"{who} has now answered what you asked before ({title}).\n{answers}\nGo on with this answer."
    return (
        f"{who} has now approved the call that was not approved before: {title}\n"
        "If it is still needed, make it again now, with exactly the same input: that runs without another request, "
        "once. Then go on."
    )
