"""The first steps of a new installation, derived from the database."""

from django.conf import settings
from django.db.models import QuerySet

from sessions_app.agents.discovery import INSTALL
from sessions_app.models import Agent, AgentSession


def is_new() -> bool:
    """Whether the database has no session."""
    return not AgentSession.objects.exists()


def real_agents() -> QuerySet[Agent]:
    """The agents that discovery found, without the demo agent."""
    return Agent.objects.exclude(name="demo").order_by("host", "name")


def steps() -> dict[str, object]:
    """The template context of the first steps: agents of all hosts, the install command, and what
    is done.
    """
    agents = list(real_agents())
    ready = any(agent.status == Agent.Status.READY for agent in agents)
    return {
        "agents": agents,
        "agent_ready": ready,
        "found": [agent for agent in agents if agent.status != Agent.Status.MISSING],
        "looked": bool(agents),
        "install": INSTALL,
        "cli_path": settings.AGENTS.cli_path,
        "self_approval": settings.APPROVALS.self_approval,
    }
