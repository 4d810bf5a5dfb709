"""Continue a session after one of its requests was reopened and approved.

There are two cases. If the call is still deferred in the conversation, the CLI repeats it under its
own id and gets the decision of the new request, as after any decision. If the model has already
received the refusal, the approval is a *grant* for exactly the same input, valid once, and a new
turn informs the model of it. A grant is valid from the approval until the end of that turn. Rows
alone decide, so that a lost signal delays a session by seconds.
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
from sessions_app.models import IDLE_SESSION, SESSION_FLOW, AgentSession, Event, PermissionRequest, Turn
from sessions_app.transcript import writer

logger = logging.getLogger(__name__)

LONGEST_TITLE = 300


def awaited_by_turn() -> Q:
    """Filter for the requests that a turn waits for: all but reopened ones that no process has
    taken up.
    """
    linked = PermissionRequest.objects.filter(approval=OuterRef("pk"), answered_at=None)
    return Q(reopened_from=None) | Q(Exists(linked))


def taken_up_by_turn() -> Q:
    """As ``awaited_by_turn`` for closed requests: those that a process made or took up at some
    time.
    """
    return Q(reopened_from=None) | Q(Exists(PermissionRequest.objects.filter(approval=OuterRef("pk"))))


def approvals_of_call(session_id: UUID, tool_use_id: str) -> QuerySet[Approval]:
    """Requests about the call with this id, and those made for another id that this call took up."""
    taken_up = PermissionRequest.objects.filter(session=session_id, tool_use_id=tool_use_id).values("approval")
    return Approval.objects.filter(Q(subject=f"session:{session_id}:{tool_use_id}") | Q(pk__in=taken_up))


def reopening_problem(approval: Approval) -> str:
    """Why the session of a closed request cannot take it up again, in one sentence.

    The result is empty if it can.
    """
    if approval.session is None:
        return ""
    status = AgentSession.objects.filter(pk=approval.session).values_list("status", flat=True).first()
    if status is None:
        return "The session that asked this is no longer kept."
    if status == AgentSession.Status.CANCELLED:
        return "The session that asked this was cancelled; start a new one."
    return ""


def usable_grant(session_id: UUID, turn_id: UUID, digest: str) -> Approval | None:
    """The oldest unused grant for this input: an approved reopened request whose own turn has not
    ended.
    """
    over = Turn.objects.filter(reopened=OuterRef("pk")).exclude(pk=turn_id)
    granted = Approval.objects.filter(
        session=session_id,
        input_digest=digest,
        status=Approval.Status.APPROVED,
        consumed_at=None,
        reopened_from__isnull=False,
    )
    return granted.filter(~Exists(over)).order_by("decided_at").first()


def repeats_parked_call(session: AgentSession, turn: Turn) -> bool:
    """Whether the turn was started for the call that the CLI repeats first: it then needs no
    prompt.
    """
    parked = approvals_of_call(session.pk, session.deferred_tool_use_id).order_by("created_at").last()
    return parked is not None and turn.reopened == newest_of(parked).pk


def start_turn_for_grant(approval_id: UUID) -> bool:
    """Start the turn that informs the model of this grant, if the session is idle; return whether
    it was started.

    Concurrent and repeated calls are safe: ``Turn.reopened`` is unique.
    """
    approval = _waiting_grants().filter(pk=approval_id).first()
    if approval is None or approval.session is None:
        return False
    try:
        with transaction.atomic():
            return _start_turn(approval, approval.session)
    except IntegrityError:  # a concurrent message or sweep started a turn first
        return False


def grants_awaiting_turn(session_id: UUID | None = None) -> list[UUID]:
    """Grants of idle sessions without a turn for them; the oldest first, one for each session."""
    rows = _waiting_grants() if session_id is None else _waiting_grants().filter(session=session_id)
    first: dict[UUID | None, UUID] = {}
    for key, session in rows.order_by("decided_at").values_list("pk", "session"):
        first.setdefault(session, key)
    return list(first.values())


def start_waiting_grants(session_id: UUID) -> None:
    """Start the turn of a grant that waited for the end of this session's turn."""
    for approval_id in grants_awaiting_turn(session_id):
        start_turn_for_grant(approval_id)


def record_reopening(*, approval_id: UUID, by: str, **_: Any) -> None:
    """Add the reopening to the transcript; a receiver of ``approval_reopened``."""
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
    """Unused grants of idle sessions that have no turn of their own and that no process has taken
    up.
    """
    idle = AgentSession.objects.filter(pk=OuterRef("session"), status__in=IDLE_SESSION)
    with_turn = Turn.objects.filter(reopened=OuterRef("pk"))
    taken_up = PermissionRequest.objects.filter(approval=OuterRef("pk"), answered_at=None)
    granted = Approval.objects.filter(status=Approval.Status.APPROVED, consumed_at=None, reopened_from__isnull=False)
    return granted.filter(Exists(idle), ~Exists(with_turn), ~Exists(taken_up))


def _start_turn(approval: Approval, session_id: UUID) -> bool:
    idle = AgentSession.objects.filter(pk=session_id, status__in=IDLE_SESSION)
    if not SESSION_FLOW.move(idle, to=AgentSession.Status.QUEUED, failure_code="", failure_detail="", finished_at=None):
        return False
    session = AgentSession.objects.get(pk=session_id)
    number, prompt = session.turns.count() + 1, _prompt(approval)
    turn = Turn.objects.create(
        session=session, number=number, prompt=prompt, requested_by=_requester(approval, session),
        dispatched_at=Now(), reopened=approval.pk,
    )  # fmt: skip
    line = writer.line("prompt", turn=number, text=prompt, by=approval.decided_by, approval=str(approval.pk))
    writer.append(session_id, [line])
    notify.send("session", str(session_id))
    dispatch_on_commit(turn.pk, session.host)
    with bind(session=session_id, approval=approval.pk):
        logger.info("session %s: turn %d queued, a call that was asked again is approved", session_id, number)
    return True


def _requester(approval: Approval, session: AgentSession) -> str:
    """The requester of the original work.

    The turn runs with their rights, whoever decided the request.
    """
    return approval.requested_by or session.requested_by


def _prompt(approval: Approval) -> str:
    """The prompt that informs the model of the approval of its refused call, or of the answer to
    its question.
    """
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
