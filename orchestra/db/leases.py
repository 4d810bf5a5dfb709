"""What one process owns at a time, and signs of life of what runs now and then, kept where every process sees them."""

from collections.abc import Mapping
from datetime import timedelta
from typing import Any

from django.db import transaction
from django.db.models import DurationField, ExpressionWrapper, F, Q
from django.db.models.functions import Now

from orchestra.models import Lease


def touch(name: str) -> None:
    """Write down that ``name`` was alive just now, by the database's clock; one statement."""
    _write(Lease(name=name, updated_at=Now()), "updated_at")


def write_state(name: str, state: Mapping[str, Any]) -> None:
    """As `touch`, and keep what there is to say: a few facts that JSON can hold."""
    _write(Lease(name=name, state=dict(state), updated_at=Now()), "updated_at", "state")


def read_state(name: str) -> dict[str, Any]:
    """What was said there last; nothing if nobody ever did."""
    said: dict[str, Any] | None = Lease.objects.filter(name=name).values_list("state", flat=True).first()
    return said or {}


def ages(prefix: str) -> dict[str, float]:
    """Seconds since each name that begins with ``prefix`` was touched, by the database's clock."""
    age = ExpressionWrapper(Now() - F("updated_at"), output_field=DurationField())
    found = Lease.objects.filter(name__startswith=prefix).annotate(age=age)
    return {name: max(0.0, age.total_seconds()) for name, age in found.values_list("name", "age")}


def was_touched_within(name: str, age: timedelta) -> bool:
    """Whether ``name`` gave a sign of life no longer than ``age`` ago."""
    return Lease.objects.filter(name=name, updated_at__gt=Now() - age).exists()


def acquire(name: str, owner: str, lasts: timedelta) -> int | None:
    """Become the owner of ``name`` for ``lasts``; the new fence, or None while somebody else owns it.

    One conditional UPDATE by the database's clock, so of two that try at once one is told None.
    """
    free = Q(expires_at=None) | Q(expires_at__lte=Now())
    changes = {"owner": owner, "fence": F("fence") + 1, "expires_at": Now() + lasts, "updated_at": Now()}
    Lease.objects.bulk_create([Lease(name=name)], ignore_conflicts=True)
    if not Lease.objects.filter(free, name=name).update(**changes):
        return None
    return Lease.objects.values_list("fence", flat=True).get(name=name)


def renew(name: str, owner: str, fence: int, lasts: timedelta) -> bool:
    """Own ``name`` for ``lasts`` from now; False if it was lost to somebody else in the meantime."""
    mine = Lease.objects.filter(name=name, owner=owner, fence=fence)
    return bool(mine.update(expires_at=Now() + lasts, updated_at=Now()))


def release(name: str, owner: str, fence: int) -> None:
    """Let the next one have it at once."""
    Lease.objects.filter(name=name, owner=owner, fence=fence).update(expires_at=None)


def is_held(name: str) -> bool:
    """Whether somebody owns ``name`` now."""
    return Lease.objects.filter(name=name, expires_at__gt=Now()).exists()


def merge_state(name: str, **facts: object) -> None:
    """As `note`, beside what is kept there already; it is no sign of life."""
    with transaction.atomic():
        lease, _ = Lease.objects.select_for_update().get_or_create(name=name)
        Lease.objects.filter(name=name).update(state=lease.state | facts)


def _write(lease: Lease, *fields: str) -> None:
    Lease.objects.bulk_create([lease], update_conflicts=True, unique_fields=["name"], update_fields=fields)
