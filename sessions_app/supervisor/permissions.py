"""Decides what becomes of a tool call, by policy or by an approval. Every write is under the
supervisor's fence.
"""

import json
import logging
import os
from collections.abc import Collection
from dataclasses import replace
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
from sessions_app.supervisor.cli.plan_files import NO_PLAN, own_plan_file, plan_of
from sessions_app.supervisor.cli.protocol import ToolRequest
from sessions_app.supervisor.leases import Claim, require_fence
from sessions_app.supervisor.permission_outcome import PermissionOutcome
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


def request_permission(
    claim: Claim,
    request: ToolRequest,
    *,
    plan: str,
    surroundings: Surroundings,
    last_text: str = "",
    approval_id: UUID | None = None,
) -> PermissionOutcome:
    """Return what the policy decides, or request an approval, which is committed before this
    returns.

    A new request gets ``approval_id``, which the caller may watch already, so that no decision is
    missed. A call that the CLI repeats after it was parked is found by its tool use id and digest,
    and decided by its row. ``plan`` is what the announcement of the call contains, ``last_text``
    what the agent wrote before it.

    Raises:
        StaleFence: the session has another supervisor by now.
    """
    digest = _digest(claim, request)
    earlier = _earlier_question(claim, request, digest)
    if earlier is not None and earlier.consumed_at is None and not _forbidden_since(claim, request, earlier):
        return _adopt_request(claim, request, earlier)
    call = Call(tool_name=request.tool_name, tool_input=request.tool_input, directory=_folder(claim, request))
    around = replace(surroundings, plan_file=own_plan_file(claim, request))
    answer = _in_its_folder(_evaluate_policy(call, _rules(claim), around), call, claim)
    plan = plan_of(claim, request, given=plan, last_text=last_text)
    if KINDS.get(request.tool_name) == Approval.Kind.PLAN and not plan and answer.effect != DENY:
        answer = PolicyDecision(effect=DENY, reason=NO_PLAN, source="plan")
    granted = usable_grant(claim.session_id, claim.turn_id, digest) if answer.effect == ASK else None
    if granted is not None:
        return _adopt_request(claim, request, granted)
    question = _question(claim, request, digest, plan, may_have_run=earlier is not None)
    if answer.effect == ALLOW and (allowed := _allow_by_policy(claim, request, answer, question)):
        return allowed
    if answer.effect == DENY:
        return _deny_by_policy(claim, question, answer)
    return _request_approval(claim, request, question, approval_id or uuid4())


def put_off(claim: Claim, request: ToolRequest, *, plan: str, surroundings: Surroundings) -> PermissionOutcome:
    """Request an approval for a call that cannot run now: a call before it in the same message was
    parked.

    The CLI keeps one parked call and forgets the others (measured, docs/claude-cli.md), so the
    agent is asked to make this call again. When it does, in the same turn, the call is found by its
    digest and decided by its row. A call that needs no approval is only put off; a call that the
    policy denies is denied.

    Raises:
        StaleFence: the session has another supervisor by now.
    """
    call = Call(tool_name=request.tool_name, tool_input=request.tool_input, directory=_folder(claim, request))
    answer = _in_its_folder(_evaluate_policy(call, _rules(claim), surroundings), call, claim)
    digest = _digest(claim, request)
    question = _question(claim, request, digest, plan, may_have_run=False)
    if answer.effect == DENY:
        return _deny_by_policy(claim, question, answer)
    if answer.effect == ALLOW or _stays_put_off(claim, digest):
        return PermissionOutcome(effect="deny", message=PUT_OFF_MESSAGE)
    question.facts["order"] = "after the request before it; the agent then makes this call again"
    asked = _request_approval(claim, request, question, uuid4(), put_off=True)
    return replace(asked, effect="deny", message=PUT_OFF_MESSAGE)


def _deny_by_policy(claim: Claim, question: ApprovalRequest, answer: PolicyDecision) -> PermissionOutcome:
    with transaction.atomic():
        require_fence(claim.session().update(fence=claim.fence))
        approval_commands.record_policy_decision(question, decision=A.REJECTED, reason=answer.reason, consumed=False)
    return PermissionOutcome(effect="deny", message=_policy_message(answer), status=A.REJECTED, by=answer.reason)


