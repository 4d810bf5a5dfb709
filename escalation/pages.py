"""What the page of diagnostics shows of Telegram."""

from typing import Any

from django.conf import settings

from escalation import breaker
from escalation.channels.telegram import status
from orchestra.diagnostics_page import register_panel


def register_panels() -> None:
    """Called once, when the apps are ready."""
    register_panel("console/diagnostics/telegram.html", telegram)


def telegram() -> dict[str, Any]:
    """How the channel is, and where its breaker stands."""
    return {"telegram": status.told(), "breaker": breaker.told(settings.TELEGRAM.breaker), "states": breaker}
