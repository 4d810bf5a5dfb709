"""REST views of sessions and agents: each parses the request, calls one command, and renders the
result.
"""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from functools import wraps
from typing import Any
from uuid import UUID

from django.db.models import Q, QuerySet
from django.http import HttpRequest, StreamingHttpResponse
from django.http.response import HttpResponseBase
from django_filters import rest_framework as filters
from drf_spectacular.utils import OpenApiParameter, extend_schema
from rest_framework.decorators import action
from rest_framework.exceptions import ValidationError
from rest_framework.request import Request
from rest_framework.response import Response

from approvals.models import DecisionSource
from orchestra.auth.permissions import Right
from orchestra.db.async_notify import in_request_thread, in_thread
from orchestra.rest.fields import NothingSerializer
from orchestra.rest.idempotency import idempotent
from orchestra.rest.pagination import Ordering, StrictFilters
from orchestra.rest.schema import query, read, write
from orchestra.rest.viewsets import OrchestraViewSet, afresh, any_of, id_or_not_found, query_number
from sessions_app import commands
from sessions_app.dispatch import dispatch_discovery
from sessions_app.errors import SessionNotFound
from sessions_app.models import AgentSession
from sessions_app.queries import events_after, find_session, needing_a_person_first, readable_agents, readable_sessions
from sessions_app.rest.serializers import (
    AgentSerializer,
    EventsSerializer,
    LookingSerializer,
    MessageSerializer,
    SessionRequestSerializer,
    SessionRowSerializer,
    SessionSerializer,
    TurnSerializer,
)
from sessions_app.rest.starts import start
from sessions_app.transcript.streams import event_data, json_lines, markdown, server_sent_events

TRANSCRIPTS = {
    "md": (markdown, "text/markdown; charset=utf-8"),
    "jsonl": (json_lines, "application/x-ndjson; charset=utf-8"),
}
EVENTS_PER_PAGE, MOST_EVENTS = 100, 1000
LARGEST_SEQ = 2**63 - 1
AFTER = query("after", "Only events with a greater number.", least=0, most=LARGEST_SEQ)
LIMIT = query("limit", f"How many at most; {EVENTS_PER_PAGE} if not given.", least=1, most=MOST_EVENTS)
LAST_EVENT_ID = OpenApiParameter("Last-Event-ID", str, OpenApiParameter.HEADER, description="Goes before `after`.")
AS = OpenApiParameter("as", str, OpenApiParameter.QUERY, enum=list(TRANSCRIPTS), description="`md` if not given.")
WHOLE = {(200, "text/markdown"): str, (200, "application/x-ndjson"): str}


class SessionFilters(StrictFilters):
    """Filters of the list of sessions."""

    status = filters.ChoiceFilter(choices=AgentSession.Status.choices)
    agent = filters.CharFilter()
    requested_by = filters.CharFilter()
    search = filters.CharFilter(method="with_words", help_text="Part of the title or of a prompt.")
    ordering = Ordering(fields=["created_at", "started_at", "finished_at", "title", "status", "cost_usd"])

    def with_words(self, rows: QuerySet[AgentSession], name: str, words: str) -> QuerySet[AgentSession]:
        prompts = AgentSession.objects.filter(turns__prompt__icontains=words).values("pk")
        return rows.filter(Q(title__icontains=words) | Q(pk__in=prompts))


START_EXAMPLE = {
    "prompt": "Add a README to this project",
    "title": "A README",
    "agent": "demo",
    "disallowed_tools": ["WebFetch"],
    "approval_timeout_minutes": 30,
    "metadata": {"ticket": "DOCS-12"},
}


