"""Signs of life of what runs now and then, kept where every process sees them."""

from datetime import timedelta

from django.db.models.functions import Now

from orchestra.models import Lease


def touch(name: str) -> None:
    """Write down that ``name`` was alive just now, by the database's clock; one statement."""
    Lease.objects.bulk_create(
        [Lease(name=name, updated_at=Now())],
        update_conflicts=True,
        unique_fields=["name"],
        update_fields=["updated_at"],
    )


def touched_within(name: str, age: timedelta) -> bool:
    """Whether ``name`` gave a sign of life no longer than ``age`` ago."""
    return Lease.objects.filter(name=name, updated_at__gt=Now() - age).exists()
