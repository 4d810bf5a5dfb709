"""Between a tool call and its answer: policy, question, grant. Every write is under the supervisor's fence."""

import json
import logging
import os
from collections.abc import Collection
from dataclasses import dataclass, replace
from datetime import timedelta
from pathlib import Path
from uuid import UUID, uuid4

from django.conf import settings
from django.db import connection, transaction
from django.db.models import F, Q, Subquery
from django.db.models.functions import Now

from approvals import commands as approval_commands
from approvals import deadlines, violations
from approvals.commands import ApprovalRequest
from approvals.errors import ApprovalClosed
from approvals.models import Approval, DecisionSource, Rule
from approvals.policy import (
    ALLOW,
    ASK,
    DENY,
    Call,
    PolicyDecision,
    Surroundings,
    decide,
    inside,
    parsed_arguments,
    telling_argument,
)  # fmt: skip
from approvals.policy.digest import input_digest
from approvals.policy.risk import assess_risk
from approvals.policy.standing_rules import rules_for
from approvals.presentation.render import summary_for, title_for
from approvals.queries import find_approval, rules_in_force
from approvals.reopening import earlier_of, newest_of
from approvals.stop import commands as stops
from approvals.stop.commands import deadline_now_of_row
from orchestra.db import sql
from orchestra.db.unit_of_work import UnitOfWork
from orchestra.logs.config import bind
from orchestra.runtime import embedded
from sessions_app.models import SESSION_FLOW, AgentSession, PermissionRequest, Run
from sessions_app.notes import note_text
from sessions_app.reopened import approvals_of_call, usable_grant
from sessions_app.supervisor.leases import Claim, require_fence
from sessions_app.supervisor.plan_files import NO_PLAN, own_plan_file, plan_of
from sessions_app.supervisor.protocol import ToolRequest
from sessions_app.supervisor.reconciliation import Violation
from sessions_app.transcript.writer import storable

logger = logging.getLogger(__name__)

A, S = Approval.Status, AgentSession.Status
KINDS = {"AskUserQuestion": Approval.Kind.QUESTION, "ExitPlanMode": Approval.Kind.PLAN}
EXPIRED_MESSAGE = "Nobody answered in time; do not retry, stop and report."
PUT_OFF_MESSAGE = (
    "This call was not run yet, and it was not refused: a call before it waits for a person. When you go on, make "
    "exactly this call again, with the same input, if it is still needed; its answer will be there."
)
CANCELLED_MESSAGE = "The request was withdrawn; do not retry, stop and report."


@dataclass(frozen=True, slots=True, kw_only=True)
class Decision:
    """``effect`` is allow, deny, wait or hold; see ``machine.Ruling``. ``waits_s`` is how long people have.

    ``note`` is what the model reads with the result, ``said`` the note in it as the person wrote it.
    """

    effect: str
    approval_id: UUID | None = None
    tool_input: str = ""
    message: str = ""
    waits_s: float = 0.0
    status: str = ""
    by: str = ""
    note: str = ""
    said: str = ""


def ask_permission(
    claim: Claim,
    request: ToolRequest,
    *,
    plan: str,
    surroundings: Surroundings,
    said: str = "",
    approval_id: UUID | None = None,
) -> Decision:
    """What the policy says, or a question to a person, committed before this returns.

    A new question gets ``approval_id``, for which the caller may listen already, so that no answer comes unheard. A
    call that the CLI repeats after it was parked is found by its tool use id and digest, and answered from its row.
    ``plan`` is what the call's own announcement says, ``said`` the agent's last words before it.

    Raises:
        StaleFence: the session has another supervisor by now.
    """
    digest = _digest(claim, request)
    earlier = _earlier_question(claim, request, digest)
    if earlier is not None and earlier.consumed_at is None and not _forbidden_since(claim, request, earlier):
        return _take_up(claim, request, earlier)
    call = Call(tool_name=request.tool_name, tool_input=request.tool_input, directory=_folder(claim, request))
    around = replace(surroundings, plan_file=own_plan_file(claim, request))
    answer = _in_its_folder(_judge(call, _rules(claim), around), call, claim)
    plan = plan_of(claim, request, given=plan, said=said)
    if KINDS.get(request.tool_name) == Approval.Kind.PLAN and not plan and answer.effect != DENY:
        answer = PolicyDecision(effect=DENY, reason=NO_PLAN, source="plan")
    granted = usable_grant(claim.session_id, claim.turn_id, digest) if answer.effect == ASK else None
    if granted is not None:
        return _take_up(claim, request, granted)
    question = _question(claim, request, digest, plan, may_have_run=earlier is not None)
    if answer.effect == ALLOW and (allowed := _allow(claim, request, answer, question)):
        return allowed
    if answer.effect == DENY:
        return _forbid(claim, question, answer)
    return _ask_person(claim, request, question, approval_id or uuid4())


