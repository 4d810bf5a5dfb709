"""How long people have to decide, and requests without a deadline.

A request that never expires has the deadline ``NEVER``. That is an ordinary time, so that every
order, index and comparison of deadlines works unchanged. No surface shows it.
"""

from datetime import UTC, datetime, timedelta
from typing import Final

from django.conf import settings

from approvals.errors import InvalidDecision
from orchestra.db import sql

NEVER: Final = datetime(9999, 12, 31, tzinfo=UTC)
FOREVER: Final = timedelta.max
"""The timeout of a request that never expires."""
NEVER_WORDS = "Never expires"
EXTENSION_MINUTES = 15
"""What the Extend button of every surface adds."""
NOT_ALLOWED = "0 means that it never expires, which APPROVAL_ALLOW_NEVER_EXPIRES does not allow here."


def time_of(minutes: float | None) -> timedelta | None:
    """Convert ``timeout_minutes``: 0 becomes ``FOREVER``, None stays None."""
    if minutes is None:
        return None
    return timedelta(minutes=minutes) if minutes else FOREVER


def timeout_problem(minutes: float | None) -> str:
    """Return what is wrong with ``timeout_minutes`` as a sentence, or an empty text if it is
    allowed or not given.

    A timeout above the maximum is refused, not shortened: otherwise the requester would learn of it
    by an early expiry.
    """
    most = settings.APPROVALS.max_timeout / timedelta(minutes=1)
    if minutes is None or 0 < minutes <= most:
        return ""
    if minutes == 0:
        return "" if settings.APPROVALS.allow_never_expires else NOT_ALLOWED
    return f"A number of minutes above 0 and up to {most:g}, the maximum (APPROVAL_MAX_TIMEOUT_MINUTES)."


def allowed_time(wanted: timedelta | None) -> timedelta:
    """Return ``wanted`` or the default timeout, limited to what the settings allow."""
    if wanted == FOREVER and settings.APPROVALS.allow_never_expires:
        return FOREVER
    shorter: timedelta = min(wanted or settings.APPROVALS.timeout, settings.APPROVALS.max_timeout)
    return shorter


def deadline_after(time: timedelta) -> sql.Statement:
    """Return the SQL expression for the deadline of a request that is made now."""
    return sql.Statement("%s", (never_as_kept(),)) if time == FOREVER else sql.from_now(time)


def seconds_of(time: timedelta) -> float:
    """Return ``time`` plus the grace period in seconds; infinity for ``FOREVER``."""
    if time == FOREVER:
        return float("inf")
    total: float = time.total_seconds() + settings.APPROVALS.grace.total_seconds()
    return total


def never_as_kept() -> object:
    """Return ``NEVER`` as the database stores it: SQLite has no type for times and compares texts."""
    from django.db import connection

    return connection.ops.adapt_datetimefield_value(NEVER)


def refuse_never() -> None:
    """
    Raises:
        InvalidDecision: the settings do not allow requests that never expire.
    """
    if not settings.APPROVALS.allow_never_expires:
        raise InvalidDecision(NOT_ALLOWED, {"minutes": ["0 is not allowed here"]})
