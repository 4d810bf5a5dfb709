"""Signs of life of what runs now and then, kept where every process sees them."""

from collections.abc import Mapping
from datetime import timedelta
from typing import Any

from django.db.models import DurationField, ExpressionWrapper, F
from django.db.models.functions import Now

from orchestra.models import Lease


def touch(name: str) -> None:
    """Write down that ``name`` was alive just now, by the database's clock; one statement."""
    _write(Lease(name=name, updated_at=Now()), "updated_at")


def note(name: str, state: Mapping[str, Any]) -> None:
    """As `touch`, and keep what there is to say: a few facts that JSON can hold."""
    _write(Lease(name=name, state=dict(state), updated_at=Now()), "updated_at", "state")


def noted(name: str) -> dict[str, Any]:
    """What was said there last; nothing if nobody ever did."""
    said: dict[str, Any] | None = Lease.objects.filter(name=name).values_list("state", flat=True).first()
    return said or {}


def ages(prefix: str) -> dict[str, float]:
    """Seconds since each name that begins with ``prefix`` was touched, by the database's clock."""
    age = ExpressionWrapper(Now() - F("updated_at"), output_field=DurationField())
    found = Lease.objects.filter(name__startswith=prefix).annotate(age=age)
    return {name: max(0.0, age.total_seconds()) for name, age in found.values_list("name", "age")}


def touched_within(name: str, age: timedelta) -> bool:
    """Whether ``name`` gave a sign of life no longer than ``age`` ago."""
    return Lease.objects.filter(name=name, updated_at__gt=Now() - age).exists()


def _write(lease: Lease, *fields: str) -> None:
    Lease.objects.bulk_create([lease], update_conflicts=True, unique_fields=["name"], update_fields=fields)
