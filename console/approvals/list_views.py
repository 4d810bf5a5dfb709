"""Views of the list of requests: search, export, and decisions on several at once."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any
from uuid import UUID

from django.db.models import Q, QuerySet
from django.http import HttpRequest, HttpResponse, StreamingHttpResponse
from django.shortcuts import redirect
from django.views.decorators.http import require_POST, require_safe

from approvals.exports import MOST_ROWS, csv_lines, json_lines
from approvals.forms import DecisionForm
from approvals.models import Approval, DecisionSource
from approvals.presentation.batches import is_large, why_not_in_batch
from approvals.queries import approvals_with_ids
from console.approvals.cards import Card, card_for, cards_for, session_links_of
from console.approvals.decision_views import record_from_form
from console.paging import numbered, without_page
from console.shell import page, show
from orchestra.auth.permissions import Right

MOST_AT_ONCE = 50
EXPORTS: dict[str, tuple[Callable[..., Any], str]] = {
    "csv": (csv_lines, "text/csv; charset=utf-8"),
    "jsonl": (json_lines, "application/x-ndjson; charset=utf-8"),
}
OUTCOMES = (
    ("", "All", ""),
    (Approval.Status.PENDING, "Waiting", "waiting"),
    (Approval.Status.APPROVED, "Approved", "done"),
    (Approval.Status.REJECTED, "Rejected", "rejected"),
    (Approval.Status.EXPIRED, "Expired", "expired"),
    (Approval.Status.CANCELLED, "Cancelled", "cancelled"),
)
FILTERS = ("status", "tool", "risk", "person", "by_rule", "session")


@dataclass(frozen=True, slots=True)
class BatchResult:
    """The result for one request of a batch; ``problem`` is empty if the decision was recorded."""

    card: Card
    problem: str


@require_safe
@page()
def questions(request: HttpRequest) -> HttpResponse:
    """Requests that match the filters, the newest first; pending ones by deadline."""
    found = _filtered(request)
    wanted = request.GET.get("status", "")
    listed = numbered(
        request, found.order_by("expires_at" if wanted == Approval.Status.PENDING else "-created_at", "pk")
    )
    context = {
        "listed": listed,
        "cards": cards_for(listed.rows, request.user),
        "outcomes": [
            (key, word, icon, without_page(request, status=key), key == wanted) for key, word, icon in OUTCOMES
        ],
        "risks": Approval.Risk.choices,
        "given": {name: request.GET.get(name, "") for name in FILTERS},
        "filtered": any(request.GET.get(name) for name in FILTERS),
        "query": without_page(request),
        "most_rows": MOST_ROWS,
        "most_at_once": MOST_AT_ONCE,
    }
    return show(request, "console/questions.html", context, title="Approvals", section="questions")


@require_safe
@page()
def export(request: HttpRequest, kind: str) -> Any:
    """Export the filtered list as a file."""
    write, media_type = EXPORTS[kind]
    name = f'attachment; filename="approvals.{kind}"'
    return StreamingHttpResponse(
        write(_filtered(request)), content_type=media_type, headers={"Content-Disposition": name}
    )


@require_POST
@page(Right.DECIDE)
def batch(request: HttpRequest) -> HttpResponse:
    """Show each request whole for confirmation; after the confirmation, decide each and show the
    results.
    """
    decision = Approval.Status.REJECTED if request.POST.get("decision") == "reject" else Approval.Status.APPROVED
    chosen = _chosen(request)
    if not chosen:
        return redirect("questions")
    context: dict[str, Any] = {"reject": decision == Approval.Status.REJECTED}
    if request.POST.get("confirmed") == "yes":
        results = [_decide_one(request, approval, decision) for approval in chosen]
        done = sum(not one.problem for one in results)
        context |= {"results": results, "done": done}
        return show(request, "console/batch_done.html", context, title="Answered", section="questions")
    links = session_links_of(chosen)
    drawn = [
        card_for(
            one, request.user, session_link=links.get(one.session) if one.session else None, is_open=not is_large(one)
        )
        for one in chosen
    ]
    judged = [(card, _batch_problem(card, decision)) for card in drawn]
    context |= {"able": [card for card, why in judged if not why], "unable": [one for one in judged if one[1]]}
    return show(request, "console/batch.html", context, title="Answer together", section="questions")


def _filtered(request: HttpRequest) -> QuerySet[Approval]:
    rows, given = Approval.objects.all(), request.GET
    if given.get("status") in Approval.Status.values:
        rows = rows.filter(status=given["status"])
    if given.get("risk") in Approval.Risk.values:
        rows = rows.filter(risk=given["risk"])
    if tool := given.get("tool", "").replace("\0", "").strip():
        rows = rows.filter(tool_name__istartswith=tool)
    if person := given.get("person", "").replace("\0", "").strip():
        rows = rows.filter(Q(requested_by=person) | Q(decided_by=person))
    if session := _uuid(given.get("session", "")):
        rows = rows.filter(session=session)
    return rows if given.get("by_rule") else rows.exclude(decided_via=DecisionSource.POLICY)


def _chosen(request: HttpRequest) -> list[Approval]:
    keys = [key for text in request.POST.getlist("id")[:MOST_AT_ONCE] if (key := _uuid(text))]
    return sorted(approvals_with_ids(keys), key=lambda approval: approval.expires_at)


def _batch_problem(card: Card, decision: str) -> str:
    """Why this person cannot decide a request in a batch; empty if they can."""
    if why := why_not_in_batch(card.approval, decision):
        return why
    if card.is_own:
        return "you gave the agent this work, so somebody else must answer"
    return "too long to be read here" if decision == Approval.Status.APPROVED and card.is_long else ""


def _decide_one(request: HttpRequest, approval: Approval, decision: str) -> BatchResult:
    """Decide exactly what the page showed: the form carries the id and the digest of it."""
    card = card_for(approval, request.user)
    if why := _batch_problem(card, decision):
        return BatchResult(card, f"Not answered: {why}.")
    return BatchResult(card, record_from_form(request, DecisionForm.in_batch(approval, request.POST, decision)))


def _uuid(text: str) -> UUID | None:
    try:
        return UUID(text)
    except ValueError:
        return None
