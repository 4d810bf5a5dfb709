"""Carry out the slash commands ``/clear`` and ``/model NAME``, as turns without a process."""

from typing import Any
from uuid import uuid4

from django.db import transaction
from django.db.models.functions import Now

from orchestra.db import notify
from sessions_app.models import IDLE_SESSION, SESSION_FLOW, AgentSession, Turn
from sessions_app.prompts.slash_commands import SlashCommand
from sessions_app.transcript import writer

CLEARED = "The next message starts with an empty conversation. What was spent, the rules and the files stay."


def run(session: AgentSession, command: SlashCommand, *, by: str) -> Turn | None:
    """Carry the command out as a completed turn; None if the session has an open turn or was
    cancelled.

    ``/clear`` gives the CLI a conversation under a new id. A call that is still deferred in the old
    conversation, for example an expired one, never runs.
    """
    changes, result, status = _effect(command)
    rows = AgentSession.objects.filter(pk=session.pk)
    with transaction.atomic():
        idle = rows.filter(status__in=IDLE_SESSION)
        if not SESSION_FLOW.move(idle, to=AgentSession.Status.QUEUED, failure_code="", failure_detail="", **changes):
            return None
        turn = Turn.objects.create(
            session=session, number=session.turns.count() + 1, prompt=f"/{command.name} {command.argument}".strip(),
            requested_by=by, status=Turn.Status.COMPLETED, result=result, started_at=Now(), finished_at=Now(),
        )  # fmt: skip
        SESSION_FLOW.move(rows, to=AgentSession.Status.COMPLETED, finished_at=Now())
        prompt = writer.line("prompt", turn=turn.number, text=turn.prompt)
        writer.append(session.pk, [prompt, writer.line("status", status=status, by=by, detail=result)])
        notify.send("session", str(session.pk))
    turn.refresh_from_db()
    return turn


def _effect(command: SlashCommand) -> tuple[dict[str, Any], str, str]:
    """Changes of the session's row, the result text of the turn, and the status of the transcript
    event.
    """
    if command.clears:
        return {"conversation": uuid4(), "resumable": False, "deferred_tool_use_id": ""}, CLEARED, "cleared"
    which = "the agent's default model" if command.argument == "default" else f"the model {command.argument}"
    return {"model": command.argument}, f"The next messages go to {which}.", "model"
