"""The navigation of the console: its entries, and the open sessions listed below them."""

from collections.abc import Callable
from dataclasses import dataclass

from django.urls import reverse

from approvals.presentation.safe_text import one_line
from approvals.queries import count_open
from console.sessions.states import look_of
from orchestra.auth.permissions import Right
from sessions_app.models import OPEN_SESSION, AgentSession
from sessions_app.queries import count_open_sessions, needing_a_person_first, readable_sessions

MOST_IN_SIDE = 12


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """A line of the main navigation. ``tally`` counts what is behind it, with one query at most."""

    section: str
    word: str
    route: str
    icon: str
    right: Right = Right.READ
    tally: Callable[[], int] | None = None
    needs_people: bool = False
    """The tally counts what waits for a person: it calls, in amber, in the title and in the icon of the tab."""
    phone: bool = True
    """Whether it has a place in the tab bar of a phone, which takes five."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SideLink:
    """A line of the list below the navigation: a state (icon, word, tone: wait, run, ok, bad or empty) and a title."""

    address: str
    title: str
    icon: str
    word: str
    tone: str = ""
    turning: bool = False


@dataclass(frozen=True, slots=True)
class Shown:
    """An entry as a page draws it."""

    entry: Entry
    address: str
    current: bool
    count: int | None


ENTRIES = (
    Entry(section="home", word="Needs you", route="home", icon="waiting", tally=count_open, needs_people=True),
    Entry(section="sessions", word="Sessions", route="sessions", icon="list", tally=count_open_sessions),
    Entry(section="questions", word="Approvals", route="questions", icon="question", phone=False),
    Entry(section="statistics", word="Statistics", route="statistics", icon="chart"),
    Entry(section="agents", word="Agents", route="agents", icon="agent", phone=False),
    Entry(section="diagnostics", word="Diagnostics", route="diagnostics", icon="pulse"),
)


def entry_shown(entry: Entry, section: str) -> Shown:
    """Return the entry as a page of ``section`` draws it, counted with one query at most."""
    return Shown(entry, reverse(entry.route), entry.section == section, entry.tally() if entry.tally else None)


def open_sessions() -> list[SideLink]:
    """The living ones, those that wait for a person first."""
    rows = needing_a_person_first(readable_sessions().filter(status__in=OPEN_SESSION))[:MOST_IN_SIDE]
    return [side_link(session) for session in rows]


def side_link(session: AgentSession) -> SideLink:
    """A session in the list beside every page."""
    look, address = look_of(session), reverse("session", args=[session.pk])
    title = one_line(session.title, 80)
    return SideLink(address=address, title=title, icon=look.icon, word=look.word, tone=look.tone, turning=look.turning)
