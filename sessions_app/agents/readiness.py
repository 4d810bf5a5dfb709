"""Whether an agent can take a turn according to discovery: for forms, and before a turn is queued."""

from contextlib import suppress
from datetime import timedelta

from django.db.models import QuerySet
from django.db.models.functions import Now

from orchestra.errors import Unavailable
from sessions_app.dispatch import dispatch_discovery
from sessions_app.errors import AgentUnready, CliMissing, NotLoggedIn, UnfitAgent
from sessions_app.models import Agent

NAMES = ("claude", "demo")
WORDS = {Agent.Status.NOT_LOGGED_IN: "not logged in", Agent.Status.MISSING: "no CLI found", Agent.Status.UNFIT: "unfit"}
ERRORS: dict[str, type[AgentUnready]] = {
    Agent.Status.NOT_LOGGED_IN: NotLoggedIn,
    Agent.Status.MISSING: CliMissing,
    Agent.Status.UNFIT: UnfitAgent,
}
VALID_FOR = timedelta(minutes=10)  # discovery runs every five minutes; an older result is no reason to refuse


def refuse_unready(name: str, host: str = "") -> None:
    """Refuse an agent that no host (or not ``host``, if given) can run according to recent
    discovery.

    Before it refuses, it asks the workers to look again.

    Raises:
        AgentUnready: with the reason, and how to resolve it.
    """
    problem = _problem(name, host)
    if problem is None:
        return
    with suppress(Unavailable):
        dispatch_discovery()
    why = problem.detail or f"The agent {name} cannot be used on {problem.host}."
    raise ERRORS[problem.status](f"{why} (The workers are looking again now.)")


def agent_choices() -> list[tuple[str, str]]:
    """Names and labels of all agents; the label of an unusable one names the reason and the host."""
    problems = {name: _problem(name) for name in NAMES}
    plain = {"claude": "claude", "demo": "demo: scripted, not an AI"}
    return [
        (name, f"{plain[name]} ({WORDS[Agent.Status(found.status)]} on {found.host})" if found else plain[name])
        for name, found in problems.items()
    ]


def preferred_agent() -> str:
    """The first agent that has no known problem."""
    return next((name for name in NAMES if _problem(name) is None), NAMES[0])


def _problem(name: str, host: str = "") -> Agent | None:
    """The row that explains why ``name`` cannot run.

    The result is None if a host has a ready one, or no recent row exists.
    """
    rows: QuerySet[Agent] = Agent.objects.filter(name=name, last_seen_at__gt=Now() - VALID_FOR)
    known = list(rows.filter(host=host) if host else rows.order_by("host"))
    if not known or any(agent.status == Agent.Status.READY for agent in known):
        return None
    order = (Agent.Status.NOT_LOGGED_IN, Agent.Status.UNFIT, Agent.Status.MISSING)  # the easiest to resolve first
    return min(known, key=lambda agent: order.index(Agent.Status(agent.status)))
