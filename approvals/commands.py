"""Every command that writes approvals: request, decide, expire, cancel, extend, consume."""

import json
import logging
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field
from datetime import timedelta
from functools import partial
from typing import Any
from uuid import UUID, uuid4

from django.conf import settings
from django.db import DatabaseError, transaction
from django.db.models import F, Q, QuerySet
from django.db.models.functions import Now

from approvals.audit import changes as audit_changes
from approvals.deadlines import NEVER, allowed_time, deadline_after, refuse_never
from approvals.errors import ApprovalClosed, ApprovalExpired, DigestMismatch, InvalidDecision, SelfApproval
from approvals.models import APPROVAL_FLOW, Approval, AuditEntry, DecisionSource, Rule
from approvals.policy.digest import input_digest
from approvals.presentation.render import holds_a_plan
from approvals.presentation.session_scope import scope_pattern
from approvals.queries import find_approval, rules_in_force
from approvals.signals import approval_changed, approvals_swept
from approvals.stop import commands as stops
from orchestra.db import notify, sql
from orchestra.db.unit_of_work import UnitOfWork
from orchestra.logs.config import bind
from orchestra.redaction import PLACEHOLDER

logger = logging.getLogger(__name__)

TIMED_OUT = "Timeout waiting for approval"
LONGEST_NOTE = 4_000  # characters; of more than 10,000 the CLI (2.1.309 to 2.1.332) shows the model only the start


@dataclass(frozen=True, slots=True, kw_only=True)
class ApprovalRequest:
    """The content of a new approval; ``tool_input`` and ``options`` are exact JSON text."""

    title: str
    kind: str = Approval.Kind.TOOL
    summary: str = ""
    body: str = ""
    facts: dict[str, Any] = field(default_factory=dict)
    options: str = ""
    tool_name: str = ""
    tool_input: str = ""
    input_digest: str = ""
    risk: str = Approval.Risk.MEDIUM
    risk_reason: str = ""
    working_directory: str = ""
    subject: str = ""
    session: UUID | None = None
    requested_by: str = ""


def request_approval(
    request: ApprovalRequest, *, timeout: timedelta | None = None, via: str = DecisionSource.SYSTEM
) -> UUID:
    """Create an open approval and return its id.

    The deadline is the database's time plus ``timeout``; the settings give the default and the
    maximum. The command runs inside the caller's transaction if there is one, so that the
    requester's own rows commit with it.

    Raises:
        IntegrityError: an approval with the same subject is already pending.
    """
    unit = UnitOfWork()
    approval_id = uuid4()
    add_approval_request(unit, request, approval_id=approval_id, timeout=timeout, via=via)
    unit.commit()
    return approval_id


def add_approval_request(
    unit: UnitOfWork,
    request: ApprovalRequest,
    *,
    approval_id: UUID,
    timeout: timedelta | None = None,
    via: str = DecisionSource.SYSTEM,
) -> None:
    """``request_approval`` within the requester's unit of work, whose rows commit together with the
    approval.
    """
    approval = Approval(pk=approval_id, **_fields(request))
    unit.insert(approval, expires_at=deadline_after(allowed_time(timeout)))
    unit.insert(audit_entry(approval, action="requested", won=True, by=request.requested_by, via=via))
    _announce(unit, approval_id, Approval.Status.PENDING)


def record_policy_decision(request: ApprovalRequest, *, decision: str, reason: str, consumed: bool) -> UUID:
    """Record a decision of the policy, as an approval that was never open."""
    with transaction.atomic():
        approval = Approval(
            pk=uuid4(),
            status=decision,
            expires_at=Now(),
            decided_at=Now(),
            decided_via=DecisionSource.POLICY,
            reason=reason,
            consumed_at=Now() if consumed else None,
            run_digest=request.input_digest if consumed else "",
            **_fields(request),
        )
        approval.save(force_insert=True)
        audit_entry(approval, action=decision, won=True, by="", via=DecisionSource.POLICY, reason=reason).save()
    return approval.pk


