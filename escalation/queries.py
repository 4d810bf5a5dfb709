"""Every read of the outbox and its people that others need."""

from typing import Any

from django.conf import settings

from approvals.models import Approval
from approvals.queries import readable_approvals
from approvals.render import questions_of, what_would_run
from escalation.channels.base import Notice, Outcome
from escalation.models import Approver

WHOLE = 20_000_000  # characters: as much as an input can have


def asked(**which: Any) -> Approval | None:
    """One approval with ``read_at``, as `notice_of` needs it: ``asked(pk=...)``."""
    return readable_approvals().filter(**which).first()


def notice_of(approval: Approval, *, whole: bool = True) -> Notice:
    """What to tell people of ``approval``, which was read by `asked`; without what would run unless ``whole``."""
    base = settings.ORCHESTRA.public_url.rstrip("/")
    left = approval.expires_at - approval.read_at  # type: ignore[attr-defined]
    return Notice(
        approval_id=approval.pk,
        kind=approval.kind,
        title=approval.title,
        summary=approval.summary,
        risk=approval.risk,
        risk_reason=approval.risk_reason,
        tool_name=approval.tool_name,
        blocks=tuple(what_would_run(approval, longest=WHOLE)) if whole else (),
        questions=tuple(questions_of(approval)),
        facts=approval.facts,
        working_directory=approval.working_directory,
        session=approval.session,
        requested_by=approval.requested_by,
        digest=approval.run_digest or approval.input_digest,
        created_at=approval.created_at,
        expires_at=approval.expires_at,
        seconds_left=max(0.0, left.total_seconds()),
        details_url=f"{base}/admin/approvals/approval/{approval.pk}/change/" if base else "",
        for_session=approval.session is not None and approval.kind == Approval.Kind.TOOL,
    )


def outcome_of(approval: Approval) -> Outcome | None:
    """How it closed; None while it is open."""
    if approval.is_open:
        return None
    return Outcome(
        status=approval.status,
        decided_by=approval.decided_by,
        decided_via=approval.decided_via,
        decided_at=approval.decided_at,
        reason=approval.reason,
        scope=approval.scope,
        answers=approval.answers,
        edited=bool(approval.updated_input),
    )


def approver_of(telegram_user: int) -> Approver | None:
    """The account that belongs to a Telegram user, with its ``user``; judge their rights afresh at every press."""
    return Approver.objects.select_related("user").filter(telegram_user=telegram_user).first()
