"""The shell around every page of the console. Apps register what belongs into it; it imports none of them.

How a page is put together, and how it stays live, is told in docs/console.md.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import wraps
from typing import Any, Concatenate, ParamSpec

from django.http import HttpRequest, HttpResponse
from django.shortcuts import render
from django.urls import path, reverse
from django.utils import timezone
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_safe

from orchestra import destinations
from orchestra.rights import GROUP_RIGHTS, Right, groups_with, may, rights_of

P = ParamSpec("P")
View = Callable[Concatenate[HttpRequest, P], HttpResponse]


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """A line of the main navigation. ``tally`` counts what is behind it, with one query at most."""

    section: str
    word: str
    route: str
    icon: str
    order: int
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


_entries: dict[str, Entry] = {}
_sides: dict[str, Callable[[], list[SideLink]]] = {}


def register_entry(entry: Entry) -> None:
    """Have ``entry`` in the navigation of everybody who holds its right; called from an app's ``ready``."""
    _entries[entry.section] = entry


def register_side(heading: str, links: Callable[[], list[SideLink]]) -> None:
    """A list below the navigation, for readers; ``links`` costs one query at most."""
    _sides[heading] = links


def page(right: Right = Right.READ) -> Callable[[View[P]], View[P]]:
    """A view of the console: for people who hold ``right`` now. Others sign in first, or are told what is missing."""

    def guard(view: View[P]) -> View[P]:
        @wraps(view)
        @never_cache
        def guarded(request: HttpRequest, /, *args: P.args, **kwargs: P.kwargs) -> HttpResponse:
            if not request.user.is_authenticated:
                return _to_sign_in(request)
            if not may(request.user, right):
                missing = {"needed": right, "groups": groups_with(right), "page": destinations.page_of(request)}
                return show(request, "console/forbidden.html", missing, title="Not for you", status=403)
            return view(request, *args, **kwargs)

        return guarded

    return guard


def show(
    request: HttpRequest,
    template: str,
    context: dict[str, Any],
    *,
    title: str,
    section: str = "",
    status: int = 200,
) -> HttpResponse:
    """A whole page: ``template`` extends console/base.html. ``section`` is the navigation entry it belongs to."""
    whole = {**shell(request, section), "page_title": title, **context}
    return render(request, template, whole, status=status)


def shell(request: HttpRequest, section: str) -> dict[str, Any]:
    """What console/base.html needs, for views that render it by themselves."""
    reader = may(request.user, Right.READ)
    shown = [_shown(entry, section) for entry in _in_order() if may(request.user, entry.right)]
    return {
        "entries": shown,
        "sides": [(heading, links()) for heading, links in _sides.items()] if reader else [],
        "section": section,
        "needing": sum(one.count or 0 for one in shown if one.entry.needs_people),
        "role": role_of(request.user),
        "rights": rights_in_words(request.user),
        "server_time": timezone.now(),
    }


def part(request: HttpRequest, template: str, context: dict[str, Any]) -> HttpResponse:
    """A part of a page, for a page that refreshes it."""
    return render(request, template, {**context, "rights": rights_in_words(request.user)})


def rights_in_words(user: Any) -> dict[str, bool]:
    """Every right by its name, for templates."""
    return {right.value: may(user, right) for right in Right}


def role_of(user: Any) -> str:
    """The word for what somebody may do: the least group that has all their rights."""
    held = rights_of(user)
    fitting = [name for name, rights in GROUP_RIGHTS.items() if held <= rights]
    return min(fitting, key=lambda name: len(GROUP_RIGHTS[name])) if held else "No rights"


@require_safe
@page()
def navigation(request: HttpRequest) -> HttpResponse:
    """The navigation alone, for a page that refreshes it."""
    return render(request, "console/navigation.html", shell(request, request.GET.get("section", "")))


def _in_order() -> list[Entry]:
    return sorted(_entries.values(), key=lambda entry: entry.order)


def _shown(entry: Entry, section: str) -> Shown:
    count = entry.tally() if entry.tally else None
    return Shown(entry, reverse(entry.route), entry.section == section, count)


def _to_sign_in(request: HttpRequest) -> HttpResponse:
    """A part of a page that is refreshed sends the whole page away: the answer would land in the middle of it."""
    if request.headers.get("HX-Request") or request.headers.get("X-Part"):
        return HttpResponse(status=401, headers={"HX-Refresh": "true"})
    return destinations.to_sign_in(destinations.page_of(request) or "/")


urlpatterns = [path("console/navigation", navigation, name="navigation")]