@extend_schema(tags=["sessions"])
class SessionViewSet(OrchestraViewSet):
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
        "stream": any_of(Right.READ),
        "transcript": any_of(Right.READ),
    }

    def get_queryset(self) -> QuerySet[AgentSession]:
        return needing_a_person_first(readable_sessions())

    @read("List sessions", SessionRowSerializer(many=True))
    def list(self, request: Request) -> Response:
        page = self.paginate_queryset(self.filter_queryset(self.get_queryset()))
        return self.get_paginated_response(SessionRowSerializer(page, many=True).data)

    @write("Start a session", SessionRequestSerializer, SessionSerializer, status=201, example=START_EXAMPLE)
    @idempotent
    def create(self, request: Request) -> Response:
        session = start(request.user, self.body(SessionRequestSerializer), via=DecisionSource.API)
        return self.answer(session.pk, status=201)

    @read("Show a session", SessionSerializer)
    def retrieve(self, request: Request, pk: str) -> Response:
        return self.answer(_session_id(pk))

    @write("Send the next message", MessageSerializer, TurnSerializer, status=201, example={"prompt": "Now the docs"})
    @action(detail=True, methods=["post"])
    @idempotent
    def messages(self, request: Request, pk: str) -> Response:
        wanted = self.body(MessageSerializer)
        turn = commands.send_message(session_id=_session_id(pk), by=self.username, via=DecisionSource.API, **wanted)
        turn.refresh_from_db()
        return Response(TurnSerializer(turn).data, status=201)

    @write("Stop the current turn", NothingSerializer, SessionSerializer)
    @action(detail=True, methods=["post"])
    @idempotent
    def interrupt(self, request: Request, pk: str) -> Response:
        self.body(NothingSerializer)
        return self.answer(commands.interrupt_session(session_id=_session_id(pk), by=self.username).pk)

    @write("End a dialog for good", NothingSerializer, SessionSerializer)
    @action(detail=True, methods=["post"])
    @idempotent
    def cancel(self, request: Request, pk: str) -> Response:
        self.body(NothingSerializer)
        return self.answer(commands.cancel_session(session_id=_session_id(pk), by=self.username).pk)

    @read("Read a piece of a transcript", EventsSerializer, parameters=[AFTER, LIMIT], filters=False)
    @action(detail=True, methods=["get"], pagination_class=None)
    def events(self, request: Request, pk: str) -> Response:
        after = query_number(request, "after", default=0, least=0, most=LARGEST_SEQ)
        limit = query_number(request, "limit", default=EVENTS_PER_PAGE, least=1, most=MOST_EVENTS)
        session = find_session(_session_id(pk))
        results = [event_data(event) for event in events_after(session.pk, after, limit)]
        return Response({"results": results, "last_seq": session.last_seq})

    @read("Follow a transcript", {(200, "text/event-stream"): str}, parameters=[AFTER, LAST_EVENT_ID], filters=False)
    @action(detail=True, methods=["get"], url_path="events/stream", pagination_class=None)
    def stream(self, request: Request, pk: str) -> Response:
        """Check the caller's rights and return where the stream starts.

        ``stream_events`` streams from there.
        """
        seen = request.headers.get("Last-Event-ID", "")
        after = query_number(request, "after", default=0, least=0, most=LARGEST_SEQ)
        if seen.isascii() and seen.isdigit() and len(seen) < 19:
            after = int(seen)  # a reconnecting browser repeats its first URL, so the header is newer than ?after=
        return Response(StreamStart(find_session(_session_id(pk)).pk, after))

    @read("Read a whole transcript", WHOLE, parameters=[AS], filters=False)
    @action(detail=True, methods=["get"], pagination_class=None)
    def transcript(self, request: Request, pk: str) -> StreamingHttpResponse:
        wanted = request.query_params.get("as", "md")
        if wanted not in TRANSCRIPTS:
            raise ValidationError({"as": [f"One of {', '.join(TRANSCRIPTS)}."]})
        session = find_session(_session_id(pk))
        write, media_type = TRANSCRIPTS[wanted]
        name = f'inline; filename="session-{session.pk}.{wanted}"'
        return StreamingHttpResponse(write(session), content_type=media_type, headers={"Content-Disposition": name})

    @classmethod
    def as_view(cls, actions: Any = None, **initkwargs: Any) -> Any:
        """As the base class, but the stream runs on the event loop."""
        view = super().as_view(actions, **initkwargs)
        return stream_events(view) if "stream" in (actions or {}).values() else view

    def answer(self, session_id: UUID, status: int = 200) -> Response:
        session = readable_sessions().prefetch_related("turns").filter(pk=session_id).first()
        if session is None:
            raise SessionNotFound("Session not found")
        return Response(SessionSerializer(session).data, status=status)


@extend_schema(tags=["agents"])
class AgentViewSet(OrchestraViewSet):
    """The CLIs that discovery found on the workers."""

    serializer_class = AgentSerializer
    rights = {"list": any_of(Right.READ), "discover": any_of(Right.OPERATE)}

    def get_queryset(self) -> QuerySet[Any]:
        return readable_agents().order_by("host", "name")

    @read("List the agents found on the workers", AgentSerializer(many=True))
    def list(self, request: Request) -> Response:
        page = self.paginate_queryset(self.get_queryset())
        return self.get_paginated_response(AgentSerializer(page, many=True).data)

    @write("Look for agents now", NothingSerializer, LookingSerializer, status=202)
    @action(detail=False, methods=["post"])
    @idempotent
    def discover(self, request: Request) -> Response:
        self.body(NothingSerializer)
        dispatch_discovery()
        return Response({"detail": "The workers are looking; the list of agents shows what they find."}, status=202)


@dataclass(frozen=True, slots=True)
class StreamStart:
    """The session of a stream, and the number of the event before its first."""

    session_id: UUID
    after: int


def stream_events(view: Callable[..., Response]) -> Callable[..., Awaitable[HttpResponseBase]]:
    """Wrap ``SessionViewSet.stream``, which checks the rights: once at the start, and again every
    few seconds.
    """

    @wraps(view)
    async def live(request: HttpRequest, pk: str) -> HttpResponseBase:
        response = await in_request_thread(view, request, pk=pk)
        if not isinstance(response.data, StreamStart):
            return response

        async def still_allowed() -> bool:
            again = await in_thread(view, afresh(request), pk=pk)
            return isinstance(again.data, StreamStart)

        frames = server_sent_events(response.data.session_id, response.data.after, still_allowed)
        headers = {"Cache-Control": "no-store", "X-Accel-Buffering": "no"}
        return StreamingHttpResponse(frames, content_type="text/event-stream", headers=headers)

    return live


def _session_id(pk: str) -> UUID:
    return id_or_not_found(pk, SessionNotFound, "Session not found")
