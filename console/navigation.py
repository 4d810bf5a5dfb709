"""The navigation of the console: its entries, and the open sessions listed below them."""

from collections.abc import Callable
from dataclasses import dataclass

from django.urls import reverse

from approvals.presentation.safe_text import one_line
from approvals.queries import count_open
from console.sessions.states import label_of
from orchestra.auth.permissions import Right
from sessions_app.models import OPEN_SESSION, AgentSession
from sessions_app.queries import count_open_sessions, needing_a_person_first, readable_sessions

MOST_IN_SIDE = 12


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """A line of the main navigation. ``count_rows`` returns the number beside it, with at most one
    query.
    """

    section: str
    word: str
    route: str
    icon: str
    right: Right = Right.READ
    count_rows: Callable[[], int] | None = None
    needs_people: bool = False
    """The count is of requests that wait for a person: it is amber, and also in the page's title
    and its favicon.
    """
    phone: bool = True
    """Whether the entry is in the tab bar of a phone, which has room for five."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SideLink:
    """A line of the list below the navigation: a title and a state (see ``StateLabel``)."""

    address: str
    title: str
    icon: str
    word: str
    tone: str = ""
    turning: bool = False


@dataclass(frozen=True, slots=True)
class NavigationItem:
    """An entry with its URL and count, for one page."""

    entry: Entry
    address: str
    current: bool
    count: int | None


ENTRIES = (
    Entry(section="home", word="Needs you", route="home", icon="waiting", count_rows=count_open, needs_people=True),
    Entry(section="sessions", word="Sessions", route="sessions", icon="list", count_rows=count_open_sessions),
    Entry(section="questions", word="Approvals", route="questions", icon="question", phone=False),
    Entry(section="statistics", word="Statistics", route="statistics", icon="chart"),
    Entry(section="agents", word="Agents", route="agents", icon="agent", phone=False),
    Entry(section="diagnostics", word="Diagnostics", route="diagnostics", icon="pulse"),
)


def navigation_item(entry: Entry, section: str) -> NavigationItem:
    """The item of ``entry`` for a page of ``section``; it counts with at most one query."""
    return NavigationItem(
        entry, reverse(entry.route), entry.section == section, entry.count_rows() if entry.count_rows else None
    )


def open_sessions() -> list[SideLink]:
    """Links to the open sessions, those that wait for a person first."""
    rows = needing_a_person_first(readable_sessions().filter(status__in=OPEN_SESSION))[:MOST_IN_SIDE]
    return [side_link(session) for session in rows]


def side_link(session: AgentSession) -> SideLink:
    """The link to one session in the list of open sessions."""
    label, address = label_of(session), reverse("session", args=[session.pk])
    title = one_line(session.title, 80)
    return SideLink(
        address=address, title=title, icon=label.icon, word=label.word, tone=label.tone, turning=label.turning
    )
