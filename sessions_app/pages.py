"""The pages of sessions in the console."""

from django.http import HttpRequest, HttpResponse
from django.urls import path, reverse
from django.views.decorators.http import require_safe

from approvals.queries import count_open, open_approvals
from approvals.render import one_line
from orchestra.dashboard import Entry, SideLink, page, register_entry, register_side, show
from sessions_app.models import OPEN_SESSION
from sessions_app.queries import needing_a_person_first, readable_sessions
from sessions_app.states import look_of

MOST_IN_SIDE = 12


def register_pages() -> None:
    """Called once, when the apps are ready."""
    register_entry(
        Entry(
            section="home", word="Needs you", route="home", icon="waiting", order=0, tally=count_open, needs_people=True
        )
    )
    register_side("Open sessions", open_sessions)


def open_sessions() -> list[SideLink]:
    """The living ones, those that wait for a person first."""
    rows = needing_a_person_first(readable_sessions().filter(status__in=OPEN_SESSION))[:MOST_IN_SIDE]
    links = []
    for session in rows:
        look = look_of(session)
        address = reverse("admin:sessions_app_agentsession_change", args=[session.pk])
        title = one_line(session.title, 80)
        links.append(
            SideLink(address=address, title=title, icon=look.icon, word=look.word, tone=look.tone, turning=look.turning)
        )
    return links


@require_safe
@page()
def home(request: HttpRequest) -> HttpResponse:
    """What needs a person, before anything else."""
    waiting = open_approvals()
    return show(request, "console/home.html", {"waiting": waiting}, title="Needs you", section="home")


urlpatterns = [path("", home, name="home")]
