"""Notices for tests of what people are shown."""

import json
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import uuid4

from approvals.policy.risk import assess_risk
from approvals.policy.tool_call import telling_argument
from approvals.presentation.render import blocks_for, questions_in, summary_for, title_for
from escalation.channels.base import Notice, Outcome
from tests.fakes.bot_api.rules import format_text

NOW = datetime(2026, 11, 25, 10, 15, tzinfo=UTC)


def make_notice(tool: str = "Bash", arguments: Any = None, **overrides: Any) -> Notice:
    """What is told of a tool call with half an hour left."""
    text = json.dumps(arguments or {"command": "rm -r build"})
    risk, why = assess_risk(tool, telling_argument(tool, text))
    kind = {"AskUserQuestion": "question", "ExitPlanMode": "plan"}.get(tool, "tool")
    fields: dict[str, Any] = {
        "approval_id": uuid4(), "kind": kind, "tool_name": tool, "risk": risk, "risk_reason": why,
        "title": title_for(tool, text), "summary": summary_for(tool, text), "digest": "ab" * 32,
        "blocks": tuple(blocks_for(tool, text, directory="/srv/app")),
        "questions": tuple(questions_in(text)) if kind == "question" else (),
        "facts": {"session": "Tidy up", "agent": "claude", "host": "build-01"},
        "working_directory": "/srv/app", "requested_by": "olga", "created_at": NOW, "for_session": kind == "tool",
        "expires_at": NOW + timedelta(minutes=30), "seconds_left": 1790.0,
    }  # fmt: skip
    return Notice(**(fields | overrides))


def make_outcome(**overrides: Any) -> Outcome:
    """Approved by anna in Telegram."""
    fields = {"status": "approved", "decided_by": "anna", "decided_via": "telegram", "decided_at": NOW}
    return Outcome(**(fields | overrides))


def choice(question: str, *labels: str, several: bool = False, header: str = "") -> dict[str, Any]:
    """One question of an AskUserQuestion call."""
    options = [{"label": label, "description": f"about {label}"} for label in labels]
    return {"question": question, "header": header, "multiSelect": several, "options": options}


def as_telegram_keeps(html: str) -> tuple[str, list[dict[str, Any]]]:
    """Text and entities after parsing, or the stand-in's error."""
    return format_text(html, "HTML", None, 4096, "message")


def outside_monospace(html: str) -> str:
    """What a reader takes for Orchestra's own words."""
    text, entities = as_telegram_keeps(html)
    raw = text.encode("utf-16-le")
    for entity in reversed([entity for entity in entities if entity["type"] in ("code", "pre")]):
        start = 2 * entity["offset"]
        raw = raw[:start] + raw[start + 2 * entity["length"] :]
    return raw.decode("utf-16-le")
