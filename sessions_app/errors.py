"""Errors of the sessions app; each has a stable ``code``."""

from orchestra.errors import Conflict, Forbidden, Invalid, NotFound, OrchestraError


class SessionNotFound(NotFound):
    """No session has this id."""

    code = "session_not_found"


class SessionBusy(Conflict):
    """A turn of the session is still open."""

    code = "session_busy"


class SessionCancelled(Conflict):
    """The session was cancelled, which cannot be undone."""

    code = "session_cancelled"


class SessionFull(Conflict):
    """The session's transcript has reached its size limit."""

    code = "session_full"


class AgentUnready(Conflict):
    """No host can run this agent now."""

    code = "agent_unready"


class NotLoggedIn(AgentUnready):
    """The agent's CLI is not logged in."""

    code = "not_logged_in"


class CliMissing(AgentUnready):
    """The agent's CLI was not found."""

    code = "cli_missing"


class UnfitAgent(AgentUnready):
    """The agent's CLI failed the self-test, or cannot be used for another reason."""

    code = "agent_unfit"


class ScheduleNotFound(NotFound):
    """No schedule has this id."""

    code = "schedule_not_found"


class InvalidSession(Invalid):
    """The request for a session is invalid; ``fields`` maps each field to its problems."""


class CommandRefused(Invalid):
    """The prompt is a terminal command of the CLI; ``detail`` names what to do instead."""

    code = "command_refused"

    def __init__(self, detail: str) -> None:
        super().__init__(detail, {"prompt": [detail]})


class AttachmentRefused(Invalid):
    """A file cannot be attached to a prompt; ``detail`` names the file and the reason."""

    code = "attachment_refused"

    def __init__(self, detail: str) -> None:
        super().__init__(detail, {"attachments": [detail]})


class NotYours(Forbidden):
    """The requester allows tools in advance without the right to decide their own requests."""

    code = "self_approval"


class SettingsNotAllowed(Forbidden):
    """Only an administrator may start or continue a session that reads the CLI's own settings."""

    code = "settings_not_allowed"


class StaleFence(OrchestraError):
    """Another supervisor owns the session by now; the write with the old fencing token was refused."""

    code = "stale_fence"
