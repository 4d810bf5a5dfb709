"""The REST door of approvals: parse, call one command, render."""

import json
from datetime import timedelta
from typing import Any
from uuid import UUID

from django.db.models import QuerySet
from django_filters import rest_framework as filters
from rest_framework.decorators import action
from rest_framework.request import Request
from rest_framework.response import Response

from approvals import commands
from approvals.errors import ApprovalNotFound
from approvals.models import Approval
from approvals.models import Door as Via
from approvals.queries import find_approval, readable_approvals
from approvals.serializers import (
    ApprovalSerializer,
    ApproveSerializer,
    ExternalAskSerializer,
    MinutesSerializer,
    ReasonSerializer,
)
from orchestra.api import Door, any_of, id_or_not_found
from orchestra.errors import Forbidden
from orchestra.fields import NothingSerializer
from orchestra.idempotency import idempotent
from orchestra.listing import Ordering, StrictFilters
from orchestra.rights import Right, may

S = Approval.Status


class ApprovalFilters(StrictFilters):
    status = filters.ChoiceFilter(choices=S.choices)
    session = filters.UUIDFilter()
    tool = filters.CharFilter(field_name="tool_name")
    risk = filters.ChoiceFilter(choices=Approval.Risk.choices)
    ordering = Ordering(fields=["created_at", "expires_at", "decided_at", "risk", "status"])


class ApprovalDoor(Door):
    """Questions to people, and their answers."""

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
    }

    def get_queryset(self) -> QuerySet[Approval]:
        """All approvals for readers; an asker sees what it asked itself."""
        rows = readable_approvals().order_by("-created_at", "id")
        return rows if may(self.request.user, Right.READ) else rows.filter(requested_by=self.username)

    def list(self, request: Request) -> Response:
        page = self.paginate_queryset(self.filter_queryset(self.get_queryset()))
        return self.get_paginated_response(ApprovalSerializer(page, many=True).data)

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
        timeout = None if minutes is None else timedelta(minutes=minutes)
        return self.answer(commands.request_approval(question, timeout=timeout, via=Via.API), status=201)

    def retrieve(self, request: Request, pk: str) -> Response:
        return self.answer(self.known_id(pk))

    @action(detail=True, methods=["post"])
    @idempotent
    def approve(self, request: Request, pk: str) -> Response:
        wanted = self.body(ApproveSerializer)
        verdict = S.APPROVED if wanted.pop("approved") else S.REJECTED
        return self.decide(pk, verdict, **wanted)

    @action(detail=True, methods=["post"])
    @idempotent
    def reject(self, request: Request, pk: str) -> Response:
        return self.decide(pk, S.REJECTED, **self.body(ReasonSerializer))

    @action(detail=True, methods=["post"])
    @idempotent
    def cancel(self, request: Request, pk: str) -> Response:
        self.body(NothingSerializer)
        approval = find_approval(self.known_id(pk))
        if approval.requested_by != self.username and not may(request.user, Right.ADMINISTER):
            raise Forbidden("Only the requester or an administrator withdraws an approval.")
        commands.cancel_approval(approval_id=approval.pk, by=self.username, via=Via.API)
        return self.answer(approval.pk)

    @action(detail=True, methods=["post"])
    @idempotent
    def extend(self, request: Request, pk: str) -> Response:
        minutes = self.body(MinutesSerializer)["minutes"]
        approval_id = self.known_id(pk)
        commands.extend_approval(approval_id=approval_id, minutes=minutes, by=self.username, via=Via.API)
        return self.answer(approval_id)

    def decide(
        self,
        pk: str,
        verdict: str,
        *,
        reason: str = "",
        updated_input: dict[str, Any] | None = None,
        scope: str = Approval.Scope.ONCE,
        answers: dict[str, Any] | None = None,
        input_digest: str = "",
    ) -> Response:
        approval_id = self.known_id(pk)
        commands.decide_approval(
            approval_id=approval_id,
            verdict=verdict,
            by=self.username,
            via=Via.API,
            reason=reason,
            updated_input=_text(updated_input),
            answers=_text(answers),
            scope=scope,
            seen_digest=input_digest,
            address=self.address,
        )
        return self.answer(approval_id)

    def known_id(self, pk: str) -> UUID:
        """The id in the path, if this caller may know of it."""
        approval_id = id_or_not_found(pk, ApprovalNotFound, "Approval not found")
        if not may(self.request.user, Right.READ) and not self.get_queryset().filter(pk=approval_id).exists():
            raise ApprovalNotFound("Approval not found")
        return approval_id

    def answer(self, approval_id: UUID, status: int = 200) -> Response:
        approval = readable_approvals().filter(pk=approval_id).first()
        if approval is None:
            raise ApprovalNotFound("Approval not found")
        return Response(ApprovalSerializer(approval).data, status=status)


def _text(value: dict[str, Any] | None) -> str:
    """JSON text as the commands take it (ASCII; empty for none)."""
    return "" if value is None else json.dumps(value)
