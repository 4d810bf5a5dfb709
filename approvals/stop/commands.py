"""Stopping all agents at once, and lifting the stop.

The state is in the database alone, so a stop needs no other service and survives every restart.
While a stop is in force, no tool call is newly allowed (by a person, a rule or a default), no turn
starts, and the deadlines of open requests stand still. Calls that were allowed before may finish.
Decisions are still recorded; what they allow runs after the stop is lifted.
"""

import logging
from datetime import datetime, timedelta
from functools import partial
from uuid import UUID

from django.db import connection, transaction
from django.db.models import (
    BooleanField,
    DateTimeField,
    DurationField,
    Exists,
    ExpressionWrapper,
    F,
    Q,
    Subquery,
    Value,
)
from django.db.models.expressions import Combinable, RawSQL
from django.db.models.functions import Coalesce, Greatest, Now

from approvals.deadlines import NEVER
from approvals.errors import AnotherStop, StopNotFound
from approvals.models import Approval, AuditEntry, Stop, StopSwitch
from approvals.signals import agents_stopping, stop_changed
from orchestra.auth.permissions import Right
from orchestra.db import notify, sql

logger = logging.getLogger(__name__)

TOPIC = "stop"  # of the notification
MAY_STOP = frozenset({Right.OPERATE, Right.DECIDE})
MAY_LIFT = frozenset({Right.DECIDE})
NO_REASON = "no reason given"
LONGEST_REASON = 1000  # characters

HOLD, INTERRUPT = Stop.Mode.HOLD, Stop.Mode.INTERRUPT
_IN_FORCE = "FROM stops WHERE lifted_at IS NULL"


# --- commands


def stop_all(*, by: str, via: str, reason: str = "", mode: str = HOLD, address: str = "") -> tuple[Stop, bool]:
    """Stop all agents; return the stop in force, and whether this call made it.

    A stop that is in force stays as it is, except that ``interrupt`` upgrades one with mode hold.
    When this returns, every call that was being allowed at the same moment is either committed or
    held.
    """
    with transaction.atomic():
        switch = _locked_switch()
        if switch.stop is None:
            kept = reason.replace("\0", "\ufffd")[:LONGEST_REASON]  # PostgreSQL keeps no NUL
            stop = Stop.objects.create(started_by=by, started_via=via, reason=kept, mode=mode)
            stop.refresh_from_db()
            StopSwitch.objects.filter(pk=switch.pk).update(stop=stop)
            _announce(stop, "agents_stopped", by, via, address, f"{in_words(stop)}: {stop.reason or NO_REASON}")
        elif mode == INTERRUPT and switch.stop.mode == HOLD:
            stop = switch.stop
            stop.mode = INTERRUPT
            stop.save(update_fields=["mode"])
            _announce(stop, "stop_changed", by, via, address, f"{stop}; {in_words(stop)}")
        else:
            return switch.stop, False
        agents_stopping.send(sender=Stop, stop=stop)
    logger.warning("agents stopped by %s via %s, mode %s: %s", by, via, mode, stop.reason or NO_REASON)
    return stop, switch.stop is None


def lift_stop(*, by: str, via: str, stop_id: UUID | None = None, address: str = "") -> Stop | None:
    """Lift the stop in force and return it, or None if none was in force.

    ``stop_id`` names the stop that ``by`` saw; if it was lifted before and no other is in force,
    nothing changes. The deadline of each open request moves by the time in which it stood still.

    Raises:
        StopNotFound: there is no such stop.
        AnotherStop: ``stop_id`` was lifted before, and another stop is in force.
    """
    with transaction.atomic():
        switch = _locked_switch()
        stop = switch.stop
        if stop_id is not None and (stop is None or stop.pk != stop_id):
            return _lifted_before(stop_id, stop)
        if stop is None:
            return None
        Stop.objects.filter(pk=stop.pk).update(lifted_at=Now(), lifted_by=by, lifted_via=via)
        stop.refresh_from_db()
        StopSwitch.objects.filter(pk=switch.pk).update(stop=None)
        shifted = _shift_deadlines(stop)
        _announce(stop, "stop_lifted", by, via, address, f"{stop}; {shifted} deadlines moved")
    logger.warning("stop lifted by %s via %s after %s; %d deadlines moved", by, via, lasted(stop), shifted)
    return stop


# --- queries


def current_stop() -> Stop | None:
    return Stop.objects.filter(lifted_at__isnull=True).first()


def earlier_stops(*, most: int) -> list[Stop]:
    """Return lifted stops, the newest first."""
    return list(Stop.objects.filter(lifted_at__isnull=False)[:most])


def is_stopped() -> bool:
    return Stop.objects.filter(lifted_at__isnull=True).exists()


def find_stop(stop_id: UUID) -> Stop:
    """
    Raises:
        StopNotFound: there is no such stop.
    """
    found = Stop.objects.filter(pk=stop_id).first()
    if found is None:
        raise StopNotFound("Stop not found")
    return found


