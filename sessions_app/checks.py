"""What a production start warns of about agents."""

from django.conf import settings
from django.core.checks import CheckMessage, Warning


def check_wall(**_kwargs: object) -> list[CheckMessage]:
    """An agent that runs as Orchestra's own account can read what Orchestra can: its keys, its database's password."""
    if settings.ORCHESTRA.environment != "production" or settings.AGENTS.run_as:
        return []
    hint = "AGENT_RUN_AS=USER gives agents another account; docs/security.md says what stands without it."
    return [Warning("Agents run as the same account as Orchestra.", hint=hint, id="sessions_app.W001")]
