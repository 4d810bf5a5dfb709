"""After-restore step of sessions: it ends all open turns, and locks out supervisors of before the
restore.
"""

from typing import Any

from django.db.models.functions import Now

from orchestra.db.fencing import first_fence
from sessions_app.models import OPEN_SESSION, OPEN_TURN, AgentSession, Run, Turn
from sessions_app.schedules import commands as schedules
from sessions_app.supervisor.leases import close_turn
from sessions_app.supervisor.outcomes import Outcome


def end_open_turns(*, epoch: int, taken_at: str, **_: Any) -> str:
    """Interrupt every open turn, because what its agent did after the backup is not recorded.

    The sessions stay: the next message continues each of them. Every session gets a fencing token
    of ``epoch``, so that a supervisor of before the restore cannot write. Returns a report line.
    """
    detail = (
        f"The database was restored from a backup of {taken_at}. What the agent did after it is not recorded here; "
        "send a message to go on."
    )
    ending = Outcome(status=Turn.Status.INTERRUPTED, code="restored", detail=detail)
    Run.objects.filter(ended_at=None).update(ended_at=Now(), ended_why="restored")
    ended = 0
    for turn_id, session_id in list(Turn.objects.filter(status__in=OPEN_TURN).values_list("pk", "session")):
        session = AgentSession.objects.filter(pk=session_id, status__in=OPEN_SESSION)
        close_turn(session, Turn.objects.filter(pk=turn_id), ending, session_id)
        ended += 1
    schedules.reset_due_times(f"The database was restored from a backup of {taken_at}.")
    AgentSession.objects.update(fence=first_fence(epoch))
    return f"{ended} open turns ended"
