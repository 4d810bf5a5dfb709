"""The errors of the approvals app; ``orchestra.rest`` maps each to an HTTP status."""

from orchestra.errors import Conflict, Forbidden, Invalid, NotFound, OrchestraError


class ApprovalNotFound(NotFound):
    """There is no approval with this id."""

    code = "approval_not_found"


class ViolationNotFound(NotFound):
    """There is no violation with this id."""

    code = "violation_not_found"


class ApprovalClosed(Conflict):
    """The approval was decided before; the facts name the decider, the surface and the time."""

    code = "approval_closed"


class ApprovalExpired(Conflict):
    """The deadline of the approval has passed, whether or not a sweep has closed it."""

    code = "approval_expired"


class NotReopenable(Conflict):
    """The request cannot be reopened; ``detail`` gives the reason."""

    code = "not_reopenable"


class DigestMismatch(Conflict):
    """The digest that the caller sent is not that of the input that would run."""

    code = "digest_mismatch"


class SelfApproval(Forbidden):
    """The caller requested this approval, and self-approval is off."""

    code = "self_approval"


class InvalidDecision(Invalid):
    """The decision does not fit the request; ``fields`` names the wrong parts."""


class StopNotFound(NotFound):
    """There is no stop with this id."""

    code = "stop_not_found"


class AnotherStop(Conflict):
    """The stop that the caller named was lifted before, and another one is in force."""

    code = "another_stop"


class CallbackNotAccepted(OrchestraError):
    """The receiver of a callback did not accept it. ``gone``: it will accept no repeat either."""

    code = "not_taken"

    def __init__(self, detail: str, *, gone: bool = False) -> None:
        super().__init__(detail)
        self.gone = gone
