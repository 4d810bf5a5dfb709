"""What this app tells the health pages."""

from orchestra.diagnostics.probes import DOWN, OK, Probe, register
from sessions_app.models import Agent


def register_probes() -> None:
    """Called once, when the apps are ready."""
    register(
        Probe(
            "agents",
            agents,
            about="at least one agent can work",
            mend="Install the CLI, sign in to it once as the user of the workers, then look again.",
        )
    )


def agents() -> str:
    """Whether discovery found at least one agent that can work."""
    return OK if Agent.objects.filter(status=Agent.Status.READY).exists() else DOWN
