"""Leases (a name that one process owns at a time) and timestamps of periodic work, in the database.

All times are the database's, so the clocks of the hosts do not matter.
"""

from collections.abc import Mapping
from datetime import timedelta
from typing import Any

from django.db import transaction
from django.db.models import DurationField, ExpressionWrapper, F, Q
from django.db.models.functions import Now

from orchestra.models import Lease


def touch(name: str) -> None:
    """Record the present time for ``name``, in one statement."""
    _write(Lease(name=name, updated_at=Now()), "updated_at")


def write_state(name: str, state: Mapping[str, Any]) -> None:
    """Record the present time for ``name`` and replace its state, a few JSON values."""
    _write(Lease(name=name, state=dict(state), updated_at=Now()), "updated_at", "state")


def read_state(name: str) -> dict[str, Any]:
    """Return the last recorded state of ``name``, or an empty dict."""
    state: dict[str, Any] | None = Lease.objects.filter(name=name).values_list("state", flat=True).first()
    return state or {}


def ages(prefix: str) -> dict[str, float]:
    """Return, for each name that begins with ``prefix``, the seconds since it was touched."""
    age = ExpressionWrapper(Now() - F("updated_at"), output_field=DurationField())
    found = Lease.objects.filter(name__startswith=prefix).annotate(age=age)
    return {name: max(0.0, age.total_seconds()) for name, age in found.values_list("name", "age")}


def was_touched_within(name: str, age: timedelta) -> bool:
    """Return whether ``name`` was touched less than ``age`` ago."""
    return Lease.objects.filter(name=name, updated_at__gt=Now() - age).exists()


def acquire(name: str, owner: str, lasts: timedelta) -> int | None:
    """Make ``owner`` the owner of ``name`` for ``lasts``; return the new fencing token, or None if
    the lease is held.

    One conditional UPDATE decides, so of two concurrent callers at most one gets a token.
    """
    free = Q(expires_at=None) | Q(expires_at__lte=Now())
    changes = {"owner": owner, "fence": F("fence") + 1, "expires_at": Now() + lasts, "updated_at": Now()}
    Lease.objects.bulk_create([Lease(name=name)], ignore_conflicts=True)
    if not Lease.objects.filter(free, name=name).update(**changes):
        return None
    return Lease.objects.values_list("fence", flat=True).get(name=name)


def renew(name: str, owner: str, fence: int, lasts: timedelta) -> bool:
    """Extend the lease to ``lasts`` from now; return False if another owner has acquired it."""
    mine = Lease.objects.filter(name=name, owner=owner, fence=fence)
    return bool(mine.update(expires_at=Now() + lasts, updated_at=Now()))


def release(name: str, owner: str, fence: int) -> None:
    """End the lease now, so that another owner can acquire it without waiting; a lost lease is left
    alone.
    """
    Lease.objects.filter(name=name, owner=owner, fence=fence).update(expires_at=None)


def is_held(name: str) -> bool:
    """Return whether a process owns ``name`` now."""
    return Lease.objects.filter(name=name, expires_at__gt=Now()).exists()


def merge_state(name: str, **facts: object) -> None:
    """Merge ``facts`` into the state of ``name``, without recording the present time."""
    with transaction.atomic():
        lease, _ = Lease.objects.select_for_update().get_or_create(name=name)
        Lease.objects.filter(name=name).update(state=lease.state | facts)


def _write(lease: Lease, *fields: str) -> None:
    Lease.objects.bulk_create([lease], update_conflicts=True, unique_fields=["name"], update_fields=fields)
