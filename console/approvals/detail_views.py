"""Views of one request: the whole input, its risk, its history, and the decision."""

import json
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect
from django.views.decorators.http import require_POST, require_safe

from approvals.deadlines import NEVER_WORDS
from approvals.models import Approval, AuditEntry, DecisionSource
from approvals.presentation import render
from approvals.presentation.readable import fact_lines, in_one_line
from approvals.presentation.reading import Extent, extent_of, offered_proof
from approvals.presentation.redacted import REVEALED, Shown, shown_of
from approvals.presentation.safe_text import exact_json, pretty, visible
from approvals.presentation.surfaces import names_of
from approvals.queries import can_decide, open_approvals, similar_approvals
from console.approvals.cards import Card, address_of, card_for, outcome_of, session_link_of
from console.approvals.decision_views import audit_reveal, decide_and_respond, found_or_404
from console.shell import page, part, show
from orchestra.auth.permissions import Right

MOST_BEFORE = 5
ACTIONS = {
    "requested": "Asked", "extended": "More time given", "reopened": "Asked again",
    REVEALED: "Secrets revealed",
    Approval.Status.EXPIRED: "Nobody answered in time",
}  # fmt: skip
ICONS = {
    "requested": "question", "extended": "beat", "reopened": "refresh", REVEALED: "eye",
    Approval.Status.APPROVED: "done", Approval.Status.REJECTED: "rejected", Approval.Status.EXPIRED: "expired",
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class Step:
    """One line of a request's history; ``when`` is None for a step that is still to come."""

    icon: str
    words: str
    when: datetime | None = None
    note: str = ""
    tone: str = ""
    until: datetime | None = None


@require_safe
@page()
def question(request: HttpRequest, approval_id: UUID) -> HttpResponse:
    """The page of one request, open or closed; ``?whole`` shows a long input in full."""
    return _draw(request, shown_of(found_or_404(approval_id)))


@page()
def reveal(request: HttpRequest, approval_id: UUID) -> HttpResponse:
    """The page of one request with its secrets revealed, after an audit entry about the reader.

    The POST itself returns the page: it works without JavaScript, no URL shows secrets, and a
    refresh of a card does not hide them while a person reads.
    """
    approval = found_or_404(approval_id)
    if request.method != "POST":
        return redirect(f"{address_of(approval_id)}{'?whole=1' if _is_whole(request) else ''}")
    audit_reveal(request, approval)
    return _draw(request, shown_of(approval, revealed=True))


def _draw(request: HttpRequest, shown: Shown) -> HttpResponse:
    approval = shown.raw
    input_context = _input_context(request, shown)
    before = similar_approvals(approval, most=MOST_BEFORE)
    context = {
        **input_context,
        **_decision(request, shown, cut=input_context["cut"]),
        "read_proof": offered_proof(shown),
        "left_out": shown.left_out,
        **_order(approval),
        "steps": steps_of(approval, shown),
        "before": [(_in_short(one), outcome_of(one), one.title == approval.title) for one in before],
        "facts": facts_of(shown.approval),
    }
    return show(request, "console/question.html", context, title=context["card"].heading, section="home")


def _in_short(approval: Approval) -> Approval:
    return shown_of(approval, whole=False).approval


@require_safe
@page()
def decision(request: HttpRequest, approval_id: UUID) -> HttpResponse:
    """The fragment with the decision form, or with the outcome."""
    return draw_decision(request, found_or_404(approval_id))


@require_safe
@page()
def timeline(request: HttpRequest, approval_id: UUID) -> HttpResponse:
    """The fragment with the history."""
    approval = found_or_404(approval_id)
    steps = steps_of(approval, shown_of(approval))
    return part(request, "console/question/timeline.html", {"approval": approval, "steps": steps})


@require_POST
@page(Right.DECIDE)
def answer(request: HttpRequest, approval_id: UUID) -> HttpResponse:
    """Record a decision, or show why it was refused, with the current state of the request."""
    return decide_and_respond(request, approval_id, draw_decision)


@require_POST
@page(Right.DECIDE)
def edit_preview(request: HttpRequest, approval_id: UUID) -> HttpResponse:
    """What an edited input would run, and how it differs from the requested one. Nothing is
    recorded.
    """
    approval = found_or_404(approval_id)
    edited = exact_json(request.POST.get("updated_input", "")) or "{}"
    context: dict[str, Any] = {"problem": _problem(edited)}
    if not context["problem"]:
        blocks = render.blocks_for(approval.tool_name, edited, directory=approval.working_directory)
        context["blocks"] = [block for block in blocks if block.kind != "text"][:1]
        before, after = pretty(approval.tool_input) + "\n", pretty(edited) + "\n"
        context["difference"] = render.diff_block("Your change", before, after)
    return part(request, "console/question/edited.html", context)


def steps_of(approval: Approval, shown: Shown) -> list[Step]:
    """The history of a request in order, with refused decisions, and the steps that are still to
    come.
    """
    entries = AuditEntry.objects.filter(approval=approval).order_by("id")
    steps = [_step(entry, shown) for entry in entries]
    if approval.consumed_at:
        steps.append(Step("plane", "Handed to the agent, once", approval.consumed_at))
    if approval.note_delivered_at:
        steps.append(Step("plane", "Your note was given to the agent", approval.note_delivered_at))
    if approval.is_open:
        endless = approval.never_expires
        waiting = Step(
            "waiting", "Waiting for a person", until=None if endless else approval.expires_at, tone="now",
            note=NEVER_WORDS if endless else "",
        )  # fmt: skip
        steps += [waiting, Step("queued", "Decided")]
    if (
        approval.kind != Approval.Kind.EXTERNAL
        and not approval.consumed_at
        and approval.status in (Approval.Status.PENDING, Approval.Status.APPROVED)
    ):
        steps.append(Step("queued", "Handed to the agent, once"))
    return steps


def facts_of(approval: Approval) -> list[tuple[str, str]]:
    """The facts that an external program sent with its request; facts of our agents appear
    elsewhere on the page.
    """
    if approval.kind != Approval.Kind.EXTERNAL or not isinstance(approval.facts, dict):
        return []
    return [
        (visible(str(name)), visible("\n".join(fact_lines(value)) if isinstance(value, dict) else in_one_line(value)))
        for name, value in approval.facts.items()
    ]


def draw_decision(request: HttpRequest, approval: Approval, *, notice: str = "", typed: str = "") -> HttpResponse:
    """The fragment with the current decision; ``notice`` and ``typed`` follow a refused decision."""
    shown = shown_of(approval)
    cut = approval.is_open and _input_context(request, shown)["cut"]
    context = _decision(request, shown, cut=cut, notice=notice, typed=typed)
    return part(request, "console/question/decision.html", {**context, **_order(approval)})


def _input_context(request: HttpRequest, shown: Shown) -> dict[str, Any]:
    approval, longest = shown.approval, render.WHOLE if _is_whole(request) else render.LONGEST_BLOCK
    blocks = render.without_title(approval, shown.blocks(longest=longest))
    extent = extent_of(shown.raw, blocks)
    shown_apart = _shown_apart(request, approval, extent)
    return {
        "blocks": [block for block in blocks if block.label not in shown_apart],
        "cut": any(block.cut for block in blocks),
        "says": next(
            (block.text for block in blocks if block.label in shown_apart and approval.kind == Approval.Kind.TOOL), ""
        ),
        "extent": extent,
    }


def _shown_apart(request: HttpRequest, approval: Approval, extent: Extent) -> tuple[str, ...]:
    """Labels of blocks that the page shows elsewhere; a long input, which must be read to its end,
    stays together.
    """
    if approval.kind == Approval.Kind.EXTERNAL:
        return ("Facts", "Options") if can_decide(request.user, approval) and not extent.is_long else ("Facts",)
    return () if extent.is_long else (render.OWN_WORDS,)


def _is_whole(request: HttpRequest) -> bool:
    """Whether the request comes from the page that shows a long input in full."""
    return "whole" in request.GET or "whole" in request.POST


def _decision(request: HttpRequest, shown: Shown, *, cut: bool, notice: str = "", typed: str = "") -> dict[str, Any]:
    approval, link = shown.approval, session_link_of(shown.raw)
    card: Card = card_for(
        shown.raw, request.user, session_link=link, is_open=False, notice=notice, typed=typed, shown=shown
    )  # fmt: skip
    return {
        "card": card,
        "approval": approval,
        "unread": cut,
        "is_whole": _is_whole(request),
    }


def _order(approval: Approval) -> dict[str, Any]:
    """The request's position among the open ones, and the ids of its neighbours."""
    keys = [one.pk for one in open_approvals(most=200)]
    if approval.pk not in keys:
        return {"number": 0, "of": len(keys), "next": keys[0] if keys else None, "previous": None}
    at = keys.index(approval.pk)
    following = keys[at + 1] if at + 1 < len(keys) else None
    return {"number": at + 1, "of": len(keys), "next": following, "previous": keys[at - 1] if at else None}


def _step(entry: AuditEntry, shown: Shown) -> Step:
    who = f"by {visible(entry.by)}" if entry.by else ""
    surface = names_of(entry.via).on_card if entry.via != DecisionSource.SYSTEM else ""
    by = ", ".join(words for words in (who, surface) if words)
    if not entry.won:
        return Step(
            "rejected", f"Tried {by}", entry.at, note=f"To answer: {entry.action}. Nothing changed.", tone="lost"
        )
    words = ACTIONS.get(entry.action, entry.action.capitalize())
    note = visible(shown.hide(entry.reason))
    return Step(ICONS.get(entry.action, "cancelled"), f"{words} {by}".strip(), entry.at, note=note)


def _problem(edited: str) -> str:
    try:
        read = json.loads(edited)
    except (ValueError, RecursionError) as error:
        return f"This is not JSON yet: {error}."
    return "" if isinstance(read, dict) else "The input of a tool is a JSON object, in { }."
