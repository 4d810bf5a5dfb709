"""The REST door of approvals: parse, call one command, render."""

import json
import time
from collections.abc import Awaitable, Callable, Mapping
from functools import wraps
from typing import Any
from uuid import UUID

from django.db.models import QuerySet
from django.http import HttpRequest
from django_filters import rest_framework as filters
from drf_spectacular.utils import extend_schema
from rest_framework.decorators import action
from rest_framework.request import Request
from rest_framework.response import Response

from approvals import commands, reopening
from approvals.callbacks import delivery
from approvals.deadlines import time_of
from approvals.errors import ApprovalNotFound
from approvals.models import Approval, DecisionSource
from approvals.queries import find_approval, readable_approvals
from approvals.rest import decisions
from approvals.rest.serializers import (
    ApprovalSerializer,
    ApproveSerializer,
    ExternalAskSerializer,
    MinutesSerializer,
    ReasonSerializer,
)
from orchestra.auth.permissions import Right, may
from orchestra.db.async_notify import in_request_thread, in_thread, listening
from orchestra.errors import Forbidden
from orchestra.rest.fields import NothingSerializer
from orchestra.rest.idempotency import idempotent
from orchestra.rest.pagination import Ordering, StrictFilters
from orchestra.rest.schema import query, read, write
from orchestra.rest.viewsets import OrchestraViewSet, any_of, id_or_not_found, query_number

S = Approval.Status
LONGEST_WAIT_S = 60
POLL_S = 1.0  # a lost ring costs so much
WAIT = query("wait", "Wait so many seconds for it to be closed.", least=0, most=LONGEST_WAIT_S)


class ApprovalFilters(StrictFilters):
    """What a list of approvals can be narrowed to."""

    status = filters.ChoiceFilter(choices=S.choices)
    session = filters.UUIDFilter()
    tool = filters.CharFilter(field_name="tool_name")
    risk = filters.ChoiceFilter(choices=Approval.Risk.choices)
    ordering = Ordering(fields=["created_at", "expires_at", "decided_at", "risk", "status"])


ASK_EXAMPLE = {
    "title": "Deploy version 1.4 to production?",
    "body": "The tests passed; the last deployment was on Monday.",
    "facts": {"version": "1.4", "commit": "0f8fad5b"},
    "options": ["now", "tonight"],
    "timeout_minutes": 30,
}


