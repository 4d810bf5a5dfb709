"""The REST surface of stopping all agents: ``/api/stop``."""

from typing import Any, ClassVar

from django.db.models import QuerySet
from drf_spectacular.types import OpenApiTypes
from drf_spectacular.utils import OpenApiParameter, extend_schema
from rest_framework import serializers
from rest_framework.request import Request
from rest_framework.response import Response

from approvals.errors import StopNotFound
from approvals.models import DecisionSource, Stop
from approvals.stop import commands as stops
from orchestra.auth.permissions import Right
from orchestra.rest.fields import Text
from orchestra.rest.idempotency import idempotent
from orchestra.rest.schema import change, read, write
from orchestra.rest.viewsets import OrchestraViewSet, any_of, id_or_not_found

WHICH = OpenApiParameter(
    "stop", OpenApiTypes.UUID, OpenApiParameter.QUERY, description="Lift this stop only, not a later one."
)


class StopSerializer(serializers.ModelSerializer[Stop]):
    """One period in which all agents were stopped."""

    started_by = serializers.CharField(read_only=True)
    started_via = serializers.ChoiceField(choices=DecisionSource.choices, read_only=True)
    lifted_via = serializers.ChoiceField(choices=DecisionSource.choices, allow_blank=True, read_only=True)

    class Meta:
        model = Stop
        fields = [
            "id", "started_at", "started_by", "started_via", "reason", "mode", "lifted_at", "lifted_by", "lifted_via",
        ]  # fmt: skip
        read_only_fields = fields


class StopStateSerializer(serializers.Serializer[Any]):
    """Whether all agents are stopped, and the stop that is in force or was just lifted."""

    stopped = serializers.BooleanField(read_only=True)
    stop = StopSerializer(allow_null=True, read_only=True)


class StopAllSerializer(serializers.Serializer[Any]):
    """The reason, and what happens to running turns."""

    reason = Text(max_length=stops.LONGEST_REASON, required=False, allow_blank=True, default="")
    mode = serializers.ChoiceField(
        choices=Stop.Mode.choices, required=False, default=stops.HOLD,
        help_text="hold: each tool call of a running turn waits; interrupt: running turns end.",
    )  # fmt: skip


@extend_schema(tags=["stop"])
class StopViewSet(OrchestraViewSet):
    """Stopping all agents, and lifting the stop."""

    methods: ClassVar[dict[str, Any]] = {"get": "show", "post": "stop", "delete": "lift"}
    queryset = Stop.objects.none()
    serializer_class = StopStateSerializer
    basename = "stop"
    rights = {
        "show": any_of(Right.READ, Right.ASK),
        "stop": stops.MAY_STOP,
        "lift": stops.MAY_LIFT,
    }

    def get_queryset(self) -> QuerySet[Stop]:
        return Stop.objects.all()

    @read("Whether all agents are stopped", StopStateSerializer)
    def show(self, request: Request) -> Response:
        return state(stops.current_stop())

    @write("Stop all agents", StopAllSerializer, StopStateSerializer, example={"reason": "the disk is full"})
    @idempotent
    def stop(self, request: Request) -> Response:
        """Stop all agents.

        If they are stopped already, return that stop; ``interrupt`` upgrades one with mode hold.
        """
        wanted = self.body(StopAllSerializer)
        made, _ = stops.stop_all(by=self.username, via=DecisionSource.API, address=self.address, **wanted)
        return state(made)

    @extend_schema(parameters=[WHICH])
    @change("Lift the stop", None, StopStateSerializer)
    def lift(self, request: Request) -> Response:
        """Lift the stop in force, if any; ``stop`` names the one that the caller saw."""
        named = request.query_params.get("stop")
        stop_id = id_or_not_found(named, StopNotFound, "Stop not found") if named else None
        return state(stops.lift_stop(by=self.username, via=DecisionSource.API, stop_id=stop_id, address=self.address))


def state(stop: Stop | None) -> Response:
    in_force = stop is not None and stop.is_in_force
    return Response({"stopped": in_force, "stop": StopSerializer(stop).data if stop else None})
