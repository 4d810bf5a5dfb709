"""The REST surface of approvals: each view parses, calls one command and renders."""

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
    ExternalRequestSerializer,
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
from orchestra.rest.viewsets import OrchestraViewSet, afresh, any_of, id_or_not_found, query_number

LONGEST_WAIT_S = 60
POLL_S = 1.0  # how late a response is after a lost notification
WAIT = query("wait", "Wait up to this many seconds until the approval is closed.", least=0, most=LONGEST_WAIT_S)


class ApprovalFilters(StrictFilters):
    """Query parameters of the list of approvals."""

    status = filters.ChoiceFilter(choices=Approval.Status.choices)
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
        """All approvals for readers; a user who may only make requests sees their own."""
        rows = readable_approvals().order_by("-created_at", "id")
        return rows if may(self.request.user, Right.READ) else rows.filter(requested_by=self.username)

    @read("List approvals", ApprovalSerializer(many=True))
    def list(self, request: Request) -> Response:
        page = self.paginate_queryset(self.filter_queryset(self.get_queryset()))
        return self.get_paginated_response(ApprovalSerializer(page, many=True).data)

    @write("Request an approval", ExternalRequestSerializer, ApprovalSerializer, status=201, example=ASK_EXAMPLE)
    @idempotent
    def create(self, request: Request) -> Response:
        wanted = self.body(ExternalRequestSerializer)
        minutes = wanted["timeout_minutes"]
        wanted_request = commands.ApprovalRequest(
            kind=Approval.Kind.EXTERNAL,
            title=wanted["title"],
            body=wanted["body"],
            facts=wanted["facts"],
            options=json.dumps(wanted["options"]) if wanted["options"] else "",
            requested_by=self.username,
        )
        timeout = time_of(minutes)
        if wanted["callback"]:
            approval_id = delivery.request_with_callback(
                wanted_request, timeout=timeout, via=DecisionSource.API, url=wanted["callback"]
            )
        else:
            approval_id = commands.request_approval(wanted_request, timeout=timeout, via=DecisionSource.API)
        return self.respond(approval_id, status=201)

    @read("Show an approval, at once or when it is closed", ApprovalSerializer, parameters=[WAIT])
    def retrieve(self, request: Request, pk: str) -> Response:
        """Return the approval: at once, or with ``wait`` as soon as it is closed."""
        # until_closed does the waiting; this only refuses a wrong number
        query_number(request, "wait", default=0, least=0, most=LONGEST_WAIT_S)
        return self.respond(self.known_id(pk))

    @classmethod
    def as_view(cls, actions: Any = None, **initkwargs: Any) -> Any:
        """Wrap ``retrieve``, so that ``wait`` runs on the event loop and holds no thread."""
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
        return self.respond(approval.pk)

    @write("Reopen a closed request", NothingSerializer, ApprovalSerializer)
    @action(detail=True, methods=["post"])
    @idempotent
    def reopen(self, request: Request, pk: str) -> Response:
        """Return the open request: the new one, or the one that an earlier call has made."""
        self.body(NothingSerializer)
        fresh = reopening.reopen_approval(
            approval_id=self.known_id(pk), by=self.username, via=DecisionSource.API, address=self.address
        )
        return self.respond(fresh.pk)

    @write("Extend the deadline", MinutesSerializer, ApprovalSerializer, example={"minutes": 15})
    @action(detail=True, methods=["post"])
    @idempotent
    def extend(self, request: Request, pk: str) -> Response:
        minutes = self.body(MinutesSerializer)["minutes"]
        approval_id = self.known_id(pk)
        commands.extend_approval(approval_id=approval_id, minutes=minutes, by=self.username, via=DecisionSource.API)
        return self.respond(approval_id)

    def decide(self, pk: str, wanted: Mapping[str, Any]) -> Response:
        approval_id = self.known_id(pk)
        decisions.decide(approval_id, wanted, by=self.username, via=DecisionSource.API, address=self.address)
        return self.respond(approval_id)

    def known_id(self, pk: str) -> UUID:
        """Return the id in the path; raise ``ApprovalNotFound`` if this caller may not see the
        approval.
        """
        approval_id = id_or_not_found(pk, ApprovalNotFound, "Approval not found")
        may_know = may(self.request.user, Right.READ) or Right.DECIDE in self.rights[self.action]
        if not may_know and not self.get_queryset().filter(pk=approval_id).exists():
            raise ApprovalNotFound("Approval not found")
        return approval_id

    def respond(self, approval_id: UUID, status: int = 200) -> Response:
        approval = readable_approvals().filter(pk=approval_id).first()
        if approval is None:
            raise ApprovalNotFound("Approval not found")
        return Response(ApprovalSerializer(approval).data, status=status)


def until_closed(view: Callable[..., Response]) -> Callable[..., Awaitable[Response]]:
    """Implement ``?wait=SECONDS``: respond when the approval is closed or the time is up."""

    @wraps(view)
    async def waiting_view(request: HttpRequest, **kwargs: Any) -> Response:
        response = await in_request_thread(view, request, **kwargs)
        if (
            response.status_code != 200
            or response.data["status"] != Approval.Status.PENDING
            or not request.GET.get("wait")
        ):
            return response
        await _closed_or_time_up(UUID(response.data["id"]), float(request.GET["wait"]))
        return await in_request_thread(lambda: view(afresh(request), **kwargs))  # rights may have changed meanwhile

    return waiting_view


async def _closed_or_time_up(approval_id: UUID, wait_s: float) -> None:
    end = time.monotonic() + wait_s
    still_open = Approval.objects.filter(pk=approval_id, status=Approval.Status.PENDING)
    with listening("approval", str(approval_id)) as notification:
        while (left := end - time.monotonic()) > 0 and await in_thread(still_open.exists):
            await notification.wait(min(left, POLL_S))
