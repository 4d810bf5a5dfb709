"""Telegram on the diagnostics page."""

from typing import Any

from django.conf import settings

from escalation.telegram import status
from escalation.telegram.api import breaker


def telegram() -> dict[str, Any]:
    """The status of the channel and of its circuit breaker."""
    return {"telegram": status.told(), "breaker": breaker.told(settings.TELEGRAM.breaker), "states": breaker}
