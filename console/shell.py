"""What every page of the console shares: the permission check, the navigation, and rendering.

docs/console.md describes how a page is built and how it is kept current.
"""

from collections.abc import Callable
from functools import wraps
from typing import Any, Concatenate, ParamSpec

from django.http import HttpRequest, HttpResponse
from django.shortcuts import render
from django.utils import timezone
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_safe

from console.navigation import ENTRIES, navigation_item, open_sessions
from orchestra.auth import next_page
from orchestra.auth.groups import groups_of, groups_with
from orchestra.auth.permissions import Right, may, rights_of

P = ParamSpec("P")
View = Callable[Concatenate[HttpRequest, P], HttpResponse]


def page(right: Right = Right.READ) -> Callable[[View[P]], View[P]]:
    """Decorate a view that needs ``right``. Unauthenticated requests go to the sign-in page; others
    without it get 403.
    """

    def guard(view: View[P]) -> View[P]:
        @wraps(view)
        @never_cache
        def guarded(request: HttpRequest, /, *args: P.args, **kwargs: P.kwargs) -> HttpResponse:
            if not request.user.is_authenticated:
                return _to_sign_in(request)
            if not may(request.user, right):
                missing = {"needed": right, "groups": groups_with(right), "page": next_page.page_of(request)}
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
    """Render a whole page: ``template`` extends console/base.html, ``section`` is its navigation
    entry.
    """
    whole = {**shell(request, section), "page_title": title, **context}
    return render(request, template, whole, status=status)


def shell(request: HttpRequest, section: str) -> dict[str, Any]:
    """The context of console/base.html."""
    reader = may(request.user, Right.READ)
    shown = [navigation_item(entry, section) for entry in ENTRIES if may(request.user, entry.right)]
    return {
        "entries": shown,
        "sides": [("Open sessions", open_sessions())] if reader else [],
        "section": section,
        "needing": sum(one.count or 0 for one in shown if one.entry.needs_people),
        "role": role_of(request.user),
        "rights": rights_in_words(request.user),
        "server_time": timezone.now(),
    }


def part(request: HttpRequest, template: str, context: dict[str, Any]) -> HttpResponse:
    """Render a fragment that a page loads to refresh a part of itself."""
    return render(request, template, {**context, "rights": rights_in_words(request.user)})


def rights_in_words(user: Any) -> dict[str, bool]:
    """Whether ``user`` has each right, by the right's name, for templates."""
    return {right.value: may(user, right) for right in Right}


def role_of(user: Any) -> str:
    """Return the names of the groups that give ``user`` their rights, as the header of every page shows them."""
    if user.is_superuser:
        return "Administrator"
    if names := groups_of(user):
        return ", ".join(names)
    return "Own permissions" if rights_of(user) else "No rights"


@require_safe
@page()
def navigation(request: HttpRequest) -> HttpResponse:
    """The navigation fragment."""
    return render(request, "console/navigation.html", shell(request, request.GET.get("section", "")))


def _to_sign_in(request: HttpRequest) -> HttpResponse:
    """Redirect to sign-in. A request for a fragment makes the whole page reload instead."""
    if request.headers.get("HX-Request") or request.headers.get("X-Part"):
        return HttpResponse(status=401, headers={"HX-Refresh": "true"})
    return next_page.to_sign_in(next_page.page_of(request) or "/")