def outcome_from_row(claim: Claim, request: ToolRequest, approval_id: UUID) -> PermissionOutcome | None:
    """Return the decision of a person, ready to be sent to the CLI; None while there is none.

    An approval is consumed here, under the fence and by one statement: a call for which this
    returns ``allow`` may run exactly once. That the session runs again is written later, by
    ``mark_answered``, since the agent waits now. The policy has not seen an input that a person
    edited, so it is evaluated here, on the host where the call would run: no approval lifts a
    guardrail.

    Raises:
        StaleFence: the session has another supervisor by now.
    """
    fence, digest = _fence(claim), _digest(claim, request)
    grant = approval_commands.consume_approval(approval_id=approval_id, digest=digest, under=fence)
    if grant is not None:
        text = grant.updated_input or request.tool_input
        if grant.answers:
            text = _with_answers(text, grant.answers)
        if grant.updated_input and (forbidden := _policy_denial(claim, request, text)):
            return _refused_as_edited(approval_id, grant, forbidden)
        return PermissionOutcome(
            effect="allow", approval_id=approval_id, tool_input=text, status=A.APPROVED, by=grant.decided_by,
            model_note=note_text(grant.note, by=grant.decided_by) if grant.note else "", note=grant.note,
        )  # fmt: skip
    approval = find_approval(approval_id)
    if approval.status == A.PENDING:
        return None
    _require_ours(claim)
    if approval.status == A.APPROVED and approval.consumed_at is None and stops.is_stopped():
        return None  # recorded, and consumed after the lift
    if approval.status == A.APPROVED and approval.consumed_at is None and approval.input_digest == digest:
        return outcome_from_row(claim, request, approval_id)  # approved between the statements
    return PermissionOutcome(
        effect="deny",
        approval_id=approval_id,
        message=denial_message(approval),
        status=approval.status,
        by=approval.decided_by,
        interrupts=approval.status == A.CANCELLED,
    )


def seconds_left(approval_id: UUID) -> float:
    """Return the seconds until the deadline, which stands still while agents are stopped; 0 if it
    has passed.
    """
    rows = Approval.objects.annotate(left=F("expires_at") - deadline_now_of_row())
    left: timedelta = rows.values_list("left", flat=True).get(pk=approval_id)
    return max(0.0, (left + settings.APPROVALS.grace).total_seconds())


def surroundings() -> Surroundings:
    """Return what the guardrails of the policy protect, from the settings."""
    return Surroundings(
        data_dir=str(settings.ORCHESTRA.data_dir),
        code_dir=str(Path(settings.BASE_DIR)),
        working_roots=tuple(str(root) for root in settings.AGENTS.working_roots),
        port=settings.ORCHESTRA.port,
        private_paths=(str(embedded.socket_path(settings.ORCHESTRA.data_dir).parent),),
    )


def parked_call(claim: Claim) -> Approval | None:
    """Return the approval of the call that the CLI repeats first."""
    return approvals_of_call(claim.session_id, claim.deferred).order_by("created_at").last()


def record_violation(claim: Claim, violation: Violation) -> None:
    """Record that a tool of this run ran without a decision. This needs no fence: it happened under
    any supervisor.
    """
    violations.record_violation(
        session=claim.session_id, run=claim.run_id, requested_by=claim.requested_by,
        tool_name=violation.tool_name, tool_use_id=violation.tool_use_id,
        tool_input=storable(violation.tool_input), reason=violation.reason,
    )  # fmt: skip


def mark_answered(claim: Claim, approval_ids: Collection[UUID], *, goes_on: bool) -> None:
    """Record that outcomes were sent to the CLI; with ``goes_on`` no other request is open, and the
    session runs.

    Raises:
        StaleFence: the session has another supervisor by now, or was cancelled.
    """
    _mark_answered(approval_ids)
    if goes_on:
        _move(claim, S.RUNNING)


def withdraw_request(approval_id: UUID, reason: str) -> str:
    """Cancel an approval request; a decision that came first stays as it is. Return the status it
    has now.
    """
    try:
        approval = approval_commands.cancel_approval(
            approval_id=approval_id, by="", via=DecisionSource.SYSTEM, reason=reason
        )
    except ApprovalClosed:
        approval = find_approval(approval_id)
    _mark_answered([approval_id])
    return approval.status


