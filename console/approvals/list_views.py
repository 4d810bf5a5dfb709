"""All questions, open and closed: find them, take them away as a file, answer several at once."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any
from uuid import UUID

from django.db.models import Q, QuerySet
from django.http import HttpRequest, HttpResponse, QueryDict, StreamingHttpResponse
from django.shortcuts import redirect
from django.views.decorators.http import require_POST, require_safe

from approvals.exports import MOST_ROWS, csv_lines, json_lines
from approvals.models import Approval, DecisionSource
from approvals.presentation.batches import is_large, why_not_with_others
from approvals.queries import approvals_with_ids
from console.approvals.cards import Card, card_for, cards_for, places_of
from console.approvals.decision_views import take
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
class Told:
    """What became of one question of a batch; ``why`` is empty if the answer was recorded."""

    card: Card
    why: str


@require_safe
@page()
def questions(request: HttpRequest) -> HttpResponse:
    """Every question that fits the filters, the newest first; of those that wait, the most urgent."""
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
    """The same list as a file."""
    write, media_type = EXPORTS[kind]
    name = f'attachment; filename="approvals.{kind}"'
    return StreamingHttpResponse(
        write(_filtered(request)), content_type=media_type, headers={"Content-Disposition": name}
    )


@require_POST
@page(Right.DECIDE)
def batch(request: HttpRequest) -> HttpResponse:
    """First what would be answered, each question whole; then, confirmed, what became of each."""
    verdict = Approval.Status.REJECTED if request.POST.get("decision") == "reject" else Approval.Status.APPROVED
    chosen = _chosen(request)
    if not chosen:
        return redirect("questions")
    context = {"verdict": verdict, "reject": verdict == Approval.Status.REJECTED}
    if request.POST.get("confirmed") == "yes":
        told = [_answered(request, approval, verdict) for approval in chosen]
        done = sum(not one.why for one in told)
        context |= {"told": told, "done": done}
        return show(request, "console/batch_done.html", context, title="Answered", section="questions")
    places = places_of(chosen)
    drawn = [
        card_for(one, request.user, place=places.get(one.session) if one.session else None, is_open=not is_large(one))
        for one in chosen
    ]
    judged = [(card, _why_not(card, verdict)) for card in drawn]
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


def _why_not(card: Card, verdict: str) -> str:
    """Why a question is left out of a batch, for this person; empty if it is not."""
    if why := why_not_with_others(card.approval, verdict):
        return why
    if card.own:
        return "you gave the agent this work, so somebody else must answer"
    if verdict == Approval.Status.APPROVED and card.questions:
        return "it needs more than a yes: answer it on its own page"
    return "too long to be read here" if verdict == Approval.Status.APPROVED and card.is_long else ""


def _answered(request: HttpRequest, approval: Approval, verdict: str) -> Told:
    """Answer what was shown: the id and the digest of the page before, nothing newer."""
    card = card_for(approval, request.user)
    if why := _why_not(card, verdict):
        return Told(card, f"Not answered: {why}.")
    form = QueryDict(mutable=True)
    form["decision"] = "reject" if verdict == Approval.Status.REJECTED else "approve"
    form["reason"] = request.POST.get("reason", "")
    form["note"] = request.POST.get("note", "")
    form["seen_digest"] = request.POST.get(f"digest_{approval.pk}", "")
    return Told(card, take(request, approval, form))


def _uuid(text: str) -> UUID | None:
    try:
        return UUID(text)
    except ValueError:
        return None