def put_off(claim: Claim, request: ToolRequest, *, plan: str, surroundings: Surroundings) -> Decision:
    """Ask people about a call that cannot run now: a call before it in the same message was parked.

    The CLI keeps one parked call and forgets the others (measured, docs/claude-cli.md), so the agent is told to make
    this one again. When it does, in the same turn, the call is found by its digest and answered from its row. What
    needs no person is only put off; what the policy forbids is forbidden.

    Raises:
        StaleFence: the session has another supervisor by now.
    """
    call = Call(tool_name=request.tool_name, tool_input=request.tool_input, directory=_folder(claim, request))
    answer = _in_its_folder(_judge(call, _rules(claim), surroundings), call, claim)
    digest = _digest(claim, request)
    question = _question(claim, request, digest, plan, may_have_run=False)
    if answer.effect == DENY:
        return _forbid(claim, question, answer)
    if answer.effect == ALLOW or _stays_put_off(claim, digest):
        return Decision(effect="deny", message=PUT_OFF_MESSAGE)
    question.facts["order"] = "after the request before it; the agent then makes this call again"
    asked = _ask_person(claim, request, question, uuid4(), put_off=True)
    return replace(asked, effect="deny", message=PUT_OFF_MESSAGE)


def _forbid(claim: Claim, question: ApprovalRequest, answer: PolicyDecision) -> Decision:
    with transaction.atomic():
        require_fence(claim.session().update(fence=claim.fence))
        approval_commands.record_policy_decision(question, decision=A.REJECTED, reason=answer.reason, consumed=False)
    return Decision(effect="deny", message=_policy_message(answer), status=A.REJECTED, by=answer.reason)


def answer_from_row(claim: Claim, request: ToolRequest, approval_id: UUID) -> Decision | None:
    """The answer people gave, ready to be written to the CLI; None while there is none.

    An approval is spent here, under the fence and by one statement: what returns ``allow`` may run exactly once. That
    the session goes on is written with ``mark_answered``, when nobody waits for it. What a person made of the input was
    never before the policy, so it is judged here, on the host where it would run: nobody lifts the hard floor.

    Raises:
        StaleFence: the session has another supervisor by now.
    """
    digest = _digest(claim, request)
    grant = approval_commands.consume_approval(approval_id=approval_id, digest=digest, under=_fence(claim))
    if grant is not None:
        text = _input_to_run(request.tool_input, grant)
        if grant.updated_input and (forbidden := _never_allowed(claim, request, text)):
            return _refused_as_edited(approval_id, grant, forbidden)
        return Decision(
            effect="allow", approval_id=approval_id, tool_input=text, status=A.APPROVED, by=grant.decided_by,
            note=note_text(grant.note, by=grant.decided_by), said=grant.note,
        )  # fmt: skip
    approval = find_approval(approval_id)
    if approval.status == A.PENDING:
        return None
    _require_ours(claim)
    if approval.status == A.APPROVED and approval.consumed_at is None and stops.is_stopped():
        return None  # recorded, and spent after the lift
    if approval.status == A.APPROVED and approval.consumed_at is None and approval.input_digest == digest:
        return answer_from_row(claim, request, approval_id)  # approved between the statements
    return Decision(
        effect="deny",
        approval_id=approval_id,
        message=denial_message(approval),
        status=approval.status,
        by=approval.decided_by,
    )


def seconds_left(approval_id: UUID) -> float:
    """Until the deadline, which stands still while agents are stopped; 0 if it has passed."""
    rows = Approval.objects.annotate(left=F("expires_at") - deadline_now_of_row())
    left: timedelta = rows.values_list("left", flat=True).get(pk=approval_id)
    return max(0.0, (left + settings.APPROVALS.grace).total_seconds())


def surroundings() -> Surroundings:
    """What the policy's hard floor protects, from the settings."""
    return Surroundings(
        data_dir=str(settings.ORCHESTRA.data_dir),
        code_dir=str(Path(settings.BASE_DIR)),
        working_roots=tuple(str(root) for root in settings.AGENTS.working_roots),
        port=settings.ORCHESTRA.port,
        private_paths=(str(embedded.socket_path(settings.ORCHESTRA.data_dir).parent),),
    )


