"""State of the Telegram channel as any process can read it.

Health, metrics and diagnostics use this.
"""

import hashlib
import time
from datetime import UTC, datetime
from typing import Any

from django.conf import settings

from escalation import queries
from escalation.telegram.api import breaker
from escalation.telegram.api.error_mapping import cure_for
from orchestra.db import leases

LEASE = "telegram"
TESTED = "telegram.tested"
TOPIC = "telegram"
PROBE_CHAT = "look"
"""Notification key: another process has seen that the chat accepts messages, or does not."""
SILENT_AFTER_S = 90.0  # a poll returns within 25 s

OK, OFF, DOWN, UNTESTED = "ok", "off", "down", "untested"


def read_health() -> str:
    """Return ok, off, untested or down.

    off: not configured. untested: no tapped test card. down: no process, no response, or a refused
    chat or request.
    """
    if not settings.TELEGRAM.configured:
        return OFF
    if not is_healthy():
        return DOWN
    return OK if is_tested() else UNTESTED


def is_healthy() -> bool:
    """Return True if a process runs, Telegram responds, and it refused neither chat nor request."""
    return settings.TELEGRAM.configured and not find_problem()


def find_problem() -> str:
    """Return why messages cannot be sent, and how to fix it; an empty text if they can.

    A missing test is no problem.
    """
    telegram, state = settings.TELEGRAM, leases.read_state(LEASE)
    if not telegram.configured:
        return find_missing_setting()
    if not leases.is_held(LEASE):
        return "The telegram process does not run: `make run` starts it, or ./manage.py telegram."
    if state.get("off"):
        return str(state["off"])
    if breaker.read_state(telegram.breaker)["state"] != breaker.CLOSED:
        return "Telegram fails too often, and the circuit breaker is open: wait, or mend the network."
    silent_s = time.time() - float(state.get("answered_at") or 0.0)
    if silent_s >= SILENT_AFTER_S:
        return "Telegram has not answered for a while. Is outbound HTTPS open?"
    if refused := queries.count_refused_deliveries():
        which = "1 approval request" if refused == 1 else f"{refused} approval requests"
        why = queries.undelivered_reason()
        return f"Telegram refuses {which}; tried again every few minutes. {why}. {cure_for(why)}"
    return ""


def find_missing_setting() -> str:
    """Return which setting keeps the channel off; an empty text if none does."""
    telegram = settings.TELEGRAM
    if not telegram.token:
        return "TELEGRAM_BOT_TOKEN is not set. Write /newbot to @BotFather and copy the token it gives."
    if not telegram.enabled:
        return "TELEGRAM_ENABLED is off, so nothing is sent: set it on, or remove it, and restart."
    if not telegram.chat_id:
        return "TELEGRAM_CHAT_ID is not a number." if telegram.chat else "TELEGRAM_CHAT_ID is not set."
    return ""


def find_advice() -> str:
    """Return which setting works but should be changed; an empty text if none."""
    moved = leases.read_state(LEASE).get("moved", {})
    new = moved.get(settings.TELEGRAM.chat)
    return f"The group became a supergroup, which Orchestra follows: set TELEGRAM_CHAT_ID={new}." if new else ""


def is_tested() -> bool:
    """Return True if a person has tapped a test card of this bot in this chat and topic."""
    return bool(leases.read_state(TESTED).get("setup") == setup_fingerprint())


def record_test(*, by: str) -> None:
    """Record that the test card was tapped."""
    leases.merge_state(TESTED, setup=setup_fingerprint(), by=by, at=datetime.now(UTC).isoformat(timespec="seconds"))


def read_status() -> dict[str, Any]:
    """Return the state that an operator needs. It contains no secret."""
    state = leases.read_state(LEASE)
    answered_at = state.get("answered_at")
    return {
        "enabled": settings.TELEGRAM.configured,
        "healthy": is_healthy(),
        "tested": is_tested(),
        "problem": find_problem() if settings.TELEGRAM.configured else "",
        "advice": find_advice(),
        "off_because": state.get("off", ""),
        "bot": state.get("bot", ""),
        "chat": str(state.get("chat") or settings.TELEGRAM.chat_id or ""),
        "topic": settings.TELEGRAM.topic_id or None,
        "mode": settings.TELEGRAM.mode,
        "running": leases.is_held(LEASE),
        "last_success_at": datetime.fromtimestamp(answered_at, UTC) if answered_at else None,
        "last_error": queries.latest_error(),
        "outbox_depth": queries.count_undelivered(),
        "refused": queries.count_refused_deliveries(),
        "stale_cards": queries.count_stale_cards(),
        "unapplied_updates": queries.count_unapplied_updates(),
    }


def setup_fingerprint() -> str:
    """Return a hash of bot, chat and topic.

    It changes with each of them, and does not reveal the token.
    """
    telegram = settings.TELEGRAM
    place = f"{telegram.token}/{telegram.chat_id}/{telegram.api_url}"
    place += f"/{telegram.topic_id}" if telegram.topic_id else ""
    return hashlib.sha256(place.encode()).hexdigest()[:16]
