"""The front page, the first steps and the form that starts a session."""

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
from console.approvals.cards import cards_for, heading_of, short_of, verdict_of
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


# --- the front page


@require_safe
@page()
def home(request: HttpRequest) -> HttpResponse:
    """What needs a person, before anything else; a newcomer's first steps while there is nothing to show."""
    asked, day = _asks(request), overview.today()
    at_work, decided = overview.running(), _decided()
    if not (asked["cards"] or at_work["rows"] or decided) and welcome.is_new():
        return redirect("welcome")
    context = {**asked, "day": day, "at_work": at_work, "decided": decided, "house": overview.house()}
    return show(request, "console/home.html", context, title="Needs you", section="home")


@require_safe
@page()
def home_part(request: HttpRequest, name: str) -> HttpResponse:
    """One part of the front page, for a page that refreshes it."""
    if name not in PARTS:
        raise Http404("There is no such part.")
    return part(request, f"console/home/{name}.html", PARTS[name](request))


def _asks(request: HttpRequest) -> dict[str, Any]:
    """The open requests, the most urgent first and whole, others as lines; ``?open`` names others to draw whole.

    ``count`` is None where there are more than are shown; ``needing``, which every page has, tells how many.
    """
    approvals = open_approvals(most=MOST_WAITING + 1)
    wanted = request.GET.get("open", "").split(",")
    opened = [one.pk for one in approvals if str(one.pk) in wanted] or [one.pk for one in approvals[:1]]
    cards = cards_for(approvals[:MOST_WAITING], request.user, opened=opened)
    count = len(approvals) if len(approvals) <= MOST_WAITING else None
    return {"cards": cards, "count": count, "first": approvals[0] if approvals else None}


def _decided() -> list[tuple[Approval, str, Any, str]]:
    return [(one, heading_of(one), verdict_of(one), short_of(one)) for one in overview.decided()]


PARTS: dict[str, Callable[[HttpRequest], dict[str, Any]]] = {
    "head": lambda request: {**_asks(request), "day": overview.today(), "needing": count_open()},
    "asks": lambda request: {**_asks(request), "needing": count_open()},
    "running": lambda request: {"at_work": overview.running()},
    "now": lambda request: {"day": overview.today(), "house": overview.house()},
    "decided": lambda request: {"decided": _decided()},
}


@require_safe
@page()
def health_part(request: HttpRequest) -> HttpResponse:
    """The parts that do not work, by name, and how many do. A page of its own: to ask a hanging part takes a second."""
    asked = {name: word for name, word in parts().items() if word != "no"}  # such as: stopped, no
    off = [name for name, word in asked.items() if word == OFF]
    bad = {name: word for name, word in asked.items() if word not in (OK, OFF)}
    context = {"bad": bad, "off": off, "good": len(asked) - len(bad) - len(off)}
    return part(request, "console/home/health.html", context)


# --- a newcomer, a new session


@require_safe
@page()
def first_steps(request: HttpRequest) -> HttpResponse:
    """The demo first, then what there is to set up; steps tick themselves off as they become true."""
    return show(request, "console/welcome.html", welcome.steps(), title="Welcome", section="home")


@require_safe
@page()
def first_steps_part(request: HttpRequest) -> HttpResponse:
    """The steps alone."""
    return part(request, "console/welcome_steps.html", welcome.steps())


@require_POST
@page(Right.OPERATE)
def look_again(request: HttpRequest) -> HttpResponse:
    """Have the workers look for agents now."""
    dispatch_discovery()
    if request.headers.get("HX-Request"):
        return part(request, "console/welcome_steps.html", {**welcome.steps(), "looking": True})
    messages.success(request, "The workers are looking; this page shows what they find.")
    return redirect("welcome")


@require_http_methods(["GET", "HEAD", "POST"])
@page(Right.OPERATE)
def new_session(request: HttpRequest) -> HttpResponse:
    """The form that starts a session; with a script it opens over the page one is on."""
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
    """The demo agent by one click."""
    wanted = commands.SessionRequest(prompt=DEMO_PROMPT, title="Demo: see the whole loop", agent="demo")
    session = commands.start_session(wanted, by=request.user.get_username(), may_allow=False)
    return redirect("session", session.pk)
