"""The settings of approvals, read from the environment once; the variables' names carry the units."""

from dataclasses import dataclass, field
from datetime import timedelta
from typing import Self

from approvals.callbacks.addresses import Place, places
from orchestra.environment import Environment


@dataclass(frozen=True, slots=True, kw_only=True)
class ApprovalSettings:
    """Deadlines, sweeps, callbacks, and whether people may decide their own requests.

    ``hold`` is how long an agent process waits for a decision before its session is parked.
    """

    timeout: timedelta
    max_timeout: timedelta
    warning: timedelta
    grace: timedelta
    check_interval: timedelta
    sweep_batch: int
    max_concurrent_timeouts: int
    hold: timedelta
    self_approval: bool
    allow_never_expires: bool = False
    reminder: timedelta = timedelta(days=1)
    callback_places: frozenset[Place] = frozenset()
    callback_secret: str = field(default="", repr=False)

    @classmethod
    def from_env(cls, env: Environment, *, embedded: bool) -> Self:
        longest = env.number("APPROVAL_MAX_TIMEOUT_MINUTES", default=120, least=0.001)
        usual = env.number("APPROVAL_DEFAULT_TIMEOUT_MINUTES", default=min(30, longest), least=0.001)
        return cls(
            timeout=timedelta(minutes=usual),
            max_timeout=timedelta(minutes=longest),
            warning=timedelta(minutes=env.number("APPROVAL_WARNING_MINUTES", default=5)),
            grace=timedelta(seconds=env.number("APPROVAL_GRACE_PERIOD_SECONDS", default=0)),
            check_interval=timedelta(seconds=env.number("APPROVAL_CHECK_INTERVAL_SECONDS", default=30, least=0.1)),
            sweep_batch=env.integer("APPROVAL_SWEEP_BATCH", default=200, least=1),
            max_concurrent_timeouts=env.integer("APPROVAL_MAX_CONCURRENT_TIMEOUTS", default=10, least=1),
            allow_never_expires=env.switch("APPROVAL_ALLOW_NEVER_EXPIRES", default=False),
            reminder=timedelta(minutes=env.number("APPROVAL_REMINDER_MINUTES", default=1440, least=0)),
            hold=timedelta(seconds=env.number("APPROVAL_HOLD_SECONDS", default=300)),
            callback_places=places(env.list("APPROVAL_CALLBACK_HOSTS", default=[])),
            callback_secret=env("APPROVAL_CALLBACK_SECRET", default=""),
            self_approval=env.switch("ORCHESTRA_SELF_APPROVAL", default=embedded),
        )
