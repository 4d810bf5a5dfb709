"""The page of diagnostics: what works, what does not, what to do next. Apps bring panels; it imports none of them."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal

from django.conf import settings
from django.http import HttpRequest, HttpResponse
from django.urls import path
from django.views.decorators.http import require_safe

from orchestra import database_facts, diagnostics
from orchestra.dashboard import Entry, page, part, register_entry, show
from orchestra.diagnostics import OK, Probe, Weight
from orchestra.diagnostics_api import workers

Place = Literal["main", "side"]
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


@dataclass(frozen=True, slots=True)
class Fact:
    """One line about how strict this house is; ``fine`` is False for what a careful operator would change."""

    words: str
    icon: str = "shield"
    fine: bool = True


@dataclass(frozen=True, slots=True)
class Panel:
    """A card of an app's own: a template and what it needs, read afresh each time."""

    template: str
    context: Callable[[], dict[str, Any]]
    place: Place


_panels: list[Panel] = []
_facts: list[Callable[[], list[Fact]]] = []


def register_panel(template: str, context: Callable[[], dict[str, Any]], *, place: Place = "main") -> None:
    """Have the page show ``template``; called from an app's ``ready``."""
    _panels.append(Panel(template, context, place))


def register_facts(facts: Callable[[], list[Fact]]) -> None:
    """Have the page say these lines about how strict the house is; called from an app's ``ready``."""
    _facts.append(facts)


def register_pages() -> None:
    """Called once, when the apps are ready."""
    register_entry(Entry(section="diagnostics", word="Diagnostics", route="diagnostics", icon="pulse", order=60))
    register_facts(own_facts)


def own_facts() -> list[Fact]:
    """What the kernel knows of its own settings."""
    open_figures = settings.METRICS.enabled and not settings.METRICS.token
    production = settings.ORCHESTRA.environment == "production"
    return [
        Fact(f"Runs as {settings.ORCHESTRA.environment}", "server"),
        Fact("Figures (/metrics) want a token", "lock") if not open_figures
        else Fact("/metrics needs no sign-in", "lock", fine=not production),
    ]  # fmt: skip


@require_safe
@page()
def diagnostics_page(request: HttpRequest) -> HttpResponse:
    """Everything, the troubled parts first."""
    context = {**_now(), "database": database_facts.performance()}
    return show(request, "console/diagnostics.html", context, title=context["sentence"], section="diagnostics")


@require_safe
@page()
def diagnostics_part(request: HttpRequest) -> HttpResponse:
    """What changes: parts, workers and the apps' panels."""
    return part(request, "console/diagnostics/now.html", _now())


def _now() -> dict[str, Any]:
    parts = [Part(probe, answer) for probe, answer in diagnostics.asked()]
    parts.sort(key=lambda one: (not one.troubles, not one.works, one.name))
    return {
        "parts": parts,
        "sentence": sentence_of(parts),
        "workers": _workers(),
        "late_s": LATE_CANARY_S,
        "facts": [fact for facts in _facts for fact in facts()],
        "panels": [(panel.place, panel.template, panel.context()) for panel in _panels],
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


urlpatterns = [
    path("diagnostics", diagnostics_page, name="diagnostics"),
    path("console/diagnostics", diagnostics_part, name="diagnostics-part"),
]
