"""Views of the stop of all agents: the banner on every page, and the page that stops agents and
lifts the stop.
"""

from dataclasses import dataclass
from datetime import datetime
from functools import cache
from urllib.parse import urlencode, urlsplit, urlunsplit
from uuid import UUID

from django.contrib import messages
from django.http import Http404, HttpRequest, HttpResponse
from django.shortcuts import redirect, render
from django.urls import reverse
from django.views.decorators.http import require_POST, require_safe

from approvals.errors import AnotherStop, StopNotFound
from approvals.models import DecisionSource, Stop
from approvals.stop import commands as stops
from approvals.stop import presentation as stop_words
from console.approvals.decision_views import back_to
from console.shell import page, show
from orchestra.auth.permissions import Right, may, rights_of

SHOWN_BEFORE = 10  # earlier stops on the page


@dataclass(frozen=True, slots=True)
class Standstill:
    """The content of the banner while all agents are stopped."""

    stop: Stop
    who: str
    reason: str
    effect: str
    may_lift: bool

    @property
    def since(self) -> datetime:
        return self.stop.started_at


def standstill(request: HttpRequest) -> dict[str, object]:
    """Context processor: ``standstill`` (None without a stop or the right to read), and whether the
    user may stop.
    """
    user = getattr(request, "user", None)
    return {
        "standstill": cache(lambda: _standstill_for(user)),  # a template reads it more than once
        "may_stop_all": cache(lambda: bool(stops.MAY_STOP & rights_of(user))),
        "switch_address": cache(lambda: _switch_address(request)),
    }


@require_safe
@page()
def banner(request: HttpRequest) -> HttpResponse:
    """The fragment with the banner."""
    return render(request, "console/stop_banner.html")


@page()
def switch(request: HttpRequest) -> HttpResponse:
    """The page that shows whether all agents are stopped; a POST stops them."""
    if request.method == "POST":
        return _stop(request)
    if request.method not in ("GET", "HEAD"):
        return HttpResponse(status=405, headers={"Allow": "GET, HEAD, POST"})
    context = {
        "earlier": stops.earlier_stops(most=SHOWN_BEFORE),
        "waits": stop_words.WAITS,
        "choices": stop_words.CHOICES,
        "longest": stops.LONGEST_REASON,
        "next": request.GET.get("next", ""),
    }
    return show(request, "console/stop.html", context, title="Stop all agents")


@require_POST
@page(Right.DECIDE)
def lift(request: HttpRequest, stop_id: UUID) -> HttpResponse:
    """Lift the stop, if it is still the one that the page showed."""
    try:
        stop = stops.lift_stop(by=request.user.get_username(), via=_via(request), stop_id=stop_id, address=_at(request))
    except StopNotFound:
        raise Http404("Stop not found") from None
    except AnotherStop as error:
        messages.warning(request, f"Nothing was changed. {error.detail}")
        return redirect("stop-all")
    if stop is not None:
        messages.success(request, stop_words.lift_line(stop))
    return redirect(back_to(request))


def _stop(request: HttpRequest) -> HttpResponse:
    if not stops.MAY_STOP & rights_of(request.user):
        return show(request, "console/forbidden.html", {"needed": Right.DECIDE}, title="Not for you", status=403)
    mode = request.POST.get("mode", stops.HOLD)
    stop, new = stops.stop_all(
        by=request.user.get_username(), via=_via(request), reason=request.POST.get("reason", "").strip(),
        mode=stops.INTERRUPT if mode == stops.INTERRUPT else stops.HOLD, address=_at(request),
    )  # fmt: skip
    if not new:
        messages.info(request, f"Agents were stopped before, by {stop_words.who(stop)}; that stop is in force.")
    return redirect(back_to(request))


def _standstill_for(user: object) -> Standstill | None:
    if not may(user, Right.READ):
        return None
    stop = stops.current_stop()
    if stop is None:
        return None
    lifts = bool(stops.MAY_LIFT & rights_of(user))
    return Standstill(stop, stop_words.who(stop), stop_words.reason(stop), stop_words.effect(stop), lifts)


def _switch_address(request: HttpRequest) -> str:
    """The URL of the stop page, with the current page as ``next``, also for requests of fragments."""
    address = reverse("stop-all")
    whole = urlsplit(request.headers.get("HX-Current-URL") or request.get_full_path())
    here = request.GET.get("next", "/") if whole.path == address else urlunsplit(("", "", whole.path, whole.query, ""))
    return f"{address}?{urlencode({'next': here})}"


def _via(request: HttpRequest) -> str:
    return DecisionSource.ADMIN if back_to(request).startswith("/admin/") else DecisionSource.DASHBOARD


def _at(request: HttpRequest) -> str:
    return str(request.META.get("REMOTE_ADDR", ""))