def decide_approval(
    *,
    approval_id: UUID,
    decision: str,
    by: str,
    via: str,
    reason: str = "",
    note: str = "",
    updated_input: str = "",
    answers: str = "",
    scope: str = Approval.Scope.ONCE,
    seen_digest: str = "",
    address: str = "",
) -> Approval:
    """Record a person's decision. The first decision wins, whichever surface it came from.

    The command needs the database alone: with Redis and Telegram down, the admin still decides. The
    caller has checked that ``by`` may decide now. The agent reads ``note`` together with the result
    of an approved call. It reads ``reason`` after a rejection; the reason of an approval is for the
    audit alone. ``updated_input`` and ``answers`` are JSON text. ``seen_digest`` is the digest of
    the input that the person saw, if the surface knows it. The same decision by the same person
    again returns the approval unchanged.

    Raises:
        ApprovalNotFound: there is no such approval.
        ApprovalClosed: it was decided before; the facts name the decider, the surface and the time.
        ApprovalExpired: its deadline has passed, whether or not a sweep has closed it.
        DigestMismatch: ``seen_digest`` is not the approval's.
        SelfApproval: ``by`` requested it, and self-approval is off.
        InvalidDecision: the edited input, the answers, the note or the scope do not fit the
            request.
    """
    approval = find_approval(approval_id)  # the checks below read only fields that never change after the request
    _check_decision(
        approval, decision=decision, by=by, updated_input=updated_input, answers=answers, scope=scope,
        seen_digest=seen_digest, note=note,
    )  # fmt: skip
    will_run = _digest_of(approval, updated_input)
    changes = {
        "decided_by": by,
        "decided_via": via,
        "reason": reason,
        "note": note,
        "scope": scope,
        "updated_input": updated_input,
        "answers": answers,
        "run_digest": will_run if decision == Approval.Status.APPROVED else "",
    }
    latest = stops.deadline_clock(-settings.APPROVALS.grace)
    alive = sql.Statement(f"expires_at > {latest.text}", latest.values)
    unit = UnitOfWork(
        APPROVAL_FLOW.move_statement(Approval, approval_id, to=decision, guard=alive, stamp="decided_at", **changes),
        returning="decided_at",
    )
    attempt = partial(
        audit_entry, approval, action=decision, by=by, via=via, reason=_audit_reason(reason, note), address=address,
        digest=will_run,
    )  # fmt: skip
    unit.insert(attempt(won=True))
    if decision == Approval.Status.APPROVED and scope == Approval.Scope.SESSION:
        rule = _session_rule(approval, by=by)
        unit.insert(rule)
        unit.insert(audit_changes.entry(action="rule_added", what=audit_changes.described([rule]), by=by, via=via))
    _announce(unit, approval_id, decision)
    won = unit.commit()
    if won is None:
        attempt(won=False).save()
        return _repeated_or_refuse(
            find_approval(approval_id), decision, by, will_run=will_run, answers=answers, note=note
        )
    decided_at = sql.load_value(Approval._meta.get_field("decided_at"), won[0])
    for name, value in {"status": decision, "decided_at": decided_at, **changes}.items():
        setattr(approval, name, value)
    with bind(approval=approval_id, session=approval.session):
        logger.info("approval %s %s by %s via %s", approval_id, decision, by, via)
    return approval


def expire_due_approvals(*, batch: int) -> int:
    """Expire all overdue approvals, the oldest first, one batch in each transaction; return how
    many were closed.

    Concurrent runs are safe: they lock different rows, and skip a row that a decision has locked.
    If a batch fails, its rows are tried one by one; a row that fails alone is logged and left to
    the next sweep, so that it does not block the younger ones.
    """
    total = 0
    bad: set[UUID] = set()
    while True:
        try:
            moved = _expire_batch(batch, bad)
        except DatabaseError:
            logger.exception("a batch of overdue approvals could not be closed; they are tried one by one")
            moved, failed = _expire_one_by_one(batch, bad)
            bad |= failed
            total += moved
            if moved or failed:
                continue
            return total
        if not moved:
            return total
        total += moved


def expire_approval(approval_id: UUID) -> bool:
    """Expire one overdue approval; return False if it is not due yet or was closed before."""
    with transaction.atomic():
        won = _expire(_overdue().filter(pk=approval_id).select_for_update())
    return bool(won)


def cancel_approval(*, approval_id: UUID, by: str, via: str, reason: str = "") -> Approval:
    """Withdraw a request. A second cancellation returns the approval unchanged.

    Raises:
        ApprovalNotFound: there is no such approval.
        ApprovalClosed: it was decided before.
    """
    with transaction.atomic():
        approval = find_approval(approval_id)
        won = _cancel(approval_id, session=approval.session, by=by, via=via, reason=reason)
        if not won:
            audit_entry(approval, action=Approval.Status.CANCELLED, won=False, by=by, via=via, reason=reason).save()
    approval.refresh_from_db()
    if not won and approval.status != Approval.Status.CANCELLED:
        raise _closed(approval)
    return approval


