"""What every door that takes sessions as JSON does alike: from a checked body to ``start_session``."""

from collections.abc import Mapping
from typing import Any

from django.conf import settings

from orchestra.errors import Forbidden
from orchestra.rights import Right, may
from sessions_app import commands
from sessions_app.commands import SessionRequest
from sessions_app.models import AgentSession


def start(user: Any, wanted: Mapping[str, Any]) -> AgentSession:
    """Start the session ``wanted``, which ``SessionRequestSerializer`` has checked, as far as ``user`` may.

    Raises:
        Forbidden: settings of the CLI's own are an administrator's to open.
        OrchestraError: as ``commands.start_session``.
    """
    request = SessionRequest(**{name: value for name, value in wanted.items() if value is not None})
    if request.setting_sources and not may(user, Right.ADMINISTER):
        raise Forbidden("Only an administrator may let an agent read settings of its own.")
    may_allow = settings.APPROVALS.self_approval and may(user, Right.DECIDE)
    return commands.start_session(request, by=user.get_username(), may_allow=may_allow)
