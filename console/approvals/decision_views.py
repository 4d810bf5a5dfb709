"""Views of decisions: one request as a card, and a form that works without JavaScript."""

from collections.abc import Callable
from typing import Any
from uuid import UUID

from django.contrib import messages
from django.http import Http404, HttpRequest, HttpResponse, QueryDict
from django.shortcuts import redirect, render
from django.views.decorators.http import require_POST, require_safe

from approvals import reopening
from approvals.errors import ApprovalClosed, ApprovalExpired, ApprovalNotFound, DigestMismatch
from approvals.forms import DecisionForm, actor_of
from approvals.models import Approval, DecisionSource
from approvals.presentation.redacted import record_reveal
from approvals.presentation.safe_text import visible
from approvals.queries import find_approval
from console.approvals.cards import Card, card_for, outcome_of, session_link_of
from console.shell import page
from orchestra.auth import next_page
from orchestra.auth.permissions import Right
from orchestra.errors import OrchestraError

TYPED = ("reason", "note", "updated_input")


@require_safe
@page()
def card(request: HttpRequest, approval_id: UUID) -> HttpResponse:
    """The card in its current state; ``?line`` draws it as one line."""
    return draw_card(request, found_or_404(approval_id), is_open="line" not in request.GET)


@require_POST
@page(Right.DECIDE)
def decide(request: HttpRequest, approval_id: UUID) -> HttpResponse:
    """Record a decision, or show why it was refused. htmx gets the card; other clients are
    redirected to their page.
    """
    return decide_and_respond(request, approval_id, draw_card)


@require_POST
@page(Right.DECIDE)
def reopen(request: HttpRequest, approval_id: UUID) -> HttpResponse:
    """Reopen a closed request, and redirect to the new one."""
    old = found_or_404(approval_id)
    try:
        fresh = reopening.reopen_approval(approval_id=old.pk, **actor_of(request, DecisionSource.DASHBOARD))
    except OrchestraError as error:
        messages.warning(request, f"Not asked again. {error.detail}")
        return redirect("question", old.pk)
    messages.success(request, "Asked again, with a new deadline. This is the new request.")
    return redirect("question", fresh.pk)


def decide_and_respond(
    request: HttpRequest,
    approval_id: UUID,
    draw: Callable[..., HttpResponse],
    *,
    data: QueryDict | None = None,
    after_decision: Callable[[], str] = str,
) -> HttpResponse:
    """Record the decision in ``data`` (default: the posted form); htmx gets the response of
    ``draw``, other clients are redirected.

    ``after_decision`` is called once the decision is recorded; it returns a notice about what
    failed, or an empty string.
    """
    form = DecisionForm(found_or_404(approval_id), request.POST if data is None else data)
    notice = record_from_form(request, form) or after_decision()
    approval = found_or_404(approval_id)
    if request.headers.get("HX-Request"):
        return draw(request, approval, notice=notice, typed=_entered_text(request) if notice else "")
    return _redirect_with_message(request, approval, notice)


def _entered_text(request: HttpRequest) -> str:
    """The texts in a form whose decision was refused."""
    return visible("\n\n".join(text for name in TYPED if (text := request.POST.get(name, "").strip())))


def _redirect_with_message(request: HttpRequest, approval: Approval, notice: str) -> HttpResponse:
    """Redirect to the page of the form, with a message about what was recorded, or why it was not."""
    if notice:
        messages.warning(request, notice)
    else:
        outcome = outcome_of(approval)
        messages.success(request, f"{outcome.strong}. Recorded." if outcome else "Recorded.")
    return redirect(back_to(request))


def record_from_form(request: HttpRequest, form: DecisionForm) -> str:
    """Record the form's decision; return why it was refused, or an empty string."""
    problem = form.record(**actor_of(request, DecisionSource.DASHBOARD))
    match form.refusal:
        case ApprovalClosed() | ApprovalExpired():
            return _too_late(find_approval(form.approval.pk), form.data["decision"])
        case DigestMismatch():
            return "Not recorded. The request changed while you looked at it; this is what it asks now."
    return f"Not recorded. {problem}" if problem else ""


def back_to(request: HttpRequest) -> str:
    """The URL of the form's page if it is one of Orchestra's, else the home page."""
    return next_page.safe(request.POST.get("next", "")) or "/"


def found_or_404(approval_id: UUID) -> Approval:
    """
    Raises:
        Http404: no approval has this id.
    """
    try:
        return find_approval(approval_id)
    except ApprovalNotFound:
        raise Http404("Approval not found") from None


def _too_late(approval: Approval, decision: str) -> str:
    outcome = outcome_of(approval)
    if outcome is None:
        return "Not recorded. The time to answer is over."
    same = (approval.status == Approval.Status.REJECTED) == (decision == "reject")
    agreed = same and approval.status in (Approval.Status.APPROVED, Approval.Status.REJECTED)
    at = f" at {approval.decided_at:%H:%M:%S} UTC" if approval.decided_at else ""
    return f"Already answered. {outcome.strong}{at}. " + (
        "You agree; nothing of yours was needed." if agreed else "Nothing of yours was recorded."
    )


def draw_card(request: HttpRequest, approval: Approval, **shown: Any) -> HttpResponse:
    """The fragment with the card."""
    drawn: Card = card_for(approval, request.user, session_link=session_link_of(approval), **shown)
    return render(request, "console/ask.html", {"card": drawn})


def audit_reveal(request: HttpRequest, approval: Approval) -> None:
    """Record in the audit who is about to see the secrets."""
    record_reveal(approval, **actor_of(request, DecisionSource.DASHBOARD))