def cancel_open_approvals(*, session: UUID, by: str, via: str, reason: str, which: Q | None = None) -> int:
    """Withdraw every open request of a session, or only those that match ``which``; return how
    many.
    """
    rows = Approval.objects.filter(which or Q(), status=Approval.Status.PENDING, session=session)
    open_ids = list(rows.values_list("pk", flat=True))
    return sum(_cancel(approval_id, session=session, by=by, via=via, reason=reason) for approval_id in open_ids)


def extend_approval(*, approval_id: UUID, minutes: float, by: str, via: str) -> Approval:
    """Move the deadline by ``minutes``, up to the maximum counted from the creation; 0 removes the
    deadline.

    Raises:
        ApprovalNotFound, ApprovalClosed, ApprovalExpired: as for deciding.
        InvalidDecision: more than the maximum, below 0, or 0 where the settings allow no request
            without a deadline.
    """
    if not minutes:
        return _remove_deadline(approval_id, by=by, via=via)
    most = settings.APPROVALS.max_timeout / timedelta(minutes=1)
    if not 0 < minutes <= most:
        raise InvalidDecision(
            f"An extension takes up to {most:g} minutes.", {"minutes": [f"Not above 0 and up to {most:g}."]}
        )
    more = timedelta(minutes=minutes)
    with transaction.atomic():
        approval = find_approval(approval_id)
        if approval.never_expires:
            raise InvalidDecision("This request never expires.", {"minutes": ["it has no deadline"]})
        most_at = approval.created_at + settings.APPROVALS.max_timeout + stops.frozen_since(approval.created_at)
        if approval.expires_at + more > most_at:
            longest = settings.APPROVALS.max_timeout // timedelta(minutes=1)
            raise InvalidDecision(f"An approval may wait {longest:g} minutes in all.", {"minutes": ["too many"]})
        early = Approval.objects.filter(expires_at__lte=most_at - more)
        won = _change_deadline(
            approval, early, by=by, via=via, reason=f"{minutes:g} minutes", expires_at=F("expires_at") + more
        )
    return _extended(approval, won)


def _remove_deadline(approval_id: UUID, *, by: str, via: str) -> Approval:
    refuse_never()
    with transaction.atomic():
        approval = find_approval(approval_id)
        won = _change_deadline(
            approval,
            Approval.objects.all(),
            by=by,
            via=via,
            reason="never expires",
            expires_at=NEVER,
            reminded_for=None,
        )
    return _extended(approval, won)


def _change_deadline(
    approval: Approval, rows: QuerySet[Approval], *, by: str, via: str, reason: str, **changes: Any
) -> bool:
    """Make ``changes`` if the approval is open, not overdue and one of ``rows``; return whether
    they were made.

    A failed attempt is audited as well.
    """
    alive = rows.filter(pk=approval.pk, status=Approval.Status.PENDING, expires_at__gt=stops.deadline_now())
    won = bool(alive.update(**changes))
    audit_entry(approval, action="extended", won=won, by=by, via=via, reason=reason).save()
    if won:
        _announce_now(approval.pk, Approval.Status.PENDING)
    return won


def _extended(approval: Approval, won: bool) -> Approval:
    approval.refresh_from_db()
    if not won:
        raise _closed(approval)
    return approval


def record_attempt(
    *, action: str, by: str, via: str, address: str, reason: str, approval_id: UUID | None = None, won: bool = False
) -> None:
    """Record in the audit an action that decides nothing, such as a refused callback query or a
    linked account.
    """
    AuditEntry.objects.create(
        approval_id=approval_id, action=action, won=won, by=by, via=via, address=address, reason=reason
    )


def revoke_session_rule(*, rule_id: UUID, session: UUID, by: str, via: str, address: str = "") -> bool:
    """End an allow rule of ``session``; return whether it was in force.

    Calls that it allowed before stay allowed.
    """
    mine = rules_in_force().filter(scope=Rule.ScopeKind.SESSION, scope_value=str(session), effect=Rule.Effect.ALLOW)
    with transaction.atomic():
        ended = mine.filter(pk=rule_id).update(ends_at=Now())
        if ended:
            what = f"{Rule.objects.get(pk=rule_id)} in session {session}"
            record_attempt(action="rule_revoked", by=by, via=via, address=address, reason=what, won=True)
    return bool(ended)


