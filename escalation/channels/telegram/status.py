"""How Telegram is, as every process can see it: the health pages, the figures and the diagnostics read this."""

import hashlib
import time
from datetime import UTC, datetime
from typing import Any

from django.conf import settings

from escalation import breaker, queries
from orchestra import leases

LEASE = "telegram"
TESTED = "telegram.tested"
TOPIC = "telegram"
SILENT_AFTER_S = 90.0  # a poll returns within 25 s

OK, OFF, DOWN, UNTESTED = "ok", "off", "down", "untested"


def word() -> str:
    """ok; off: not set up; untested: nobody has tapped a test card; down: no process, no answer, or no way in."""
    if not settings.TELEGRAM.configured:
        return OFF
    if not answers():
        return DOWN
    return OK if is_tested() else UNTESTED


def answers() -> bool:
    """Whether a process talks to Telegram, Telegram answers, and our chat can be written to."""
    if not settings.TELEGRAM.configured or not leases.is_held(LEASE):
        return False
    state = leases.noted(LEASE)
    fresh = time.time() - float(state.get("answered_at") or 0.0) < SILENT_AFTER_S
    return fresh and not state.get("off") and breaker.told(settings.TELEGRAM.breaker)["state"] == breaker.CLOSED


def is_tested() -> bool:
    """Whether somebody has tapped a test card of this very bot in this very chat."""
    return bool(leases.noted(TESTED).get("setup") == _setup())


def note_tested(*, by: str) -> None:
    """Somebody has tapped the test card."""
    leases.note_also(TESTED, setup=_setup(), by=by, at=datetime.now(UTC).isoformat(timespec="seconds"))


def told() -> dict[str, Any]:
    """Everything a person needs who looks after the channel; no secret is in it."""
    state = leases.noted(LEASE)
    answered_at = state.get("answered_at")
    return {
        "enabled": settings.TELEGRAM.configured,
        "healthy": answers(),
        "tested": is_tested(),
        "off_because": state.get("off", ""),
        "bot": state.get("bot", ""),
        "chat": str(state.get("chat") or settings.TELEGRAM.chat_id or ""),
        "mode": settings.TELEGRAM.mode,
        "running": leases.is_held(LEASE),
        "last_success_at": datetime.fromtimestamp(answered_at, UTC) if answered_at else None,
        "last_error": queries.last_error(),
        "outbox_depth": queries.waiting_deliveries(),
        "stale_cards": queries.stale_cards(),
        "unapplied_updates": queries.unapplied_count(),
    }


def _setup() -> str:
    """The bot and the chat, so that a change of either wants a new test; gives nothing of the token away."""
    telegram = settings.TELEGRAM
    return hashlib.sha256(f"{telegram.token}/{telegram.chat_id}/{telegram.api_url}".encode()).hexdigest()[:16]