def in_words(stop: Stop) -> str:
    """Describe what the stop does to running turns."""
    return str(Stop.Mode(stop.mode).label)


def lasted(stop: Stop) -> timedelta:
    """Return how long a lifted stop was in force, in whole seconds."""
    end = stop.lifted_at or stop.started_at
    return timedelta(seconds=round((end - stop.started_at).total_seconds()))


def frozen_since(moment: datetime) -> timedelta:
    """Return how long deadlines stood still since ``moment``, in stops that are lifted."""
    stops = Stop.objects.filter(lifted_at__gt=moment).values_list("started_at", "lifted_at")
    return sum((lifted - max(started, moment) for started, lifted in stops if lifted), timedelta())


# --- SQL conditions and clocks for other modules


def not_stopped() -> sql.Statement:
    """Return an SQL condition that is true while no stop is in force, for a statement that allows a
    call.

    On PostgreSQL it locks the switch until the transaction ends: a stop waits for the calls that
    were first, and later calls wait for the stop and see it. SQLite has one writer at a time and
    needs no lock.
    """
    lock = " FOR SHARE" if connection.features.has_select_for_update else ""
    return sql.Statement(f"COALESCE((SELECT stop_id IS NULL FROM stop_switch WHERE id = 1{lock}), TRUE)")  # noqa: S608


def when_not_stopped() -> RawSQL:
    """Return ``not_stopped`` as a condition for ``filter``."""
    condition = not_stopped()
    return RawSQL(condition.text, condition.values, output_field=BooleanField())  # noqa: S611 - constant text


def stop_in_force() -> Exists:
    """Return the opposite condition without a lock, for sweeps, which look again later."""
    return Exists(Stop.objects.filter(lifted_at__isnull=True))


def deadline_clock(shift: timedelta = timedelta()) -> sql.Statement:
    """Return the clock for deadlines, plus ``shift``: the database's time, which stands still
    during a stop.
    """
    seconds = shift.total_seconds()
    if connection.vendor == "postgresql":
        clock = f"COALESCE((SELECT started_at {_IN_FORCE}), STATEMENT_TIMESTAMP())"
        return sql.Statement(f"{clock} + %s * INTERVAL '1 second'", (seconds,))
    clock = f"COALESCE((SELECT started_at {_IN_FORCE}), 'NOW')"
    return sql.Statement(f"STRFTIME('%%Y-%%m-%%d %%H:%%M:%%f', {clock}, %s || ' seconds')", (seconds,))


def deadline_now() -> Coalesce:
    """Return ``deadline_clock`` as an ORM expression."""
    started = Stop.objects.filter(lifted_at__isnull=True).values("started_at")[:1]
    return Coalesce(Subquery(started), Now(), output_field=DateTimeField())


def deadline_now_of_row() -> Greatest:
    """Return the time from which the time left is computed.

    A request made during a stop has all its time left.
    """
    return Greatest(deadline_now(), F("created_at"))


# --- helpers


def make_switch(**_signal: object) -> None:
    """Create the single row; a receiver of ``post_migrate``.

    Without the row, the first stop could not wait for calls that are being allowed.
    """
    StopSwitch.objects.bulk_create([StopSwitch(pk=1)], ignore_conflicts=True)


def _locked_switch() -> StopSwitch:
    make_switch()
    return StopSwitch.objects.select_for_update().get(pk=1)


def _lifted_before(stop_id: UUID, in_force: Stop | None) -> Stop:
    earlier = find_stop(stop_id)
    if in_force is not None:
        raise AnotherStop(
            f"That stop was lifted by {earlier.lifted_by}; another one, by {in_force.started_by}, is in force.",
            stop=str(in_force.pk),
        )
    return earlier


def _shift_deadlines(stop: Stop) -> int:
    """Add to the deadline of each open request the time in which it stood still; return how many
    were moved.
    """
    asked_at: Combinable = Greatest(F("created_at"), Value(stop.started_at, output_field=DateTimeField()))
    lost = ExpressionWrapper(Value(stop.lifted_at, output_field=DateTimeField()) - asked_at, DurationField())
    ending = Q(status=Approval.Status.PENDING, expires_at__lt=NEVER)
    return Approval.objects.filter(ending).update(
        expires_at=ExpressionWrapper(F("expires_at") + lost, DateTimeField()),
        reminded_for=ExpressionWrapper(F("reminded_for") + lost, DateTimeField()),
    )


def _announce(stop: Stop, action: str, by: str, via: str, address: str, reason: str) -> None:
    """Write the audit entry, and notify with the commit."""
    AuditEntry.objects.create(action=action, won=True, by=by[:150], via=via, address=address[:200], reason=reason)
    notify.send(TOPIC, str(stop.pk))
    if not notify.is_suppressed():
        transaction.on_commit(partial(stop_changed.send_robust, sender=Stop, stop=stop), robust=True)
