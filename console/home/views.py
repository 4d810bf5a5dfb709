"""Views of the home page, the first steps and the form that starts a session."""

from collections.abc import Callable
from typing import Any

from django.conf import settings
from django.contrib import messages
from django.http import Http404, HttpRequest, HttpResponse
from django.shortcuts import redirect
from django.urls import reverse
from django.views.decorators.http import require_http_methods, require_POST, require_safe

from approvals.models import Approval, DecisionSource
from approvals.queries import count_open, open_approvals
from console.approvals.cards import cards_for, heading_of, outcome_of, summary_of
from console.home import overview, welcome
from console.shell import page, part, show
from orchestra.auth.permissions import Right
from orchestra.diagnostics.probes import OK, parts
from sessions_app import commands
from sessions_app.dispatch import dispatch_discovery
from sessions_app.forms import StartForm

OFF = "off"
MOST_WAITING = 50
DEMO_PROMPT = "Show me how Orchestra works"


# --- the home page


@require_safe
@page()
def home(request: HttpRequest) -> HttpResponse:
    """Show open requests and active sessions; an empty installation redirects to the first steps."""
    requests, day = _open_requests(request), overview.day_summary()
    active, decided = overview.active_sessions(), _decided()
    if not (requests["cards"] or active["rows"] or decided) and welcome.is_new():
        return redirect("welcome")
    context = {**requests, "day": day, "active": active, "decided": decided, "capacity": overview.agent_capacity()}
    return show(request, "console/home.html", context, title="Needs you", section="home")


@require_safe
@page()
def home_part(request: HttpRequest, name: str) -> HttpResponse:
    """One fragment of the home page."""
    if name not in PARTS:
        raise Http404("There is no such part.")
    return part(request, f"console/home/{name}.html", PARTS[name](request))


def _open_requests(request: HttpRequest) -> dict[str, Any]:
    """Cards of the open requests, the most urgent first: that one is drawn whole, the others as
    lines.

    ``?open`` names the ids of requests to draw whole instead. ``count`` is None if there are more
    requests than cards; every page's context has their number as ``needing``.
    """
    approvals = open_approvals(most=MOST_WAITING + 1)
    wanted = request.GET.get("open", "").split(",")
    opened = [one.pk for one in approvals if str(one.pk) in wanted] or [one.pk for one in approvals[:1]]
    cards = cards_for(approvals[:MOST_WAITING], request.user, opened=opened)
    count = len(approvals) if len(approvals) <= MOST_WAITING else None
    return {"cards": cards, "count": count, "first": approvals[0] if approvals else None}


def _decided() -> list[tuple[Approval, str, Any, str]]:
    return [(one, heading_of(one), outcome_of(one), summary_of(one)) for one in overview.recent_decisions()]


PARTS: dict[str, Callable[[HttpRequest], dict[str, Any]]] = {
    "head": lambda request: {**_open_requests(request), "day": overview.day_summary(), "needing": count_open()},
    "asks": lambda request: {**_open_requests(request), "needing": count_open()},
    "running": lambda request: {"active": overview.active_sessions()},
    "now": lambda request: {"day": overview.day_summary(), "capacity": overview.agent_capacity()},
    "decided": lambda request: {"decided": _decided()},
}


@require_safe
@page()
def health_part(request: HttpRequest) -> HttpResponse:
    """The names of parts that do not work, and the number of the others. It loads apart: a probe
    may take a second.
    """
    results = {name: word for name, word in parts().items() if word != "no"}  # "no" is information, e.g. stopped: no
    off = [name for name, word in results.items() if word == OFF]
    bad = {name: word for name, word in results.items() if word not in (OK, OFF)}
    context = {"bad": bad, "off": off, "good": len(results) - len(bad) - len(off)}
    return part(request, "console/home/health.html", context)


# --- first steps and new sessions


@require_safe
@page()
def first_steps(request: HttpRequest) -> HttpResponse:
    """The first steps: try the demo, then set up an agent. Completed steps are marked."""
    return show(request, "console/welcome.html", welcome.steps(), title="Welcome", section="home")


@require_safe
@page()
def first_steps_part(request: HttpRequest) -> HttpResponse:
    """The fragment with the steps."""
    return part(request, "console/welcome_steps.html", welcome.steps())


@require_POST
@page(Right.OPERATE)
def look_again(request: HttpRequest) -> HttpResponse:
    """Ask the workers to look for agents now."""
    dispatch_discovery()
    if request.headers.get("HX-Request"):
        return part(request, "console/welcome_steps.html", {**welcome.steps(), "looking": True})
    messages.success(request, "The workers are looking; this page shows what they find.")
    return redirect("welcome")


@require_http_methods(["GET", "HEAD", "POST"])
@page(Right.OPERATE)
def new_session(request: HttpRequest) -> HttpResponse:
    """The form that starts a session; htmx shows it as a dialog over the current page."""
    form = StartForm(request.POST if request.method == "POST" else None, initial={"agent": request.GET.get("agent")})
    scripted = bool(request.headers.get("HX-Request"))
    if (
        request.method == "POST"
        and form.is_valid()
        and (session := form.start(request.user, via=DecisionSource.DASHBOARD))
    ):
        address = reverse("session", args=[session.pk])
        return HttpResponse(headers={"HX-Redirect": address}) if scripted else redirect(address)
    context = {"form": form, "self_approval": settings.APPROVALS.self_approval, "scripted": scripted}
    if scripted:
        return part(request, "console/new_form.html", context)
    return show(request, "console/new.html", context, title="New session", section="sessions")


@require_POST
@page(Right.OPERATE)
def start_demo(request: HttpRequest) -> HttpResponse:
    """Start a session of the demo agent."""
    wanted = commands.SessionRequest(prompt=DEMO_PROMPT, title="Demo: see the whole loop", agent="demo")
    session = commands.start_session(wanted, by=request.user.get_username(), may_allow=False)
    return redirect("session", session.pk)