@dataclass(frozen=True, slots=True)
class Grant:
    """What a consumed approval allows to run: the edited input, or empty, and the answers to
    questions (JSON text).
    """

    updated_input: str
    answers: str
    decided_by: str
    note: str = ""


def consume_approval(*, approval_id: UUID, digest: str, under: sql.Statement = sql.ALWAYS) -> Grant | None:
    """Mark an approval as consumed for exactly the input with ``digest``, and return what it
    allows.

    Returns None if the approval is not approved, was consumed before, has another digest, or if
    agents are stopped. ``under`` is a further condition, such as the supervisor's fencing token.
    The supervisor calls this before it writes the decision to the CLI. It is one SQL statement,
    because the person who decided is waiting for the effect, and ``update()`` cannot return
    columns.
    """
    going = stops.not_stopped()
    row = sql.row(
        f"UPDATE approvals SET consumed_at = {sql.now()}"  # noqa: S608 - the database's own function
        f" WHERE id = %s AND status = 'approved' AND consumed_at IS NULL AND input_digest = %s AND {under.text}"
        f" AND {going.text} RETURNING updated_input, answers, decided_by, note, note_delivered_at",
        approval_id, digest, *under.values, *going.values,
    )  # fmt: skip
    if row is None:
        return None
    # delivered_at is tested in Python, because RETURNING x IS NULL gives 0 in SQLite 3.40
    updated_input, answers, decided_by, note, delivered_at = row
    return Grant(updated_input, answers, decided_by, "" if delivered_at else note)


def mark_note_delivered(approval_ids: Collection[UUID]) -> int:
    """Record that the agent has received the notes of these approvals; return how many were not
    recorded before.
    """
    return Approval.objects.filter(pk__in=approval_ids, note_delivered_at=None).update(note_delivered_at=Now())


def _audit_reason(reason: str, note: str) -> str:
    """Join both into the one text column of an audit entry."""
    return "\n".join(part for part in (reason, f"note: {note}" if note else "") if part)


def _fields(request: ApprovalRequest) -> dict[str, Any]:
    return {name: getattr(request, name) for name in ApprovalRequest.__dataclass_fields__}


def audit_entry(
    approval: Approval,
    *,
    action: str,
    won: bool,
    by: str,
    via: str,
    reason: str = "",
    address: str = "",
    digest: str = "",
) -> AuditEntry:
    return AuditEntry(
        approval_id=approval.pk,
        action=action,
        won=won,
        by=by,
        via=via,
        reason=reason,
        address=address,
        digest=digest or approval.input_digest,
    )


def _announce(unit: UnitOfWork, approval_id: UUID, status: str) -> None:
    """Notify other processes with the commit, and send the signal in this process after it."""
    unit.notify("approval", str(approval_id))
    if not notify.is_suppressed():
        unit.on_commit(_changed_signal(approval_id, status))


def _announce_now(approval_id: UUID, status: str) -> None:
    """``_announce`` for a transaction that is already open."""
    notify.send("approval", str(approval_id))
    if not notify.is_suppressed():
        transaction.on_commit(_changed_signal(approval_id, status), robust=True)


def _changed_signal(approval_id: UUID, status: str) -> Callable[[], object]:
    return partial(approval_changed.send_robust, sender=Approval, approval_id=approval_id, status=status)


def _overdue() -> QuerySet[Approval]:
    return Approval.objects.filter(
        status=Approval.Status.PENDING, expires_at__lte=stops.deadline_now() - settings.APPROVALS.grace
    )


def _expire_batch(batch: int, bad: set[UUID]) -> int:
    due = _overdue().exclude(pk__in=bad).order_by("expires_at")
    with transaction.atomic():
        return _expire(due.select_for_update(skip_locked=True)[:batch])


