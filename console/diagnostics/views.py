"""The diagnostics page: which parts work, and how to repair the others."""

from dataclasses import dataclass
from typing import Any

from django.http import HttpRequest, HttpResponse
from django.views.decorators.http import require_safe

from approvals import security_settings as approval_settings
from console.diagnostics.telegram import telegram
from console.sessions.list_views import agents_found
from console.shell import page, part, show
from orchestra.diagnostics import database, probes, security_settings
from orchestra.diagnostics.api import workers
from orchestra.diagnostics.probes import OK, Probe, Weight
from orchestra.middleware import console_host

WORKING, UNTESTED = ("Working", "done", "ok"), ("Not tested", "risk-high", "")
NOT_WORKING = ("Not working", "failed", "bad")
LATE_CANARY_S = 60.0


@dataclass(frozen=True, slots=True)
class PartStatus:
    """One part of the system with the result of its probe."""

    probe: Probe
    result: str

    @property
    def label(self) -> tuple[str, str, str]:
        """Word, icon and tone. A probe of weight NOTE is information and is never shown as bad."""
        if self.result == OK:
            return WORKING
        if self.result == "untested":
            return UNTESTED
        return (self.result.capitalize(), "cancelled", "") if self.probe.weight is Weight.NOTE else NOT_WORKING

    @property
    def works(self) -> bool:
        return self.result == OK

    @property
    def troubles(self) -> bool:
        """Whether the part should work but does not; a part that is merely not set up is none."""
        return self.label == NOT_WORKING

    @property
    def name(self) -> str:
        return self.probe.name.replace("_", " ").capitalize()


@require_safe
@page()
def diagnostics_page(request: HttpRequest) -> HttpResponse:
    """The whole page; parts that do not work come first."""
    context = {**_now(), "database": database.performance()}
    return show(request, "console/diagnostics.html", context, title=context["sentence"], section="diagnostics")


@require_safe
@page()
def diagnostics_part(request: HttpRequest) -> HttpResponse:
    """The fragment that refreshes itself: parts, workers, Telegram and agents."""
    return part(request, "console/diagnostics/now.html", _now())


def _now() -> dict[str, Any]:
    parts = [PartStatus(probe, result) for probe, result in probes.asked()]
    parts.sort(key=lambda one: (not one.troubles, not one.works, one.name))
    return {
        "parts": parts,
        "sentence": sentence_of(parts),
        "workers": _workers(),
        "late_s": LATE_CANARY_S,
        "facts": [*security_settings.facts(), *console_host.facts(), *approval_settings.facts()],
        "telegram": telegram(),
        "agents": agents_found(),
    }


def _workers() -> dict[str, Any]:
    """Live workers and the shared queues; each worker's own queue, for its liveness check, is left
    out.
    """
    report = workers()
    living = [one for one in report["processes"] if one["lives"]]
    queues = [
        {**queue, "workers": sum(queue["name"] in one["queues"] for one in living)}
        for queue in report["queues"]
        if "@" not in queue["name"]
    ]
    return {**report, "queues": queues}


def sentence_of(parts: list[PartStatus]) -> str:
    """The page's title, which names the parts that do not work."""
    bad = [one.name for one in parts if one.troubles]
    if not bad:
        return "Everything is working"
    if len(bad) == len(parts):
        return "Nothing works"
    return "Everything is working, except " + " and ".join(filter(None, (", ".join(bad[:-1]), bad[-1])))
