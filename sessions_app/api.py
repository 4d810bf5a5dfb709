"""The REST door of sessions and agents: parse, call one command, render."""

from typing import Any
from uuid import UUID

from django.conf import settings
from django.db.models import Q, QuerySet
from django_filters import rest_framework as filters
from rest_framework.decorators import action
from rest_framework.exceptions import ValidationError
from rest_framework.request import Request
from rest_framework.response import Response

from approvals.queries import readable_approvals
from approvals.models import Approval
from orchestra.api import Door, any_of, id_or_not_found
from orchestra.errors import Forbidden
from orchestra.exact_json import RawJSON
from orchestra.fields import NothingSerializer
from orchestra.idempotency import idempotent
from orchestra.listing import Ordering, StrictFilters
from orchestra.rights import Right, may
from sessions_app import commands
from sessions_app.commands import SessionRequest
from sessions_app.errors import SessionNotFound
from sessions_app.models import AgentSession, Event
from sessions_app.queries import events_after, find_session, needing_a_person_first, readable_agents, readable_sessions
from sessions_app.serializers import (
    AgentSerializer,
    MessageSerializer,
    SessionRequestSerializer,
    SessionRowSerializer,
    SessionSerializer,
    TurnSerializer,
)

EVENTS_PER_ANSWER, MOST_EVENTS = 100, 1000
LARGEST_SEQ = 2**63 - 1


class SessionFilters(StrictFilters):
    status = filters.ChoiceFilter(choices=AgentSession.Status.choices)
    agent = filters.CharFilter()
    requested_by = filters.CharFilter()
    search = filters.CharFilter(method="with_words", help_text="Part of the title or of a prompt.")
    ordering = Ordering(fields=["created_at", "started_at", "finished_at", "title", "status", "cost_usd"])

    def with_words(self, rows: QuerySet[AgentSession], name: str, words: str) -> QuerySet[AgentSession]:
        prompts = AgentSession.objects.filter(turns__prompt__icontains=words).values("pk")
        return rows.filter(Q(title__icontains=words) | Q(pk__in=prompts))


class SessionDoor(Door):
    """Dialogs with agents."""

    queryset = AgentSession.objects.none()
    serializer_class = SessionSerializer
    filterset_class = SessionFilters
    rights = {
        "list": any_of(Right.READ),
        "create": any_of(Right.OPERATE),
        "retrieve": any_of(Right.READ),
        "messages": any_of(Right.OPERATE),
        "interrupt": any_of(Right.OPERATE),
        "cancel": any_of(Right.OPERATE),
        "events": any_of(Right.READ),
    }

    def get_queryset(self) -> QuerySet[AgentSession]:
        return needing_a_person_first(readable_sessions())

    def list(self, request: Request) -> Response:
        page = self.paginate_queryset(self.filter_queryset(self.get_queryset()))
        return self.get_paginated_response(SessionRowSerializer(page, many=True).data)

    @idempotent
    def create(self, request: Request) -> Response:
        wanted = SessionRequest(**_given(self.body(SessionRequestSerializer)))
        if wanted.setting_sources and not may(request.user, Right.ADMINISTER):
            raise Forbidden("Only an administrator may let an agent read settings of its own.")
        may_allow = settings.APPROVALS.self_approval and may(request.user, Right.DECIDE)
        session = commands.start_session(wanted, by=self.username, may_allow=may_allow)
        return self.answer(session.pk, status=201)

    def retrieve(self, request: Request, pk: str) -> Response:
        return self.answer(_session_id(pk))

    @action(detail=True, methods=["post"])
    @idempotent
    def messages(self, request: Request, pk: str) -> Response:
        prompt = self.body(MessageSerializer)["prompt"]
        turn = commands.send_message(session_id=_session_id(pk), prompt=prompt, by=self.username)
        turn.refresh_from_db()
        return Response(TurnSerializer(turn).data, status=201)

    @action(detail=True, methods=["post"])
    @idempotent
    def interrupt(self, request: Request, pk: str) -> Response:
        self.body(NothingSerializer)
        return self.answer(commands.interrupt_session(session_id=_session_id(pk), by=self.username).pk)

    @action(detail=True, methods=["post"])
    @idempotent
    def cancel(self, request: Request, pk: str) -> Response:
        self.body(NothingSerializer)
        return self.answer(commands.cancel_session(session_id=_session_id(pk), by=self.username).pk)

    @action(detail=True, methods=["get"])
    def events(self, request: Request, pk: str) -> Response:
        after = _number(request, "after", default=0, least=0, most=LARGEST_SEQ)
        limit = _number(request, "limit", default=EVENTS_PER_ANSWER, least=1, most=MOST_EVENTS)
        session = find_session(_session_id(pk))
        results = [event_data(event) for event in events_after(session.pk, after, limit)]
        return Response({"results": results, "last_seq": session.last_seq})

    def answer(self, session_id: UUID, status: int = 200) -> Response:
        session = readable_sessions().prefetch_related("turns").filter(pk=session_id).first()
        if session is None:
            raise SessionNotFound("Session not found")
        pending = readable_approvals().filter(status=Approval.Status.PENDING, session=session_id)
        session.pending_approvals = pending.order_by("expires_at")
        return Response(SessionSerializer(session).data, status=status)


class AgentDoor(Door):
    """The CLIs found on the workers."""

    serializer_class = AgentSerializer
    rights = {"list": any_of(Right.READ), "discover": any_of(Right.OPERATE)}

    def get_queryset(self) -> QuerySet[Any]:
        return readable_agents().order_by("host", "name")

    def list(self, request: Request) -> Response:
        page = self.paginate_queryset(self.get_queryset())
        return self.get_paginated_response(AgentSerializer(page, many=True).data)


def event_data(event: Event) -> dict[str, Any]:
    """An event as every reader of a transcript gets it."""
    return {"seq": event.seq, "kind": event.kind, "at": event.at, "payload": RawJSON(event.payload)}


def _session_id(pk: str) -> UUID:
    return id_or_not_found(pk, SessionNotFound, "Session not found")


def _given(wanted: dict[str, Any]) -> dict[str, Any]:
    """Without the fields that were left out or null: the command has its own defaults."""
    return {name: value for name, value in wanted.items() if value is not None}


def _number(request: Request, name: str, *, default: int, least: int, most: int) -> int:
    """A whole number from the query string.

    Raises:
        ValidationError: it is none, or out of range.
    """
    text = request.query_params.get(name, "")
    if not text:
        return default
    if not (text.isascii() and text.isdigit() and len(text) < 20 and least <= int(text) <= most):
        raise ValidationError({name: [f"A whole number from {least} to {most}."]})
    return int(text)