def parked_call(claim: Claim) -> Approval | None:
    """The approval of the call that the CLI will repeat first."""
    return approvals_of_call(claim.session_id, claim.deferred).order_by("created_at").last()


def record_violation(claim: Claim, violation: Violation) -> None:
    """Keep that a tool of this run ran without a decision. A fact needs no fence: it happened, whoever supervises."""
    violations.record_violation(
        session=claim.session_id, run=claim.run_id, requested_by=claim.requested_by,
        tool_name=violation.tool_name, tool_use_id=violation.tool_use_id,
        tool_input=storable(violation.tool_input), reason=violation.reason,
    )  # fmt: skip


def mark_answered(claim: Claim, approval_ids: Collection[UUID], *, goes_on: bool) -> None:
    """The CLI has been told; ``goes_on`` says that nothing else it asked is open, so that the session runs.

    Raises:
        StaleFence: the session has another supervisor by now, or was cancelled.
    """
    _mark_answered(approval_ids)
    if goes_on:
        _move(claim, S.RUNNING)


def withdraw(approval_id: UUID, reason: str) -> str:
    """The question no longer stands; an answer that came first stays as it is. Returns the status it has now."""
    try:
        approval = approval_commands.cancel_approval(
            approval_id=approval_id, by="", via=DecisionSource.SYSTEM, reason=reason
        )
    except ApprovalClosed:
        approval = find_approval(approval_id)
    _mark_answered([approval_id])
    return approval.status


def denial_message(approval: Approval) -> str:
    """What the model reads when a person, the clock or nobody said no."""
    if approval.status == A.EXPIRED:
        return EXPIRED_MESSAGE
    if approval.status == A.CANCELLED:
        return CANCELLED_MESSAGE
    if approval.status == A.APPROVED:  # spent before, or for another input: never twice
        return "An earlier approval of this call was already used; ask again if it is still needed."
    who = approval.decided_by or "a person"
    return f"{who} rejected this: {approval.reason}" if approval.reason else f"{who} rejected this."


def _mark_answered(approval_ids: Collection[UUID]) -> None:
    marks = ", ".join(["%s"] * len(approval_ids))
    sql.run(
        f"UPDATE permission_requests SET answered_at = {sql.now()}"  # noqa: S608 - names and marks of ours
        f" WHERE answered_at IS NULL AND approval_id IN ({marks})",
        *approval_ids,
    )


def _digest(claim: Claim, request: ToolRequest) -> str:
    return input_digest(
        tool_name=request.tool_name,
        tool_input=request.tool_input,
        working_directory=_folder(claim, request),
        session=claim.session_id,
    )


def _subject(claim: Claim, tool_use_id: str) -> str:
    """What an approval is about, see ``Approval.subject``."""
    return f"session:{claim.session_id}:{tool_use_id}"


def _folder(claim: Claim, request: ToolRequest) -> str:
    """The real path of the folder in which the call would run: the session's, unless the CLI says another."""
    return os.path.realpath(request.folder) if request.folder else claim.directory


def _in_its_folder(answer: PolicyDecision, call: Call, claim: Claim) -> PolicyDecision:
    """Nothing is free outside of the session's folder, wherever the agent has gone: there a person decides."""
    if answer.effect == ALLOW and not inside(call.directory, claim.directory):
        return PolicyDecision(effect=ASK, reason="the agent has left the session's folder", source="default")
    return answer


def _never_allowed(claim: Claim, request: ToolRequest, tool_input: str) -> PolicyDecision | None:
    """Why the hard floor or a forbidding rule refuses this input, whoever approved it."""
    call = Call(tool_name=request.tool_name, tool_input=tool_input, directory=_folder(claim, request))
    answer = _judge(call, _rules(claim), surroundings())
    return answer if answer.effect == DENY else None


def _refused_as_edited(approval_id: UUID, grant: approval_commands.Grant, forbidden: PolicyDecision) -> Decision:
    """The approval is spent and nothing runs; the audit says why."""
    reason = f"not run as edited: {forbidden.reason}"
    approval_commands.record_attempt(
        action="refused",
        by=grant.decided_by,
        via=DecisionSource.POLICY,
        address="",
        reason=reason,
        approval_id=approval_id,
    )
    return Decision(
        effect="deny", approval_id=approval_id, message=_policy_message(forbidden), status=A.APPROVED,
        by=grant.decided_by,
    )  # fmt: skip


