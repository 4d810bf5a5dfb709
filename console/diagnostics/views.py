"""The page of diagnostics: what works, what does not, and what to do next."""

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
class Part:
    """One part and its answer, as the page draws it."""

    probe: Probe
    answer: str

    @property
    def look(self) -> tuple[str, str, str]:
        """A word, a shape and a tone. A part that is only told for information has no bad answer."""
        if self.answer == OK:
            return WORKING
        if self.answer == "untested":
            return UNTESTED
        return (self.answer.capitalize(), "cancelled", "") if self.probe.weight is Weight.NOTE else NOT_WORKING

    @property
    def works(self) -> bool:
        return self.answer == OK

    @property
    def troubles(self) -> bool:
        """Whether it matters that it does not work: what is merely not set up does not."""
        return self.look == NOT_WORKING

    @property
    def name(self) -> str:
        return self.probe.name.replace("_", " ").capitalize()


@require_safe
@page()
def diagnostics_page(request: HttpRequest) -> HttpResponse:
    """Everything, the troubled parts first."""
    context = {**_now(), "database": database.performance()}
    return show(request, "console/diagnostics.html", context, title=context["sentence"], section="diagnostics")


@require_safe
@page()
def diagnostics_part(request: HttpRequest) -> HttpResponse:
    """What changes: parts, workers and the apps' panels."""
    return part(request, "console/diagnostics/now.html", _now())


def _now() -> dict[str, Any]:
    parts = [Part(probe, answer) for probe, answer in probes.asked()]
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
    """Workers and the queues people know of: not each worker's own one for its canary, and no worker that is silent."""
    told = workers()
    living = [one for one in told["processes"] if one["lives"]]
    queues = [
        {**queue, "workers": sum(queue["name"] in one["queues"] for one in living)}
        for queue in told["queues"]
        if "@" not in queue["name"]
    ]
    return {**told, "queues": queues}


def sentence_of(parts: list[Part]) -> str:
    """The title: what does not work, by name."""
    bad = [one.name for one in parts if one.troubles]
    if not bad:
        return "Everything is working"
    if len(bad) == len(parts):
        return "Nothing works"
    return "Everything is working, except " + " and ".join(filter(None, (", ".join(bad[:-1]), bad[-1])))
