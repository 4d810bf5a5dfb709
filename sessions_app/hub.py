"""The socket door of sessions: what the hub shows of them, and how they are started, continued and ended."""

from collections.abc import Collection, Mapping, Sequence
from functools import cache
from typing import Any
from uuid import UUID

from django.db.models import Q

from approvals.models import Approval, DecisionSource
from orchestra.auth.permissions import Right
from orchestra.realtime import registry, wire
from orchestra.realtime.registry import Caller, Command, Row
from orchestra.rest.viewsets import any_of, checked, id_or_not_found
from sessions_app import commands
from sessions_app.errors import SessionNotFound
from sessions_app.models import OPEN_SESSION, Agent, AgentSession
from sessions_app.queries import events_after, readable_agents, readable_sessions
from sessions_app.rest.serializers import (
    AgentSerializer,
    MessageToSerializer,
    SessionIdSerializer,
    SessionRequestSerializer,
    SessionRowSerializer,
    SessionSerializer,
)
from sessions_app.rest.starts import start
from sessions_app.transcript.streams import event_data

FINISHED_LATELY = 50
URGENCY = ("waiting", "running", "queued")
MARK = (
    "status", "parked", "title", "last_seq", "cost_usd", "input_tokens", "output_tokens", "finished_at", "failure_code",
)  # fmt: skip


class SessionRows:
    """Sessions that are open or were started lately, those that need a person first."""

    created = "session.created"
    changed = "session.changed"

    def hears(self, topic: str, known: Row | None) -> bool:
        """A question makes its session wait; what it does after the answer shows first in its transcript."""
        return topic in ("session", "approval") or (topic == "events" and known is not None and known.rank[0] == 0)

    def marks(self) -> dict[str, object]:
        rows = readable_sessions().order_by().values_list("pk", *MARK)
        lately = rows.order_by("-created_at")[:FINISHED_LATELY]
        return {str(pk): tuple(mark) for pk, *mark in [*rows.filter(status__in=OPEN_SESSION), *lately]}

    def rows(self, keys: Collection[str]) -> Sequence[Row]:
        asking = Approval.objects.filter(pk__in=keys).values("session")
        found = readable_sessions().filter(Q(pk__in=keys) | Q(pk__in=asking))
        return [_session(session, _as_json()) for session in found]


@cache
def _as_json() -> SessionRowSerializer:
    """One for all: making its fields takes longer than reading a row."""
    return SessionRowSerializer()


def _session(session: Any, as_json: SessionRowSerializer) -> Row:
    urgency = URGENCY.index(session.status) if session.status in URGENCY else len(URGENCY)
    return Row(
        key=str(session.pk),
        text=wire.text(as_json.to_representation(session)),
        mark=tuple(getattr(session, name) for name in MARK),
        listed=True,
        rank=(urgency, -session.created_at.timestamp(), str(session.pk)),
    )


class Transcripts:
    """``session:<id>``: the session as REST shows it, then its events."""

    rings = "events"
    rights = any_of(Right.READ)

    def snapshot(self, key: str) -> tuple[str, Mapping[str, object], int]:
        session_id = id_or_not_found(key, SessionNotFound, "Session not found")
        session = readable_sessions().prefetch_related("turns").filter(pk=session_id).first()
        if session is None:
            raise SessionNotFound("Session not found")
        return str(session.pk), {"session": SessionSerializer(session).data}, session.last_seq

    def entries(self, key: str, after: int, limit: int) -> Sequence[tuple[int, str]]:
        return [
            (event.seq, wire.text(_without_seq(event_data(event)))) for event in events_after(UUID(key), after, limit)
        ]

    def heads(self, keys: Collection[str]) -> Mapping[str, int]:
        return {str(pk): seq for pk, seq in AgentSession.objects.filter(pk__in=keys).values_list("pk", "last_seq")}


def _without_seq(data: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in data.items() if name != "seq"}


class Agents:
    """The CLIs found on the workers."""

    created = changed = "agent.changed"

    def hears(self, topic: str, known: Row | None) -> bool:
        return False  # discovery rings nobody; comparing finds it

    def marks(self) -> dict[str, object]:
        return {row.key: row.mark for row in self._all()}

    def rows(self, keys: Collection[str]) -> Sequence[Row]:
        return [row for row in self._all() if row.key in keys]

    def _all(self) -> list[Row]:
        return [_agent(agent) for agent in readable_agents()]


def _agent(agent: Agent) -> Row:
    shown = AgentSerializer(agent).data
    mark = wire.text({name: value for name, value in shown.items() if name != "last_seen_at"})
    text = wire.text({"part": "agent", **shown})
    return Row(key=str(agent.pk), text=text, mark=mark, listed=True, rank=(1, agent.host, agent.name))


class OpenSessions:
    """How many sessions are queued, running and waiting."""

    created = changed = "queue.changed"

    def hears(self, topic: str, known: Row | None) -> bool:
        return topic in ("session", "approval")

    def marks(self) -> dict[str, object]:
        return {"sessions": self._counts()}

    def rows(self, keys: Collection[str]) -> Sequence[Row]:
        counts = self._counts()
        text = wire.text({"part": "queue", "name": "sessions", **counts})
        return [Row(key="sessions", text=text, mark=counts, listed=True, rank=(0, "sessions"))]

    def _counts(self) -> dict[str, int]:
        open_ones = AgentSession.objects.order_by()
        return {status: open_ones.filter(status=status).count() for status in OPEN_SESSION}


def start_session(caller: Caller, data: Mapping[str, Any]) -> Mapping[str, object]:
    """As ``POST /api/sessions``."""
    return {
        "session": str(start(caller.user, checked(SessionRequestSerializer, data), via=DecisionSource.WEBSOCKET).pk)
    }


def send_message(caller: Caller, data: Mapping[str, Any]) -> Mapping[str, object]:
    """As ``POST /api/sessions/{id}/messages``."""
    wanted = checked(MessageToSerializer, data)
    turn = commands.send_message(
        session_id=_id(wanted), prompt=wanted["prompt"], attachments=wanted.get("attachments", []),
        by=caller.username, via=DecisionSource.WEBSOCKET,
    )  # fmt: skip
    return {"session": str(turn.session_id)}


def cancel_session(caller: Caller, data: Mapping[str, Any]) -> Mapping[str, object]:
    """As ``POST /api/sessions/{id}/cancel``."""
    session = commands.cancel_session(session_id=_id(checked(SessionIdSerializer, data)), by=caller.username)
    return {"session": str(session.pk)}


def _id(wanted: Mapping[str, Any]) -> Any:
    return id_or_not_found(wanted["session"], SessionNotFound, "Session not found")


def connect() -> None:
    """Called once when the app is ready."""
    registry.show_rows("sessions", SessionRows(), rights=any_of(Right.READ))
    registry.show_rows("diagnostics", OpenSessions(), rights=any_of(Right.READ))
    registry.show_rows("diagnostics", Agents(), rights=any_of(Right.READ))
    registry.show_log("session", Transcripts())
    for run in (start_session, send_message, cancel_session):
        registry.obey(run.__name__, Command(any_of(Right.OPERATE), run))
