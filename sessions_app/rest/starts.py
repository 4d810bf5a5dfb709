"""From a validated JSON body to ``start_session``, for REST, WebSocket and schedules."""

from collections.abc import Mapping
from typing import Any

from approvals.models import DecisionSource
from approvals.policy.standing_rules import may_allow_ahead
from sessions_app import commands
from sessions_app.commands import SessionRequest
from sessions_app.errors import InvalidSession
from sessions_app.models import AgentSession
from sessions_app.workspace import directory_problem


def start(user: Any, wanted: Mapping[str, Any], *, via: str = DecisionSource.SYSTEM) -> AgentSession:
    """Start a session with the rights of ``user``; ``SessionRequestSerializer`` has checked
    ``wanted``.

    Raises:
        OrchestraError: as ``commands.start_session``.
    """
    allow = may_allow_ahead(user)
    return commands.start_session(_request(wanted), by=user.get_username(), may_allow=allow, via=via)


def refuse_unfit(user: Any, wanted: Mapping[str, Any]) -> None:
    """Check now what ``start`` is to start later.

    Raises:
        OrchestraError: ``start`` would fail now.
    """
    request = _request(wanted)
    commands.refuse_unfit(request, by=user.get_username(), may_allow=may_allow_ahead(user))
    problem = directory_problem(request.working_directory) if request.working_directory else ""
    if problem:
        raise InvalidSession(problem, {"working_directory": [problem]})


def _request(wanted: Mapping[str, Any]) -> SessionRequest:
    return SessionRequest(**{name: value for name, value in wanted.items() if value is not None})
