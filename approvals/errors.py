"""What the approvals app refuses."""

from orchestra.errors import Conflict, Forbidden, Invalid, NotFound, OrchestraError


class ApprovalNotFound(NotFound):
    """No such approval."""

    code = "approval_not_found"


class ViolationNotFound(NotFound):
    """No such violation."""

    code = "violation_not_found"


class ApprovalClosed(Conflict):
    """Answered before; the facts name the winner, the door and the time."""

    code = "approval_closed"


class ApprovalExpired(Conflict):
    """Its deadline has passed, whether or not a sweep ran."""

    code = "approval_expired"


class NotReopenable(Conflict):
    """It cannot be asked again; the sentence says why."""

    code = "not_reopenable"


class DigestMismatch(Conflict):
    """The caller looked at another input than the one that would run."""

    code = "digest_mismatch"


class SelfApproval(Forbidden):
    """Nobody decides what they requested themselves."""

    code = "self_approval"


class InvalidDecision(Invalid):
    """The answer does not fit the question."""


class StopNotFound(NotFound):
    """No such stop."""

    code = "stop_not_found"


class AnotherStop(Conflict):
    """The stop that somebody wants to lift was lifted, and another one is in force."""

    code = "another_stop"


class CallbackNotAccepted(OrchestraError):
    """The far side of a callback did not take it. ``gone``: it never will."""

    code = "not_taken"

    def __init__(self, detail: str, *, gone: bool = False) -> None:
        super().__init__(detail)
        self.gone = gone
