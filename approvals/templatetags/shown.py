"""Template filters for texts of approvals: escaping, redaction, and durations in words."""

import re
from datetime import datetime
from typing import Any

from django import template
from django.utils import timezone
from django.utils.html import escape
from django.utils.safestring import SafeString, mark_safe

from approvals.deadlines import NEVER_WORDS
from approvals.models import Approval
from approvals.presentation import render
from approvals.presentation.redacted import hidden_text
from approvals.queries import open_approvals

register = template.Library()

SPELLED_OUT = re.compile(r"\\u[0-9a-f]{4}|\\U[0-9a-f]{8}|\\r|⟨[^⟩\n]{1,60}⟩")


@register.filter
def marked(shown: str) -> SafeString:
    """Return a text of the renderer as HTML; its escapes and counts are highlighted."""
    quoted = SPELLED_OUT.sub(lambda found: f'<span class="escape">{found[0]}</span>', str(escape(shown)))
    return mark_safe(quoted)  # noqa: S308 - escaped in the line above


@register.filter
def redacted(text: object) -> str:
    """Return any text with its secrets hidden."""
    return hidden_text(str(text))


@register.filter
def visible(text: object) -> str:
    """Return a text from outside with hidden characters made visible; the template escapes it."""
    return render.visible(str(text))


@register.filter
def left(approval: Approval) -> str:
    """Return the time until the deadline in words."""
    if approval.never_expires:
        return NEVER_WORDS.lower()
    seconds = int((approval.expires_at - _now_for(approval)).total_seconds())
    return f"{span(seconds)} left" if seconds > 0 else "time is up"


@register.filter
def urgency(approval: Approval) -> str:
    """Return ``last`` below one minute, ``soon`` below five, and an empty text otherwise."""
    seconds = (approval.expires_at - _now_for(approval)).total_seconds()
    return "last" if seconds < 60 else "soon" if seconds < 300 else ""


def _now_for(approval: Approval) -> datetime:
    """Return ``read_at`` of the row if it is annotated; it stands still while all agents are
    stopped.
    """
    return getattr(approval, "read_at", None) or timezone.now()


@register.filter
def ago(moment: datetime | None) -> str:
    """Return the time since ``moment`` in words."""
    return "" if moment is None else f"{span(int((timezone.now() - moment).total_seconds()))} ago"


def span(seconds: int) -> str:
    """Return a duration in words: 42 s, 3:12 min, 1 h 42 min, 5 days."""
    seconds = max(0, seconds)
    if seconds < 60:
        return f"{seconds} s"
    if seconds < 3600:
        return f"{seconds // 60}:{seconds % 60:02d} min"
    if seconds < 48 * 3600:
        return f"{seconds // 3600} h {seconds % 3600 // 60} min"
    return f"{seconds // 86400} days"


@register.inclusion_tag("admin/approvals/waiting.html")
def waiting_for_a_person(limit: int = 20) -> dict[str, Any]:
    """Return the context of the list of open requests, the most urgent first."""
    everything = open_approvals()
    return {"approvals": everything[:limit], "more": max(0, len(everything) - limit), "count": len(everything)}