def _judge(call: Call, rules: list[Rule], surroundings: Surroundings) -> PolicyDecision:
    """What cannot be judged, such as a path no file system takes, does not run."""
    try:
        return decide(call, rules, surroundings)
    except (ValueError, OSError, RecursionError):
        logger.exception("the policy could not judge a call of %s", call.tool_name)
        return PolicyDecision(effect=DENY, reason="the call could not be judged", source="guardrail")


def _rules(claim: Claim) -> list[Rule]:
    return rules_for(session_id=claim.session_id, directory=claim.directory, requester=claim.requested_by)


def _allow(claim: Claim, request: ToolRequest, answer: PolicyDecision, question: ApprovalRequest) -> Decision | None:
    """Let a call go that no person has to see: under the fence, counted, and never while agents are stopped.

    None if the rule that allowed it no longer counts, so that a person is asked.
    """
    with transaction.atomic():
        if not claim.session().filter(stops.when_not_stopped()).update(fence=claim.fence):
            require_fence(claim.session().update(fence=claim.fence))
            return Decision(effect="hold")
        if not _rule_still_counts(answer.rule):
            return None
        if answer.source in ("rule", "plan"):
            approval_commands.record_policy_decision(question, decision=A.APPROVED, reason=answer.reason, consumed=True)
    return Decision(effect="allow", tool_input=request.tool_input, status=A.APPROVED, by=answer.reason)


def _rule_still_counts(rule: Rule | None) -> bool:
    """Count a use; of two calls that race for the last one, one is asked; so is one that raced with a revocation."""
    if rule is None:
        return True
    left = rules_in_force().filter(Q(max_uses__isnull=True) | Q(uses__lt=F("max_uses")), pk=rule.pk)
    return bool(left.update(uses=F("uses") + 1))


def _question(claim: Claim, request: ToolRequest, digest: str, plan: str, *, may_have_run: bool) -> ApprovalRequest:
    risk, why = assess_risk(request.tool_name, telling_argument(request.tool_name, request.tool_input))
    facts = {"session": claim.title, "agent": claim.agent, "host": settings.ORCHESTRA.hostname}
    if request.agent_id:
        facts["sub_agent"] = request.agent_id
    warnings = [
        *(["An earlier approval of this very call may already have run."] if may_have_run else []),
        *(["It runs in the background and may go on after the agent's answer."] if in_background(request) else []),
    ]
    if warnings:
        facts["warning"] = " ".join(warnings)
    return ApprovalRequest(
        kind=KINDS.get(request.tool_name, Approval.Kind.TOOL),
        title=title_for(request.tool_name, request.tool_input, body=plan),
        summary=summary_for(request.tool_name, request.tool_input),
        body=storable(plan),
        facts=facts,
        tool_name=request.tool_name,
        tool_input=request.tool_input,
        input_digest=digest,
        risk=risk,
        risk_reason=why,
        working_directory=_folder(claim, request),
        subject=_subject(claim, request.tool_use_id),
        session=claim.session_id,
        requested_by=claim.requested_by,
    )


def in_background(request: ToolRequest) -> bool:
    """Whether the call says that it goes on by itself while the agent does other things."""
    return parsed_arguments(request.tool_input).get("run_in_background") is True


def _ask_person(
    claim: Claim, request: ToolRequest, question: ApprovalRequest, approval_id: UUID, *, put_off: bool = False
) -> Decision:
    unit = UnitOfWork(_moving(claim, S.WAITING))
    approval_commands.add_approval_request(unit, question, approval_id=approval_id, timeout=claim.approval_timeout)
    unit.insert(
        PermissionRequest(
            session_id=claim.session_id,
            turn_id=claim.turn_id,
            approval_id=approval_id,
            request_id=request.request_id,
            tool_use_id=request.tool_use_id,
            agent_id=request.agent_id,
            put_off=put_off,
        )
    )
    require_fence(unit.commit() is not None)
    waits_s = deadlines.seconds_of(deadlines.allowed_time(claim.approval_timeout))
    with bind(approval=approval_id):
        # the tool alone: what would run may hold a secret
        logger.info("approval %s requested: %s", approval_id, request.tool_name)
    return Decision(effect="wait", approval_id=approval_id, waits_s=waits_s, status=A.PENDING)


