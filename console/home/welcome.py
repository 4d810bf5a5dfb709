"""What a newcomer still has to do, read from what is true."""

from django.conf import settings
from django.db.models import QuerySet

from sessions_app.agents.discovery import INSTALL
from sessions_app.models import Agent, AgentSession


def is_new() -> bool:
    """Whether no session was ever started."""
    return not AgentSession.objects.exists()


def real_agents() -> QuerySet[Agent]:
    """The agents found, without the demo."""
    return Agent.objects.exclude(name="demo").order_by("host", "name")


def steps() -> dict[str, object]:
    """The state of the first steps: the agents of all hosts, how to install one, and how far one is."""
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