def _expire_one_by_one(batch: int, bad: set[UUID]) -> tuple[int, set[UUID]]:
    """Return how many of the batch were closed, and the ids of those that could not be."""
    moved, failed = 0, set()
    due = _overdue().exclude(pk__in=bad).order_by("expires_at")
    for approval_id in list(due.values_list("pk", flat=True)[:batch]):
        try:
            with transaction.atomic():
                moved += _expire(_overdue().filter(pk=approval_id).select_for_update(skip_locked=True))
        except DatabaseError:
            logger.exception("approval %s is overdue and cannot be closed; the next sweep tries again", approval_id)
            failed.add(approval_id)
    return moved, failed


def _expire(locked: QuerySet[Approval]) -> int:
    """Close these overdue rows, and audit and announce exactly those that are closed.

    The rows are locked when they are read, so the one UPDATE moves exactly these. SQLite has no row
    locks and needs none: its transaction is the only one that writes.
    """
    sessions = dict(locked.values_list("pk", "session"))
    if not sessions:
        return 0
    ids = list(sessions)
    APPROVAL_FLOW.move(
        Approval.objects.filter(pk__in=ids), to=Approval.Status.EXPIRED, decided_at=Now(), reason=TIMED_OUT
    )
    _audit_expiries(ids)
    notify.send_many("approval", [str(pk) for pk in ids])
    transaction.on_commit(partial(_announce_expiries, sessions), robust=True)
    return len(ids)


def _audit_expiries(ids: list[UUID]) -> None:
    """One INSERT ...

    SELECT, because the ORM would build thousands of objects from rows that are in the table.
    """
    sql.run(
        'INSERT INTO audit_entries (approval_id, action, won, "by", via, address, reason, digest)'  # noqa: S608
        " SELECT id, 'expired', TRUE, '', 'system', '', '', input_digest FROM approvals"
        f" WHERE id IN ({', '.join(['%s'] * len(ids))})",
        *ids,
    )


def _announce_expiries(sessions: Mapping[UUID, UUID | None]) -> None:
    """Log the expiries and send the signals in this process; ``sessions`` maps approval ids to
    their sessions.
    """
    for approval_id, session in sessions.items():
        about = {"approval": str(approval_id)} | ({"session": str(session)} if session else {})
        logger.warning("approval %s timeout", approval_id, extra=about)
        logger.info("approval cancelled: %s expired", approval_id, extra=about)
    if notify.is_suppressed():
        return
    for approval_id in sessions:
        approval_changed.send_robust(
            sender=Approval, approval_id=approval_id, status=Approval.Status.EXPIRED, swept=True
        )
    approvals_swept.send_robust(sender=Approval, approval_ids=list(sessions))


def _cancel(approval_id: UUID, *, session: UUID | None, by: str, via: str, reason: str) -> int:
    with transaction.atomic():
        rows = Approval.objects.filter(pk=approval_id)
        won = APPROVAL_FLOW.move(
            rows, to=Approval.Status.CANCELLED, decided_at=Now(), decided_by=by, decided_via=via, reason=reason
        )
        if won:
            AuditEntry.objects.create(
                approval_id=approval_id, action=Approval.Status.CANCELLED, won=True, by=by, via=via, reason=reason
            )
            _announce_now(approval_id, Approval.Status.CANCELLED)
    if won:
        with bind(approval=approval_id, session=session):
            logger.info("approval cancelled: %s", approval_id)
    return won


def _digest_of(approval: Approval, updated_input: str) -> str:
    if not updated_input:
        return approval.input_digest
    return input_digest(
        tool_name=approval.tool_name,
        tool_input=updated_input,
        working_directory=approval.working_directory,
        session=approval.session,
    )


def refuse_self_approval(approval: Approval, by: str) -> None:
    """Check this ahead of the decision, for surfaces that first prompt for a reason or reopen a
    request.

    Raises:
        SelfApproval: ``by`` requested it, and self-approval is off.
    """
    if by and by == approval.requested_by and not settings.APPROVALS.self_approval:
        raise SelfApproval("Nobody decides what they requested themselves.")


