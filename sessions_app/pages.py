"""The front page, the first steps and the form that starts a session."""

from collections.abc import Callable, Iterable, Mapping
from typing import Any
from uuid import UUID

from django.conf import settings
from django.contrib import messages
from django.http import Http404, HttpRequest, HttpResponse
from django.shortcuts import redirect
from django.urls import path, reverse
from django.views.decorators.http import require_http_methods, require_POST, require_safe

from approvals.cards import Place, cards_for, heading_of, register_askers, short_of, verdict_of
from approvals.models import Approval, Door
from approvals.queries import count_open, open_approvals
from approvals.render import one_line
from orchestra.dashboard import Entry, SideLink, page, part, register_entry, register_side, show
from orchestra.diagnostics import OK, parts
from orchestra.rights import Right
from sessions_app import commands, overview, welcome
from sessions_app.dispatch import dispatch_discovery
from sessions_app.forms import StartForm
from sessions_app.models import OPEN_SESSION, AgentSession
from sessions_app.queries import needing_a_person_first, readable_sessions
from sessions_app.states import look_of

OFF = "off"
MOST_IN_SIDE = 12
MOST_WAITING = 50
DEMO_PROMPT = "Show me how Orchestra works"


def register_pages() -> None:
    """Called once, when the apps are ready."""
    register_entry(
        Entry(
            section="home", word="Needs you", route="home", icon="waiting", order=0, tally=count_open, needs_people=True
        )
    )
    register_side("Open sessions", open_sessions)
    register_askers(places_of_sessions)


def open_sessions() -> list[SideLink]:
    """The living ones, those that wait for a person first."""
    rows = needing_a_person_first(readable_sessions().filter(status__in=OPEN_SESSION))[:MOST_IN_SIDE]
    return [side_link(session) for session in rows]


def side_link(session: AgentSession) -> SideLink:
    """A session in the list beside every page."""
    look, address = look_of(session), reverse("session", args=[session.pk])
    title = one_line(session.title, 80)
    return SideLink(address=address, title=title, icon=look.icon, word=look.word, tone=look.tone, turning=look.turning)


def places_of_sessions(ids: Iterable[UUID]) -> Mapping[UUID, Place]:
    """What the sessions with these ids are called and where they are, for the cards of their questions."""
    rows = readable_sessions().filter(pk__in=set(ids)).only("pk", "title", "status")
    return {
        row.pk: Place(one_line(row.title, 120), reverse("session", args=[row.pk]), getattr(row, "parked", False))
        for row in rows
    }


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
    if request.method == "POST" and form.is_valid() and (session := form.start(request.user, via=Door.DASHBOARD)):
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


urlpatterns = [
    path("", home, name="home"),
    path("console/home/<str:name>", home_part, name="home-part"),
    path("console/health", health_part, name="health-part"),
    path("console/first-steps", first_steps_part, name="welcome-steps"),
    path("welcome", first_steps, name="welcome"),
    path("welcome/look", look_again, name="look-again"),
    path("sessions/new", new_session, name="session-new"),
    path("sessions/demo", start_demo, name="session-demo"),
]
