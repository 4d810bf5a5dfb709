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

LATELY = timedelta(minutes=2)  # begun and lifted within it, though no ring was heard, is still told
MARK = ("mode", "lifted_at")


class StopRows:
    """The stop in force, if there is one; one that was lifted is told once more."""

    created = changed = "stop.changed"

    def hears(self, topic: str, known: Row | None) -> bool:
        return topic == stops.TOPIC

    def marks(self) -> dict[str, object]:
        shown = Stop.objects.filter(Q(lifted_at__isnull=True) | Q(started_at__gt=Now() - LATELY))
        return {str(pk): tuple(mark) for pk, *mark in shown.order_by().values_list("pk", *MARK)}

    def rows(self, keys: Collection[str]) -> Sequence[Row]:
        return [_row(stop) for stop in Stop.objects.filter(pk__in=keys)]


def _row(stop: Stop) -> Row:
    return Row(
        key=str(stop.pk),
        text=wire.text({"stopped": stop.is_in_force, **StopSerializer(stop).data}),
        mark=tuple(getattr(stop, name) for name in MARK),
        listed=stop.is_in_force,
        rank=stop.started_at,
    )


def connect() -> None:
    """Called once when the app is ready. Everybody may know, also who only asks."""
    registry.show_rows("stop", StopRows(), rights=any_of(Right.READ, Right.ASK))
