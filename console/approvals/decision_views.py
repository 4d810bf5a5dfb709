"""The desk in the console: one question as a card, and its answer by a form that needs no script."""

from collections.abc import Callable
from typing import Any
from uuid import UUID

from django.contrib import messages
from django.http import Http404, HttpRequest, HttpResponse, QueryDict
from django.shortcuts import redirect, render
from django.views.decorators.http import require_POST, require_safe

from approvals import commands, reopening
from approvals.deadlines import EXTENSION_MINUTES
from approvals.errors import ApprovalClosed, ApprovalExpired, ApprovalNotFound, DigestMismatch
from approvals.forms import parse_decision, record_decision
from approvals.models import Approval, DecisionSource
from approvals.presentation.redacted import record_reveal
from approvals.presentation.safe_text import visible
from approvals.queries import find_approval
from console.approvals.cards import Card, card_for, place_of, verdict_of
from console.shell import page
from orchestra.auth import next_page
from orchestra.auth.permissions import Right
from orchestra.errors import OrchestraError

EXTENSIONS = {"extend": EXTENSION_MINUTES, "never": 0}
TYPED = ("reason", "note", "updated_input")


@require_safe
@page()
def card(request: HttpRequest, approval_id: UUID) -> HttpResponse:
    """The card as the row says it now; ``?line`` draws it as one line."""
    return draw_card(request, found_or_404(approval_id), is_open="line" not in request.GET)


@require_POST
@page(Right.DECIDE)
def decide(request: HttpRequest, approval_id: UUID) -> HttpResponse:
    """Record an answer, or say why it was not recorded. Scripts get the card, everybody else their page again."""
    return answered(request, approval_id, draw_card)


@require_POST
@page(Right.DECIDE)
def reopen(request: HttpRequest, approval_id: UUID) -> HttpResponse:
    """Ask a closed request again, and show the one that is open then."""
    old, by = found_or_404(approval_id), request.user.get_username()
    try:
        fresh = reopening.reopen_approval(
            approval_id=old.pk, by=by, via=DecisionSource.DASHBOARD, address=request.META.get("REMOTE_ADDR", "")
        )
    except OrchestraError as error:
        messages.warning(request, f"Not asked again. {error.detail}")
        return redirect("question", old.pk)
    messages.success(request, "Asked again, with a new deadline. This is the new request.")
    return redirect("question", fresh.pk)


def answered(
    request: HttpRequest,
    approval_id: UUID,
    draw: Callable[..., HttpResponse],
    *,
    form: QueryDict | None = None,
    then: Callable[[], str] = str,
) -> HttpResponse:
    """Take the form's answer; a script gets what ``draw`` makes of the row as it is then, and of what to tell.

    ``then`` is done once the answer is recorded; returned is what did not work of it, or nothing.
    """
    notice = take(request, found_or_404(approval_id), form) or then()
    approval = found_or_404(approval_id)
    if request.headers.get("HX-Request"):
        return draw(request, approval, notice=notice, typed=_typed_in(request) if notice else "")
    return _said_and_back(request, approval, notice)


def _typed_in(request: HttpRequest) -> str:
    """What somebody wrote into a form that was not recorded."""
    return visible("\n\n".join(text for name in TYPED if (text := request.POST.get(name, "").strip())))


def _said_and_back(request: HttpRequest, approval: Approval, notice: str) -> HttpResponse:
    """Without a script: the page the form stood on, with what was recorded, or why nothing was."""
    if notice:
        messages.warning(request, notice)
    else:
        verdict = verdict_of(approval)
        messages.success(request, f"{verdict.strong}. Recorded." if verdict else "Recorded.")
    return redirect(back_to(request))


def take(request: HttpRequest, approval: Approval, form: QueryDict | None = None) -> str:
    """Record what the form says (the request's, if none is given); returned is why not, in words, or nothing."""
    by, form = request.user.get_username(), form if form is not None else request.POST
    try:
        minutes = EXTENSIONS.get(form.get("decision", ""))
        if minutes is not None:
            commands.extend_approval(approval_id=approval.pk, minutes=minutes, by=by, via=DecisionSource.DASHBOARD)
            return ""
        answer = parse_decision(form, approval)
        if isinstance(answer, str):
            return f"Not recorded. {answer}"
        record_decision(
            approval.pk, answer, by=by, via=DecisionSource.DASHBOARD, address=request.META.get("REMOTE_ADDR", "")
        )
    except (ApprovalClosed, ApprovalExpired):
        return _too_late(find_approval(approval.pk), form.get("decision", ""))
    except DigestMismatch:
        return "Not recorded. The request changed while you looked at it; this is what it asks now."
    except OrchestraError as error:
        return f"Not recorded. {error.detail}"
    return ""


def back_to(request: HttpRequest) -> str:
    """Where the form stood, if that is a place of ours."""
    return next_page.safe(request.POST.get("next", "")) or "/"


def found_or_404(approval_id: UUID) -> Approval:
    """The approval, or the page that says there is none."""
    try:
        return find_approval(approval_id)
    except ApprovalNotFound:
        raise Http404("Approval not found") from None


def _too_late(approval: Approval, decision: str) -> str:
    verdict = verdict_of(approval)
    if verdict is None:
        return "Not recorded. The time to answer is over."
    same = (approval.status == Approval.Status.REJECTED) == (decision == "reject")
    agreed = same and approval.status in (Approval.Status.APPROVED, Approval.Status.REJECTED)
    at = f" at {approval.decided_at:%H:%M:%S} UTC" if approval.decided_at else ""
    return f"Already answered. {verdict.strong}{at}. " + (
        "You agree; nothing of yours was needed." if agreed else "Nothing of yours was recorded."
    )


def draw_card(request: HttpRequest, approval: Approval, **shown: Any) -> HttpResponse:
    """The card, as an answer to a script."""
    drawn: Card = card_for(approval, request.user, place=place_of(approval), **shown)
    return render(request, "console/ask.html", {"card": drawn})


def note_reveal(request: HttpRequest, approval: Approval) -> None:
    """Note in the audit who is about to see the secrets."""
    by, address = request.user.get_username(), request.META.get("REMOTE_ADDR", "")
    record_reveal(approval, by=by, via=DecisionSource.DASHBOARD, address=address)