def _check_decision(
    approval: Approval,
    *,
    decision: str,
    by: str,
    updated_input: str,
    answers: str,
    scope: str,
    seen_digest: str,
    note: str,
) -> None:
    if decision not in (Approval.Status.APPROVED, Approval.Status.REJECTED):
        raise InvalidDecision("A decision is approved or rejected.")
    refuse_self_approval(approval, by)
    if decision == Approval.Status.APPROVED and approval.kind == Approval.Kind.PLAN and not holds_a_plan(approval):
        raise InvalidDecision("This holds no plan, so there is nothing to approve. Reject it and say what is missing.")
    if seen_digest and seen_digest != approval.input_digest:
        raise DigestMismatch(
            "The input is not the one you looked at; load the approval again.", input_digest=approval.input_digest
        )
    if updated_input:
        if approval.kind != Approval.Kind.TOOL or decision != Approval.Status.APPROVED:
            raise InvalidDecision("Only an approved tool call can be edited.", {"updated_input": ["not possible here"]})
        if not isinstance(_parsed(updated_input, "updated_input"), dict):
            raise InvalidDecision("An edited input is a JSON object.", {"updated_input": ["not an object"]})
        _refuse_placeholders(updated_input, approval)
    if answers and not isinstance(_parsed(answers, "answers"), dict):
        raise InvalidDecision(
            "Answers are a JSON object: each question with its answer.", {"answers": ["not an object"]}
        )
    if note:
        _check_note(note, decision=decision)
    if scope != Approval.Scope.ONCE:
        _check_scope(approval, scope=scope, updated_input=updated_input)


def _check_note(note: str, *, decision: str) -> None:
    if decision != Approval.Status.APPROVED:
        raise InvalidDecision(
            "A note goes with an approval; a rejection has a reason.", {"note": ["not possible here"]}
        )
    if len(note) > LONGEST_NOTE:
        raise InvalidDecision(f"A note has at most {LONGEST_NOTE:,} characters.", {"note": ["too long"]})


def _refuse_placeholders(updated_input: str, approval: Approval) -> None:
    """Refuse an input that was edited while its secrets were hidden.

    It would run with placeholders such as ``[secret 1]`` in it.
    """
    put_in = {found[0] for found in PLACEHOLDER.finditer(updated_input)} - set(PLACEHOLDER.findall(approval.tool_input))
    if put_in:
        raise InvalidDecision(
            f"The edited input holds {min(put_in)} where a secret was hidden. Reveal the secrets, and edit again.",
            {"updated_input": ["holds a placeholder"]},
        )


def _check_scope(approval: Approval, *, scope: str, updated_input: str) -> None:
    if scope != Approval.Scope.SESSION:
        raise InvalidDecision("The scope is once or session.", {"scope": ["unknown"]})
    if approval.session is None or approval.kind != Approval.Kind.TOOL:
        raise InvalidDecision(
            "Only a tool call of a session can be approved for the session.", {"scope": ["not possible here"]}
        )
    if updated_input:
        # the agent would repeat its original call, not the edited one that the person approved
        raise InvalidDecision(
            "An edited call is approved once, never for the session.", {"scope": ["not with an edited input"]}
        )


def _parsed(text: str, name: str) -> Any:
    try:
        return json.loads(text)
    except (ValueError, RecursionError) as error:
        raise InvalidDecision("That is not JSON.", {name: [str(error)]}) from error


def _session_rule(approval: Approval, *, by: str) -> Rule:
    """Build the rule of "Approve for session": the same input passes, apart from what
    `scope_sentence` says may differ.
    """
    return Rule(
        effect=Rule.Effect.ALLOW,
        tool=approval.tool_name,
        pattern=scope_pattern(approval),
        scope=Rule.ScopeKind.SESSION,
        scope_value=str(approval.session or ""),
        created_by=by,
        made_for=approval.requested_by,
        note=f"approved for the session with approval {approval.pk}",
    )


def _repeated_or_refuse(
    approval: Approval, decision: str, by: str, *, will_run: str, answers: str, note: str
) -> Approval:
    same_effect = decision != Approval.Status.APPROVED or (
        (approval.run_digest, approval.answers, approval.note) == (will_run, answers, note)
    )
    if approval.status == decision and approval.decided_by == by and same_effect:
        return approval
    raise _closed(approval)


def _closed(approval: Approval) -> ApprovalClosed | ApprovalExpired:
    if approval.status in (Approval.Status.PENDING, Approval.Status.EXPIRED):
        return ApprovalExpired(TIMED_OUT, status=approval.status, expires_at=approval.expires_at.isoformat())
    who = approval.decided_by or "the system"
    return ApprovalClosed(
        f"This approval was already {approval.status} by {who} via {approval.decided_via}.",
        status=approval.status,
        decided_by=approval.decided_by,
        decided_via=approval.decided_via,
        decided_at=approval.decided_at.isoformat() if approval.decided_at else None,
    )
