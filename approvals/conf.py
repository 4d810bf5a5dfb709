"""How long people get to answer; units are in the variables' names."""

from dataclasses import dataclass, field
from datetime import timedelta
from typing import Self

from environ import Env

from approvals.addresses import Place, places


@dataclass(frozen=True, slots=True, kw_only=True)
class ApprovalSettings:
    """Deadlines, sweeps and who may answer whom."""

    timeout: timedelta
    max_timeout: timedelta
    warning: timedelta
    grace: timedelta
    check_interval: timedelta
    sweep_batch: int
    max_concurrent_timeouts: int
    hold: timedelta
    self_approval: bool
    callback_places: frozenset[Place] = frozenset()
    callback_secret: str = field(default="", repr=False)

    @classmethod
    def from_env(cls, env: Env, *, embedded: bool) -> Self:
        return cls(
            timeout=timedelta(minutes=env.float("APPROVAL_DEFAULT_TIMEOUT_MINUTES", default=30)),
            max_timeout=timedelta(minutes=env.float("APPROVAL_MAX_TIMEOUT_MINUTES", default=120)),
            warning=timedelta(minutes=env.float("APPROVAL_WARNING_MINUTES", default=5)),
            grace=timedelta(seconds=env.float("APPROVAL_GRACE_PERIOD_SECONDS", default=0)),
            check_interval=timedelta(seconds=env.float("APPROVAL_CHECK_INTERVAL_SECONDS", default=30)),
            sweep_batch=env.int("APPROVAL_SWEEP_BATCH", default=200),
            max_concurrent_timeouts=env.int("APPROVAL_MAX_CONCURRENT_TIMEOUTS", default=10),
            hold=timedelta(seconds=env.float("APPROVAL_HOLD_SECONDS", default=300)),
            callback_places=places(env.list("APPROVAL_CALLBACK_HOSTS", default=[])),
            callback_secret=env("APPROVAL_CALLBACK_SECRET", default=""),
            self_approval=env.bool("ORCHESTRA_SELF_APPROVAL", default=embedded),
        )
