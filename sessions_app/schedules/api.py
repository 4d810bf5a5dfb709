"""Serializers and REST views of schedules."""

from dataclasses import replace
from typing import Any
from uuid import UUID

from django.db.models import QuerySet
from django_filters import rest_framework as filters
from drf_spectacular.utils import extend_schema, extend_schema_field
from rest_framework import serializers
from rest_framework.decorators import action
from rest_framework.request import Request
from rest_framework.response import Response

from orchestra.auth.permissions import Right
from orchestra.rest.fields import NothingSerializer, StoredObject, Text, Truth, Whole
from orchestra.rest.idempotency import idempotent
from orchestra.rest.pagination import Ordering, StrictFilters
from orchestra.rest.schema import change, read, write
from orchestra.rest.viewsets import OrchestraViewSet, any_of, id_or_not_found
from sessions_app.errors import ScheduleNotFound
from sessions_app.models import Schedule, ScheduledRun
from sessions_app.rest.serializers import SessionRequestSerializer
from sessions_app.schedules import commands as schedules
from sessions_app.schedules.commands import LONGEST_S, SHORTEST_S, Timing

RUNS_SHOWN = 10
TIMING = tuple(Timing.__dataclass_fields__)


class ScheduledRunSerializer(serializers.ModelSerializer[ScheduledRun]):
    """The outcome of one due time; a missed one stands for ``number`` times."""

    class Meta:
        model = ScheduledRun
        fields = ["due_at", "status", "number", "session", "detail"]
        read_only_fields = fields


class ScheduleSerializer(serializers.ModelSerializer[Schedule]):
    """A schedule with its last outcomes, the newest first."""

    session = StoredObject(read_only=True, help_text="As the body of `POST /api/sessions`.")
    last_runs = serializers.SerializerMethodField()

    class Meta:
        model = Schedule
        fields = [
            "id", "title", "session", "cron", "every_seconds", "timezone", "overlap", "enabled", "requested_by",
            "next_due_at", "created_at", "last_runs",
        ]  # fmt: skip
        read_only_fields = fields

    @extend_schema_field(ScheduledRunSerializer(many=True))
    def get_last_runs(self, schedule: Schedule) -> Any:
        return ScheduledRunSerializer(schedule.runs.all()[:RUNS_SHOWN], many=True).data


class ScheduleChangeSerializer(serializers.Serializer[Any]):
    """The fields to change; omitted fields keep their values.

    ``session`` is replaced as a whole.
    """

    title = Text(required=False, allow_blank=True, max_length=200)
    session = SessionRequestSerializer(required=False)
    cron = Text(required=False, allow_blank=True, max_length=100, help_text="Five fields; `15 3 * * 1-5`.")
    every_seconds = Whole(required=False, allow_null=True, min_value=SHORTEST_S, max_value=LONGEST_S)
    timezone = Text(required=False, max_length=64, help_text="For cron; `Europe/Berlin`.")
    overlap = serializers.ChoiceField(choices=Schedule.Overlap.choices, required=False)
    enabled = Truth(required=False)


class ScheduleRequestSerializer(ScheduleChangeSerializer):
    """A new schedule: a session, and either ``cron`` or ``every_seconds``."""

    session = SessionRequestSerializer()


class ScheduleFilters(StrictFilters):
    """Filters of the list of schedules."""

    enabled = filters.BooleanFilter()
    requested_by = filters.CharFilter()
    ordering = Ordering(fields=["title", "created_at", "next_due_at"])


EXAMPLE = {
    "title": "Every night",
    "session": {"prompt": "Look for outdated dependencies", "agent": "demo"},
    "cron": "15 3 * * 1-5",
    "timezone": "Europe/Berlin",
}


@extend_schema(tags=["schedules"])
class ScheduleViewSet(OrchestraViewSet):
    """Sessions that are started repeatedly."""

    queryset = Schedule.objects.none()
    serializer_class = ScheduleSerializer
    filterset_class = ScheduleFilters
    rights = {
        "list": any_of(Right.READ),
        "create": any_of(Right.OPERATE),
        "retrieve": any_of(Right.READ),
        "partial_update": any_of(Right.OPERATE),
        "destroy": any_of(Right.OPERATE),
        "run": any_of(Right.OPERATE),
    }

    def get_queryset(self) -> QuerySet[Schedule]:
        return Schedule.objects.order_by("title", "id")

    @read("List schedules", ScheduleSerializer(many=True))
    def list(self, request: Request) -> Response:
        page = self.paginate_queryset(self.filter_queryset(self.get_queryset()))
        return self.get_paginated_response(ScheduleSerializer(page, many=True).data)

    @write("Schedule a session", ScheduleRequestSerializer, ScheduleSerializer, status=201, example=EXAMPLE)
    @idempotent
    def create(self, request: Request) -> Response:
        given = self.body(ScheduleRequestSerializer)
        timing = Timing(**{name: given[name] for name in TIMING if name in given})
        schedule = schedules.save_schedule(
            user=request.user, title=given.get("title", ""), session=given["session"], timing=timing
        )
        return Response(ScheduleSerializer(schedule).data, status=201)

    @read("Show a schedule", ScheduleSerializer)
    def retrieve(self, request: Request, pk: str) -> Response:
        return Response(ScheduleSerializer(schedules.find_schedule(_id(pk))).data)

    @change("Change a schedule", ScheduleChangeSerializer, ScheduleSerializer, example={"enabled": False})
    def partial_update(self, request: Request, pk: str) -> Response:
        given = self.body(ScheduleChangeSerializer)
        now = schedules.find_schedule(_id(pk))
        timing = replace(schedules.timing_of(now), **{name: given[name] for name in TIMING if name in given})
        if given.get("cron") and "every_seconds" not in given:
            timing = replace(timing, every_seconds=None)
        elif given.get("every_seconds") is not None and "cron" not in given:
            timing = replace(timing, cron="")
        schedule = schedules.save_schedule(
            schedule_id=now.pk,
            user=request.user,
            title=given.get("title", now.title),
            session=given.get("session", now.session),
            timing=timing,
        )
        return Response(ScheduleSerializer(schedule).data)

    @change("Delete a schedule", None, None, status=204)
    def destroy(self, request: Request, pk: str) -> Response:
        schedules.delete_schedule(schedule_id=_id(pk), user=request.user)
        return Response(status=204)

    @write("Start a schedule's session now", NothingSerializer, ScheduledRunSerializer)
    @action(detail=True, methods=["post"])
    @idempotent
    def run(self, request: Request, pk: str) -> Response:
        self.body(NothingSerializer)
        return Response(ScheduledRunSerializer(schedules.start_now(schedule_id=_id(pk), user=request.user)).data)


def _id(pk: str) -> UUID:
    return id_or_not_found(pk, ScheduleNotFound, "Schedule not found")
