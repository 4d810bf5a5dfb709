"""What the page of diagnostics shows of Telegram."""

from typing import Any

from django.conf import settings

from escalation.telegram import status
from escalation.telegram.api import breaker


def telegram() -> dict[str, Any]:
    """How the channel is, and where its breaker stands."""
    return {
        "telegram": status.read_status(),
        "breaker": breaker.read_state(settings.TELEGRAM.breaker),
        "states": breaker,
    }
