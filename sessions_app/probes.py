"""Health probe of this app."""

from orchestra.diagnostics.probes import DOWN, OK, Probe, register
from sessions_app.models import Agent


def register_probes() -> None:
    """Register the probe; the app's ``ready`` calls this once."""
    register(
        Probe(
            "agents",
            agents,
            about="at least one agent can work",
            mend="Install the CLI, sign in to it once as the user of the workers, then look again.",
        )
    )


def agents() -> str:
    """OK if discovery found at least one agent that is ready."""
    return OK if Agent.objects.filter(status=Agent.Status.READY).exists() else DOWN
