"""Views of the lists of sessions and of agents."""

from typing import Any
from uuid import UUID

from django.contrib import messages
from django.db.models import Min, OuterRef, Q, QuerySet, Subquery
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect
from django.views.decorators.http import require_POST, require_safe

from approvals.models import Approval
from console.paging import Numbered, numbered, without_page
from console.sessions.states import SESSION_LABELS, StateLabel, label_of
from console.shell import page, part, show
from orchestra.auth.permissions import Right
from orchestra.errors import OrchestraError
from sessions_app.dispatch import dispatch_discovery
from sessions_app.models import Agent, AgentSession
from sessions_app.queries import needing_a_person_first, open_by_status, readable_agents, readable_sessions

FILTERS = ("q", "status", "agent", "person")
AGENT_LABELS = {
    Agent.Status.READY: StateLabel("Ready", "done", "ok"),
    Agent.Status.NOT_LOGGED_IN: StateLabel("Not logged in", "lock", "bad"),
    Agent.Status.MISSING: StateLabel("Not found", "failed", "bad"),
    Agent.Status.UNFIT: StateLabel("Unfit, gets no work", "failed", "bad"),
}


@require_safe
@page()
def sessions(request: HttpRequest) -> HttpResponse:
    """Sessions that match the filters: those that wait for a person first, then the newest."""
    context = {
        **_listed(request),
        "chips": _chips(request),
        "agents": Agent.objects.order_by("name").values_list("name", flat=True).distinct(),
        "given": {name: request.GET.get(name, "") for name in FILTERS},
        "filtered": any(request.GET.get(name) for name in FILTERS),
        "query": without_page(request),
    }
    return show(request, "console/sessions.html", context, title="Sessions", section="sessions")


@require_safe
@page()
def sessions_part(request: HttpRequest) -> HttpResponse:
    """The fragment with the rows of sessions."""
    return part(request, "console/sessions/rows.html", _listed(request))


@require_safe
@page()
def agents(request: HttpRequest) -> HttpResponse:
    """The agents that discovery found on the workers."""
    return show(request, "console/agents.html", agents_found(), title="Agents", section="agents")


@require_safe
@page()
def agents_part(request: HttpRequest) -> HttpResponse:
    """The fragment with the rows of agents."""
    return part(request, "console/agents/rows.html", agents_found())


@require_POST
@page(Right.OPERATE)
def look_for_agents(request: HttpRequest) -> HttpResponse:
    """Ask the workers to look for agents now; the page shows new results as they arrive."""
    try:
        dispatch_discovery()
        messages.success(request, "The workers are looking. What they find shows up here.")
    except OrchestraError as error:
        messages.warning(request, error.detail)
    return redirect("agents")


def agents_found() -> dict[str, Any]:
    found = [(agent, AGENT_LABELS[Agent.Status(agent.status)]) for agent in readable_agents().order_by("host", "name")]
    return {"found": found, "real": any(agent.name != "demo" for agent, _ in found)}


def _listed(request: HttpRequest) -> dict[str, Any]:
    listed: Numbered = numbered(request, needing_a_person_first(_filtered(request)))
    return {"listed": listed, "rows": [(session, label_of(session)) for session in listed.rows]}


def _filtered(request: HttpRequest) -> QuerySet[AgentSession]:
    """Apply the filters. Unknown values are ignored, so that an old URL still opens the list."""
    ends = Approval.objects.filter(session=OuterRef("pk"), status="pending").order_by().values("session")
    rows = readable_sessions().annotate(next_end=Subquery(ends.annotate(first=Min("expires_at")).values("first")))
    given = {name: request.GET.get(name, "").replace("\0", "").strip() for name in FILTERS}
    if given["status"] in AgentSession.Status.values:
        rows = rows.filter(status=given["status"])
    if given["agent"]:
        rows = rows.filter(agent=given["agent"])
    if given["person"]:
        rows = rows.filter(requested_by=given["person"])
    return rows.filter(_with_words(given["q"])) if given["q"] else rows


def _with_words(words: str) -> Q:
    """Match a part of a title, a folder or a prompt, or a whole id."""
    prompts = AgentSession.objects.filter(turns__prompt__icontains=words).values("pk")
    found = Q(title__icontains=words) | Q(working_directory__icontains=words) | Q(pk__in=prompts)
    try:
        return found | Q(pk=UUID(words))
    except ValueError:
        return found


def _chips(request: HttpRequest) -> list[tuple[str, StateLabel | None, str, bool, int | None]]:
    """Filter chips: all sessions, then each status; open statuses, which have few sessions, with
    their count.
    """
    wanted, counts = request.GET.get("status", ""), open_by_status()
    chips: list[tuple[str, StateLabel | None, str, bool, int | None]] = [
        ("All", None, without_page(request, status=""), wanted not in AgentSession.Status.values, None)
    ]
    order = (
        AgentSession.Status.WAITING,
        AgentSession.Status.RUNNING,
        AgentSession.Status.QUEUED,
        AgentSession.Status.COMPLETED,
        AgentSession.Status.FAILED,
        AgentSession.Status.CANCELLED,
    )
    for status in order:
        label = SESSION_LABELS[status]
        word = "Waiting" if status == AgentSession.Status.WAITING else label.word
        chips.append((word, label, without_page(request, status=status), wanted == status, counts.get(status)))
    return chips
