"""Whether an agent can take a turn, as far as discovery knows: for forms, and before a turn is spent in vain."""

from contextlib import suppress
from datetime import timedelta

from django.db.models import QuerySet
from django.db.models.functions import Now

from orchestra.errors import Unavailable
from sessions_app.dispatch import dispatch_discovery
from sessions_app.errors import AgentUnready, CliMissing, NotLoggedIn, UnfitAgent
from sessions_app.models import Agent

ST = Agent.Status
NAMES = ("claude", "demo")
WORDS = {ST.NOT_LOGGED_IN: "not logged in", ST.MISSING: "no CLI found", ST.UNFIT: "unfit"}
ERRORS: dict[str, type[AgentUnready]] = {ST.NOT_LOGGED_IN: NotLoggedIn, ST.MISSING: CliMissing, ST.UNFIT: UnfitAgent}
BELIEVED = timedelta(minutes=10)  # discovery looks every five; what it said long ago is no reason to refuse


def refuse_unready(name: str, host: str = "") -> None:
    """Refuse an agent of which discovery said lately that no host (or not this one) can run it; have it look again.

    Raises:
        AgentUnready: with the reason, and what to do about it.
    """
    problem = _problem(name, host)
    if problem is None:
        return
    with suppress(Unavailable):
        dispatch_discovery()
    why = problem.detail or f"The agent {name} cannot be used on {problem.host}."
    raise ERRORS[problem.status](f"{why} (The workers are looking again now.)")


def agent_choices() -> list[tuple[str, str]]:
    """Every agent with its label; one that cannot be used says why, and where."""
    problems = {name: _problem(name) for name in NAMES}
    plain = {"claude": "claude", "demo": "demo: scripted, not an AI"}
    return [
        (name, f"{plain[name]} ({WORDS[ST(found.status)]} on {found.host})" if found else plain[name])
        for name, found in problems.items()
    ]


def preferred_agent() -> str:
    """The first agent that nothing is known against."""
    return next((name for name in NAMES if _problem(name) is None), NAMES[0])


def _problem(name: str, host: str = "") -> Agent | None:
    """The agent whose state is why ``name`` cannot run; None if some host has a ready one, or none is known."""
    rows: QuerySet[Agent] = Agent.objects.filter(name=name, last_seen_at__gt=Now() - BELIEVED)
    known = list(rows.filter(host=host) if host else rows.order_by("host"))
    if not known or any(agent.status == ST.READY for agent in known):
        return None
    order = (ST.NOT_LOGGED_IN, ST.UNFIT, ST.MISSING)  # the one that is nearest to working
    return min(known, key=lambda agent: order.index(ST(agent.status)))
