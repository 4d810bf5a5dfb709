"""What the sessions app refuses."""

from orchestra.errors import Conflict, Forbidden, Invalid, NotFound, OrchestraError


class SessionNotFound(NotFound):
    """No such session."""

    code = "session_not_found"


class SessionBusy(Conflict):
    """A turn of the dialog is still open."""

    code = "session_busy"


class SessionCancelled(Conflict):
    """The dialog was ended for good."""

    code = "session_cancelled"


class SessionFull(Conflict):
    """Its transcript is as long as it may be."""

    code = "session_full"


class AgentUnready(Conflict):
    """No host can run this agent now."""

    code = "agent_unready"


class NotLoggedIn(AgentUnready):
    """Its CLI is not logged in."""

    code = "not_logged_in"


class CliMissing(AgentUnready):
    """Its CLI was not found."""

    code = "cli_missing"


class UnfitAgent(AgentUnready):
    """Its CLI does not hold a call when it is told to, or cannot be used for another reason."""

    code = "agent_unfit"


class ScheduleNotFound(NotFound):
    """No such schedule."""

    code = "schedule_not_found"


class InvalidSession(Invalid):
    """What was asked for cannot be a session; ``fields`` says why."""


class CommandRefused(Invalid):
    """A command of the CLI's own terminal was sent as a prompt; ``detail`` says what to do instead."""

    code = "command_refused"

    def __init__(self, detail: str) -> None:
        super().__init__(detail, {"prompt": [detail]})


class AttachmentRefused(Invalid):
    """A file cannot be attached to a prompt; ``detail`` says which, and why."""

    code = "attachment_refused"

    def __init__(self, detail: str) -> None:
        super().__init__(detail, {"attachments": [detail]})


class NotYours(Forbidden):
    """Allowing tools in advance needs the right to decide one's own requests."""

    code = "self_approval"


class SettingsNotAllowed(Forbidden):
    """A session that reads the CLI's own settings is an administrator's to start and to write into."""

    code = "settings_not_allowed"


class StaleFence(OrchestraError):
    """This supervisor no longer owns its session; whatever it was about to write is void."""

    code = "stale_fence"
