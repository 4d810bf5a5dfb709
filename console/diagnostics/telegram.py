"""The Telegram section of the diagnostics page."""

from typing import Any

from django.conf import settings

from escalation.telegram import status
from escalation.telegram.api import breaker


def telegram() -> dict[str, Any]:
    """Return the state of the channel and of its circuit breaker, as template context."""
    return {
        "telegram": status.read_status(),
        "breaker": breaker.read_state(settings.TELEGRAM.breaker),
        "states": breaker,
    }