@extend_schema(tags=["approvals"])
class ApprovalViewSet(OrchestraViewSet):
    """Approval requests to people, and their decisions."""

    queryset = Approval.objects.none()
    serializer_class = ApprovalSerializer
    filterset_class = ApprovalFilters
    rights = {
        "list": any_of(Right.READ, Right.ASK),
        "create": any_of(Right.ASK),
        "retrieve": any_of(Right.READ, Right.ASK),
        "approve": any_of(Right.DECIDE),
        "reject": any_of(Right.DECIDE),
        "cancel": any_of(Right.OPERATE, Right.ASK),
        "extend": any_of(Right.DECIDE),
        "reopen": any_of(Right.DECIDE),
    }

    def get_queryset(self) -> QuerySet[Approval]:
        """All approvals for readers; an asker sees what it asked itself."""
        rows = readable_approvals().order_by("-created_at", "id")
        return rows if may(self.request.user, Right.READ) else rows.filter(requested_by=self.username)

    @read("List approvals", ApprovalSerializer(many=True))
    def list(self, request: Request) -> Response:
        page = self.paginate_queryset(self.filter_queryset(self.get_queryset()))
        return self.get_paginated_response(ApprovalSerializer(page, many=True).data)

    @write("Ask a person", ExternalAskSerializer, ApprovalSerializer, status=201, example=ASK_EXAMPLE)
    @idempotent
    def create(self, request: Request) -> Response:
        wanted = self.body(ExternalAskSerializer)
        minutes = wanted["timeout_minutes"]
        question = commands.Question(
            kind=Approval.Kind.EXTERNAL,
            title=wanted["title"],
            body=wanted["body"],
            facts=wanted["facts"],
            options=json.dumps(wanted["options"]) if wanted["options"] else "",
            requested_by=self.username,
        )
        timeout = time_of(minutes)
        if wanted["callback"]:
            asked = delivery.request_with_callback(
                question, timeout=timeout, via=DecisionSource.API, url=wanted["callback"]
            )
        else:
            asked = commands.request_approval(question, timeout=timeout, via=DecisionSource.API)
        return self.answer(asked, status=201)

    @read("Show an approval, at once or when it is closed", ApprovalSerializer, parameters=[WAIT])
    def retrieve(self, request: Request, pk: str) -> Response:
        """The approval; ``until_closed`` waits if the caller asked to."""
        query_number(request, "wait", default=0, least=0, most=LONGEST_WAIT_S)
        return self.answer(self.known_id(pk))

    @classmethod
    def as_view(cls, actions: Any = None, **initkwargs: Any) -> Any:
        """As always, but waiting for an answer happens on the event loop."""
        view = super().as_view(actions, **initkwargs)
        return until_closed(view) if "retrieve" in (actions or {}).values() else view

    @write(
        "Approve (or reject)", ApproveSerializer, ApprovalSerializer, example={"note": "use staging", "scope": "once"}
    )
    @action(detail=True, methods=["post"])
    @idempotent
    def approve(self, request: Request, pk: str) -> Response:
        return self.decide(pk, self.body(ApproveSerializer))

    @write("Reject", ReasonSerializer, ApprovalSerializer, example={"reason": "use a temporary folder"})
    @action(detail=True, methods=["post"])
    @idempotent
    def reject(self, request: Request, pk: str) -> Response:
        return self.decide(pk, {**self.body(ReasonSerializer), "approved": False})

    @write("Withdraw a request", NothingSerializer, ApprovalSerializer)
    @action(detail=True, methods=["post"])
    @idempotent
    def cancel(self, request: Request, pk: str) -> Response:
        self.body(NothingSerializer)
        approval = find_approval(self.known_id(pk))
        if approval.requested_by != self.username and not may(request.user, Right.ADMINISTER):
            raise Forbidden("Only the requester or an administrator withdraws an approval.")
        commands.cancel_approval(approval_id=approval.pk, by=self.username, via=DecisionSource.API)
        return self.answer(approval.pk)

    @write("Ask a closed request again", NothingSerializer, ApprovalSerializer)
    @action(detail=True, methods=["post"])
    @idempotent
    def reopen(self, request: Request, pk: str) -> Response:
        """The request that is open then: the new one, or the one that somebody has opened already."""
        self.body(NothingSerializer)
        fresh = reopening.reopen_approval(
            approval_id=self.known_id(pk), by=self.username, via=DecisionSource.API, address=self.address
        )
        return self.answer(fresh.pk)

    @write("Give people more time", MinutesSerializer, ApprovalSerializer, example={"minutes": 15})
    @action(detail=True, methods=["post"])
    @idempotent
    def extend(self, request: Request, pk: str) -> Response:
        minutes = self.body(MinutesSerializer)["minutes"]
        approval_id = self.known_id(pk)
        commands.extend_approval(approval_id=approval_id, minutes=minutes, by=self.username, via=DecisionSource.API)
        return self.answer(approval_id)

    def decide(self, pk: str, wanted: Mapping[str, Any]) -> Response:
        approval_id = self.known_id(pk)
        decisions.answer(approval_id, wanted, by=self.username, via=DecisionSource.API, address=self.address)
        return self.answer(approval_id)

    def known_id(self, pk: str) -> UUID:
        """Return the id in the path, if this caller may know of it: all who may read or are about to decide."""
        approval_id = id_or_not_found(pk, ApprovalNotFound, "Approval not found")
        may_know = may(self.request.user, Right.READ) or Right.DECIDE in self.rights[self.action]
        if not may_know and not self.get_queryset().filter(pk=approval_id).exists():
            raise ApprovalNotFound("Approval not found")
        return approval_id

    def answer(self, approval_id: UUID, status: int = 200) -> Response:
        approval = readable_approvals().filter(pk=approval_id).first()
        if approval is None:
            raise ApprovalNotFound("Approval not found")
        return Response(ApprovalSerializer(approval).data, status=status)


def until_closed(view: Callable[..., Response]) -> Callable[..., Awaitable[Response]]:
    """``?wait=SECONDS``: the ordinary answer, as soon as the approval is closed or the time is up."""

    @wraps(view)
    async def waiting_view(request: HttpRequest, **kwargs: Any) -> Response:
        response = await in_request_thread(view, request, **kwargs)
        if response.status_code != 200 or response.data["status"] != S.PENDING or not request.GET.get("wait"):
            return response
        await _closed_or_time_up(UUID(response.data["id"]), float(request.GET["wait"]))
        return await in_request_thread(view, request, **kwargs)

    return waiting_view


async def _closed_or_time_up(approval_id: UUID, wait_s: float) -> None:
    end = time.monotonic() + wait_s
    still_open = Approval.objects.filter(pk=approval_id, status=S.PENDING)
    with listening("approval", str(approval_id)) as bell:
        while (left := end - time.monotonic()) > 0 and await in_thread(still_open.exists):
            await bell.wait(min(left, POLL_S))
