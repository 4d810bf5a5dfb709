"""What Orchestra does itself when ``/clear`` or ``/model NAME`` is typed as a prompt: a turn without a process."""

from typing import Any
from uuid import uuid4

from django.db import transaction
from django.db.models.functions import Now

from orchestra.db import notify
from sessions_app.models import SESSION_FLOW, AgentSession, Turn
from sessions_app.prompts.slash_commands import SlashCommand
from sessions_app.transcript import writer

S = AgentSession.Status
CLEARED = "The next message starts with an empty conversation. What was spent, the rules and the files stay."


def follow(session: AgentSession, command: SlashCommand, *, by: str) -> Turn | None:
    """Carry the command out as a turn that is over at once; None if the session has an open turn or was cancelled.

    Cleared means that the CLI gets a conversation under another id; what was left over in the old one, such as a parked
    call whose time was up, never runs.
    """
    changes, result, status = _effect(command)
    ours = AgentSession.objects.filter(pk=session.pk)
    with transaction.atomic():
        idle = ours.filter(status__in=(S.COMPLETED, S.FAILED))
        if not SESSION_FLOW.move(idle, to=S.QUEUED, failure_code="", failure_detail="", **changes):
            return None
        turn = Turn.objects.create(
            session=session, number=session.turns.count() + 1, prompt=f"/{command.name} {command.argument}".strip(),
            requested_by=by, status=Turn.Status.COMPLETED, result=result, started_at=Now(), finished_at=Now(),
        )  # fmt: skip
        SESSION_FLOW.move(ours, to=S.COMPLETED, finished_at=Now())
        said = writer.line("prompt", turn=turn.number, text=turn.prompt)
        writer.append(session.pk, [said, writer.line("status", status=status, by=by, detail=result)])
        notify.send("session", str(session.pk))
    turn.refresh_from_db()
    return turn


def _effect(command: SlashCommand) -> tuple[dict[str, Any], str, str]:
    """Changes of the session's row, what to say of them, and the word for the transcript."""
    if command.clears:
        return {"conversation": uuid4(), "resumable": False, "deferred_tool_use_id": ""}, CLEARED, "cleared"
    which = "the agent's default model" if command.argument == "default" else f"the model {command.argument}"
    return {"model": command.argument}, f"The next messages go to {which}.", "model"
