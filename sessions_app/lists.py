"""The lists of sessions and of agents in the console."""

from typing import Any
from uuid import UUID

from django.contrib import messages
from django.db.models import Min, OuterRef, Q, QuerySet, Subquery
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect
from django.urls import path
from django.views.decorators.http import require_POST, require_safe

from approvals.models import Approval
from orchestra import sql
from orchestra.dashboard import Entry, page, part, register_entry, show
from orchestra.diagnostics_page import register_panel
from orchestra.errors import OrchestraError
from orchestra.page_numbers import Numbered, numbered, without_page
from orchestra.rights import Right
from sessions_app.dispatch import dispatch_discovery
from sessions_app.models import Agent, AgentSession
from sessions_app.queries import needing_a_person_first, readable_agents, readable_sessions
from sessions_app.states import LOOKS, Look, look_of

S = AgentSession.Status
FILTERS = ("q", "status", "agent", "person")
AGENT_LOOKS = {
    Agent.Status.READY: Look("Ready", "done", "ok"),
    Agent.Status.NOT_LOGGED_IN: Look("Not logged in", "lock", "bad"),
    Agent.Status.MISSING: Look("Not found", "failed", "bad"),
    Agent.Status.UNFIT: Look("Unfit, gets no work", "failed", "bad"),
}


def register_pages() -> None:
    """Called once, when the apps are ready."""
    register_entry(Entry(section="sessions", word="Sessions", route="sessions", icon="list", order=10, tally=_open))
    register_entry(Entry(section="agents", word="Agents", route="agents", icon="agent", order=50, phone=False))
    register_panel("console/agents/panel.html", _agents, place="side")


@require_safe
@page()
def sessions(request: HttpRequest) -> HttpResponse:
    """Every session that fits the filters: what needs a person first, then the newest."""
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
    """The rows alone, for a page that heard of a change."""
    return part(request, "console/sessions/rows.html", _listed(request))


@require_safe
@page()
def agents(request: HttpRequest) -> HttpResponse:
    """The CLIs found on the workers."""
    return show(request, "console/agents.html", _agents(), title="Agents", section="agents")


@require_safe
@page()
def agents_part(request: HttpRequest) -> HttpResponse:
    """The rows alone."""
    return part(request, "console/agents/rows.html", _agents())


@require_POST
@page(Right.OPERATE)
def look_for_agents(request: HttpRequest) -> HttpResponse:
    """Have the workers look now; the page shows what they find as they find it."""
    try:
        dispatch_discovery()
        messages.success(request, "The workers are looking. What they find shows up here.")
    except OrchestraError as error:
        messages.warning(request, error.detail)
    return redirect("agents")


def _agents() -> dict[str, Any]:
    found = [(agent, AGENT_LOOKS[Agent.Status(agent.status)]) for agent in readable_agents().order_by("host", "name")]
    return {"found": found, "real": any(agent.name != "demo" for agent, _ in found)}


def _listed(request: HttpRequest) -> dict[str, Any]:
    listed: Numbered = numbered(request, needing_a_person_first(_filtered(request)))
    return {"listed": listed, "rows": [(session, look_of(session)) for session in listed.rows]}


def _filtered(request: HttpRequest) -> QuerySet[AgentSession]:
    """Unknown values are no filters: an old address still opens something."""
    ends = Approval.objects.filter(session=OuterRef("pk"), status="pending").order_by().values("session")
    rows = readable_sessions().annotate(next_end=Subquery(ends.annotate(first=Min("expires_at")).values("first")))
    given = {name: request.GET.get(name, "").replace("\0", "").strip() for name in FILTERS}
    if given["status"] in S.values:
        rows = rows.filter(status=given["status"])
    if given["agent"]:
        rows = rows.filter(agent=given["agent"])
    if given["person"]:
        rows = rows.filter(requested_by=given["person"])
    return rows.filter(_with_words(given["q"])) if given["q"] else rows


def _with_words(words: str) -> Q:
    """Part of a title, a folder or a prompt, or the beginning of an id."""
    prompts = AgentSession.objects.filter(turns__prompt__icontains=words).values("pk")
    found = Q(title__icontains=words) | Q(working_directory__icontains=words) | Q(pk__in=prompts)
    try:
        return found | Q(pk=UUID(words))
    except ValueError:
        return found


def _chips(request: HttpRequest) -> list[tuple[str, Look | None, str, bool, int | None]]:
    """All, then each status with its look; how many are counted for the open ones, which are few."""
    wanted, counts = request.GET.get("status", ""), _counts()
    chips: list[tuple[str, Look | None, str, bool, int | None]] = [
        ("All", None, without_page(request, status=""), wanted not in S.values, None)
    ]
    order = (S.WAITING, S.RUNNING, S.QUEUED, S.COMPLETED, S.FAILED, S.CANCELLED)
    for status in order:
        look = LOOKS[status]
        word = "Waiting" if status == S.WAITING else look.word
        chips.append((word, look, without_page(request, status=status), wanted == status, counts.get(status)))
    return chips


def _counts() -> dict[str, int]:
    found = sql.row(
        "SELECT (SELECT count(*) FROM agent_sessions WHERE status = 'waiting'),"
        " (SELECT count(*) FROM agent_sessions WHERE status = 'running'),"
        " (SELECT count(*) FROM agent_sessions WHERE status = 'queued')"
    )
    return dict(zip((S.WAITING, S.RUNNING, S.QUEUED), found or (0, 0, 0), strict=True))


def _open() -> int:
    return sum(_counts().values())


urlpatterns = [
    path("sessions", sessions, name="sessions"),
    path("console/sessions", sessions_part, name="sessions-part"),
    path("agents", agents, name="agents"),
    path("console/agents", agents_part, name="agents-part"),
    path("agents/look", look_for_agents, name="agents-look"),
]