def _earlier_question(claim: Claim, request: ToolRequest, digest: str) -> Approval | None:
    """What people were asked about this very call by an earlier process of the turn, if there was one.

    A parked call comes back under its own id; one that was put off behind it the agent makes again, under another id.
    After a kill the model asks anew, under another id, be it in the same conversation or from the prompt again. Under
    another id the input decides, and only questions of this turn count. Of one that was asked again the newest counts.
    """
    if not (claim.replay or claim.repeats):
        return None
    asked = Approval.objects.filter(session=claim.session_id, input_digest=digest).exclude(
        decided_via=DecisionSource.POLICY
    )
    of_this_turn = PermissionRequest.objects.filter(turn=claim.turn_id)
    if not claim.replay:
        last = asked.filter(pk__in=of_this_turn.values("approval")).order_by("created_at").last()
        return last and newest_of(last)
    under_its_id = approvals_of_call(claim.session_id, request.tool_use_id).values("pk")
    own = asked.filter(pk__in=under_its_id).order_by("created_at").last()
    behind = asked.filter(pk__in=of_this_turn.filter(put_off=True).values("approval"), consumed_at=None)
    found = own or behind.order_by("created_at").first()
    return found and newest_of(found)


def _forbidden_since(claim: Claim, request: ToolRequest, approval: Approval) -> bool:
    """Whether the policy refuses by now what was asked again: such a request is judged anew, wherever it is made."""
    return approval.reopened_from is not None and _never_allowed(claim, request, request.tool_input) is not None


def _stays_put_off(claim: Claim, digest: str) -> bool:
    """Whether people were asked about this call when an earlier process put it off, and its answer is still good."""
    asked = Approval.objects.filter(session=claim.session_id, input_digest=digest, consumed_at=None)
    before = Run.objects.filter(pk=claim.run_id).values("created_at")
    put_off = PermissionRequest.objects.filter(turn=claim.turn_id, put_off=True, created_at__lt=Subquery(before))
    behind = asked.filter(pk__in=put_off.values("approval"))
    return any(newest_of(one).status in (A.PENDING, A.APPROVED) for one in behind)


def _take_up(claim: Claim, request: ToolRequest, approval: Approval) -> Decision:
    """Go on with a question that an earlier process asked, perhaps in an earlier turn; it belongs to this one now."""
    changes = {"turn_id": claim.turn_id, "request_id": request.request_id, "tool_use_id": request.tool_use_id}
    fresh = {"session_id": claim.session_id, "agent_id": request.agent_id}
    PermissionRequest.objects.update_or_create(
        approval=approval, defaults=changes | {"answered_at": None, "put_off": False}, create_defaults=changes | fresh
    )
    replaced = PermissionRequest.objects.filter(approval__in=earlier_of(approval), answered_at=None)
    replaced.update(answered_at=Now(), put_off=False)  # the call has the newest request's answer
    decision = answer_from_row(claim, request, approval.pk)
    if decision is not None:
        return decision
    _move(claim, S.WAITING)
    return Decision(effect="wait", approval_id=approval.pk, waits_s=seconds_left(approval.pk), status=A.PENDING)


def _move(claim: Claim, to: str) -> None:
    """Under the fence.

    Raises:
        StaleFence: the session has another supervisor by now, or was cancelled.
    """
    moving = _moving(claim, to)
    require_fence(sql.run(moving.text, *moving.values))


def _moving(claim: Claim, to: str) -> sql.Statement:
    return SESSION_FLOW.move_statement(
        AgentSession, claim.session_id, to=to, guard=sql.Statement("fence = %s", (claim.fence,))
    )


def _fence(claim: Claim) -> sql.Statement:
    """True while the session is ours and going on; whoever takes it from us waits until this transaction is over."""
    lock = " FOR SHARE" if connection.features.has_select_for_update else ""
    return sql.Statement(
        "(SELECT TRUE FROM agent_sessions WHERE id = %s AND fence = %s"  # noqa: S608 - two words of ours
        f" AND status IN ('running', 'waiting'){lock})",
        (claim.session_id, claim.fence),
    )


def _require_ours(claim: Claim) -> None:
    """Raises StaleFence unless the session is ours and going on."""
    ours = _fence(claim)
    found = sql.row(f"SELECT {ours.text}", *ours.values)
    require_fence(bool(found and found[0]))


def _input_to_run(asked: str, grant: approval_commands.Grant) -> str:
    text = grant.updated_input or asked
    if not grant.answers:
        return text
    body = text.strip()
    answers = f'"answers":{grant.answers}'
    return f"{body[:-1]},{answers}}}" if json.loads(body) else f"{{{answers}}}"


def _policy_message(answer: PolicyDecision) -> str:
    return f"Orchestra's policy does not allow this: {answer.reason}."
