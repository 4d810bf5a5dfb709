"""System checks about agents."""

from django.conf import settings
from django.core.checks import CheckMessage, Warning


def check_agent_account(**_kwargs: object) -> list[CheckMessage]:
    """Warn in production if agents run as Orchestra's own account.

    Such an agent can read Orchestra's keys and its database password.
    """
    if settings.ORCHESTRA.environment != "production" or settings.AGENTS.run_as:
        return []
    hint = "AGENT_RUN_AS=USER gives agents another account; docs/security.md says what stands without it."
    return [Warning("Agents run as the same account as Orchestra.", hint=hint, id="sessions_app.W001")]
