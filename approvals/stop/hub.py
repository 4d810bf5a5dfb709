"""The stop of all agents on the hub: the topic ``stop``."""

from collections.abc import Collection, Sequence
from datetime import timedelta

from django.db.models import Q
from django.db.models.functions import Now

from approvals.models import Stop
from approvals.stop import commands as stops
from approvals.stop.api import StopSerializer
from orchestra.auth.permissions import Right
from orchestra.realtime import registry, wire
from orchestra.realtime.registry import Row
from orchestra.rest.viewsets import any_of

RECENTLY = timedelta(minutes=2)  # stops started and lifted within it are sent even if every notification was lost
FINGERPRINT = ("mode", "lifted_at")


class StopRows:
    """The stop in force, if there is one; a lifted one is sent once more."""

    created = changed = "stop.changed"

    def is_affected_by(self, topic: str, known: Row | None) -> bool:
        return topic == stops.TOPIC

    def fingerprints(self) -> dict[str, object]:
        shown = Stop.objects.filter(Q(lifted_at__isnull=True) | Q(started_at__gt=Now() - RECENTLY))
        return {str(pk): tuple(values) for pk, *values in shown.order_by().values_list("pk", *FINGERPRINT)}

    def rows(self, keys: Collection[str]) -> Sequence[Row]:
        return [_row(stop) for stop in Stop.objects.filter(pk__in=keys)]


def _row(stop: Stop) -> Row:
    return Row(
        key=str(stop.pk),
        json_text=wire.text({"stopped": stop.is_in_force, **StopSerializer(stop).data}),
        fingerprint=tuple(getattr(stop, name) for name in FINGERPRINT),
        is_listed=stop.is_in_force,
        sort_key=stop.started_at,
    )


def connect() -> None:
    """Register the topic. Every account with a right may see it, also one that only creates requests."""
    registry.register_rows("stop", StopRows(), rights=any_of(Right.READ, Right.ASK))