def denial_message(approval: Approval) -> str:
    """Return what the model reads when a request was rejected, expired, cancelled or consumed
    before.
    """
    if approval.status == A.EXPIRED:
        return EXPIRED_MESSAGE
    if approval.status == A.CANCELLED:
        return CANCELLED_MESSAGE
    if approval.status == A.APPROVED:  # consumed before, or for another input
        return "An earlier approval of this call was already used; ask again if it is still needed."
    who = approval.decided_by or "a person"
    return f"{who} rejected this: {approval.reason}" if approval.reason else f"{who} rejected this."


def _mark_answered(approval_ids: Collection[UUID]) -> None:
    marks = ", ".join(["%s"] * len(approval_ids))
    sql.run(
        f"UPDATE permission_requests SET answered_at = {sql.now()}"  # noqa: S608 - constant text
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
    """Return what an approval is about, see ``Approval.subject``."""
    return f"session:{claim.session_id}:{tool_use_id}"


def _folder(claim: Claim, request: ToolRequest) -> str:
    """Return the real path of the folder in which the call would run: the session's, unless the CLI
    names another.
    """
    return os.path.realpath(request.folder) if request.folder else claim.directory


def _in_its_folder(answer: PolicyDecision, call: Call, claim: Claim) -> PolicyDecision:
    """Require an approval for a call that would run outside of the session's folder."""
    if answer.effect == ALLOW and not inside(call.directory, claim.directory):
        return PolicyDecision(effect=ASK, reason="the agent has left the session's folder", source="default")
    return answer


def _policy_denial(claim: Claim, request: ToolRequest, tool_input: str) -> PolicyDecision | None:
    """Return the denial of this input by a guardrail or a rule, which a person's approval does not
    override.
    """
    call = Call(tool_name=request.tool_name, tool_input=tool_input, directory=_folder(claim, request))
    answer = _evaluate_policy(call, _rules(claim), surroundings())
    return answer if answer.effect == DENY else None


def _refused_as_edited(
    approval_id: UUID, grant: approval_commands.Grant, forbidden: PolicyDecision
) -> PermissionOutcome:
    """Deny a call whose edited input the policy denies; the approval is consumed, and the audit
    records the reason.
    """
    reason = f"not run as edited: {forbidden.reason}"
    approval_commands.record_attempt(
        action="refused",
        by=grant.decided_by,
        via=DecisionSource.POLICY,
        address="",
        reason=reason,
        approval_id=approval_id,
    )
    return PermissionOutcome(
        effect="deny", approval_id=approval_id, message=_policy_message(forbidden), status=A.APPROVED,
        by=grant.decided_by,
    )  # fmt: skip


def _evaluate_policy(call: Call, rules: list[Rule], surroundings: Surroundings) -> PolicyDecision:
    """Evaluate the policy; a call that cannot be evaluated, such as one with an impossible path, is
    denied.
    """
    try:
        return decide(call, rules, surroundings)
    except (ValueError, OSError, RecursionError):
        logger.exception("the policy could not evaluate a call of %s", call.tool_name)
        return PolicyDecision(effect=DENY, reason="the call could not be judged", source="guardrail")


def _rules(claim: Claim) -> list[Rule]:
    return rules_for(session_id=claim.session_id, directory=claim.directory, requester=claim.requested_by)


def _allow_by_policy(
    claim: Claim, request: ToolRequest, answer: PolicyDecision, question: ApprovalRequest
) -> PermissionOutcome | None:
    """Allow a call by policy: under the fence, counted, and never while agents are stopped.

    Return None if the rule that allowed it is no longer in force, so that an approval is requested.
    """
    with transaction.atomic():
        if not claim.session().filter(stops.when_not_stopped()).update(fence=claim.fence):
            require_fence(claim.session().update(fence=claim.fence))
            return PermissionOutcome(effect="hold")
        if not _rule_still_counts(answer.rule):
            return None
        if answer.source in ("rule", "plan"):
            approval_commands.record_policy_decision(question, decision=A.APPROVED, reason=answer.reason, consumed=True)
    return PermissionOutcome(effect="allow", tool_input=request.tool_input, status=A.APPROVED, by=answer.reason)


def _rule_still_counts(rule: Rule | None) -> bool:
    """Count a use of the rule, if there is one; return False if it was revoked or used up by a
    concurrent call.
    """
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
    """Whether the call runs in the background while the agent does other things."""
    return parsed_arguments(request.tool_input).get("run_in_background") is True


def _request_approval(
    claim: Claim, request: ToolRequest, question: ApprovalRequest, approval_id: UUID, *, put_off: bool = False
) -> PermissionOutcome:
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
        # the tool's name only: its input may hold a secret
        logger.info("approval %s requested: %s", approval_id, request.tool_name)
    return PermissionOutcome(effect="wait", approval_id=approval_id, waits_s=waits_s, status=A.PENDING)


def _earlier_question(claim: Claim, request: ToolRequest, digest: str) -> Approval | None:
    """Return the approval request that an earlier process of the turn made for this very call, if
    there is one.

    A parked call comes back under its own id; a call that was put off behind it is made again,
    under another id. After a kill the model makes its calls again, under other ids, in the same
    conversation or from the prompt. A request with another id is found by its input, among those of
    this turn. Of a request that was reopened the newest counts.
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
    """Whether the policy now denies the call of a reopened request, which is then evaluated like a
    new one.
    """
    return approval.reopened_from is not None and _policy_denial(claim, request, request.tool_input) is not None


def _stays_put_off(claim: Claim, digest: str) -> bool:
    """Whether an earlier process put this call off and its request is still pending or approved."""
    asked = Approval.objects.filter(session=claim.session_id, input_digest=digest, consumed_at=None)
    before = Run.objects.filter(pk=claim.run_id).values("created_at")
    put_off = PermissionRequest.objects.filter(turn=claim.turn_id, put_off=True, created_at__lt=Subquery(before))
    behind = asked.filter(pk__in=put_off.values("approval"))
    return any(newest_of(one).status in (A.PENDING, A.APPROVED) for one in behind)


def _adopt_request(claim: Claim, request: ToolRequest, approval: Approval) -> PermissionOutcome:
    """Continue with the request of an earlier process, perhaps of an earlier turn; from now on it
    is this turn's.
    """
    changes = {"turn_id": claim.turn_id, "request_id": request.request_id, "tool_use_id": request.tool_use_id}
    fresh = {"session_id": claim.session_id, "agent_id": request.agent_id}
    PermissionRequest.objects.update_or_create(
        approval=approval, defaults=changes | {"answered_at": None, "put_off": False}, create_defaults=changes | fresh
    )
    replaced = PermissionRequest.objects.filter(approval__in=earlier_of(approval), answered_at=None)
    replaced.update(answered_at=Now(), put_off=False)  # the call gets the outcome of the newest request
    decision = outcome_from_row(claim, request, approval.pk)
    if decision is not None:
        return decision
    _move(claim, S.WAITING)
    return PermissionOutcome(
        effect="wait", approval_id=approval.pk, waits_s=seconds_left(approval.pk), status=A.PENDING
    )


def _move(claim: Claim, to: str) -> None:
    """Set the status of the session under the fence.

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
    """True while the claim holds the session and it is open; another claim waits until this
    transaction is over.
    """
    lock = " FOR SHARE" if connection.features.has_select_for_update else ""
    return sql.Statement(
        "(SELECT TRUE FROM agent_sessions WHERE id = %s AND fence = %s"  # noqa: S608 - constant text
        f" AND status IN ('running', 'waiting'){lock})",
        (claim.session_id, claim.fence),
    )


def _require_ours(claim: Claim) -> None:
    """Raise StaleFence unless the claim holds the session and it is open."""
    fence = _fence(claim)
    found = sql.row(f"SELECT {fence.text}", *fence.values)
    require_fence(bool(found and found[0]))


def _with_answers(tool_input: str, answers: str) -> str:
    """Return the input with the answers to its questions added as text, so that the rest stays byte
    for byte.
    """
    body = tool_input.strip()
    member = f'"answers":{answers}'
    return f"{body[:-1]},{member}}}" if json.loads(body) else f"{{{member}}}"


def _policy_message(answer: PolicyDecision) -> str:
    return f"Orchestra's policy does not allow this: {answer.reason}."
