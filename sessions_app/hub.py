"""Sessions on the hub: the rows and logs of its topics, and the commands that start, continue and cancel one."""

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

NEWEST = 50  # listed whatever their status
URGENCY = ("waiting", "running", "queued")
# A row is sent again when one of these columns changes.
FINGERPRINT = (
    "status", "parked", "title", "last_seq", "cost_usd", "input_tokens", "output_tokens", "finished_at", "failure_code",
)  # fmt: skip


class SessionRows:
    """Open sessions and the newest ones, those that need a person first."""

    created = "session.created"
    changed = "session.changed"

    def is_affected_by(self, topic: str, known: Row | None) -> bool:
        """Return whether the notification can change the row of a session.

        A new approval makes its session wait. Transcript events matter to waiting sessions alone (0 in the sort
        key): the first one after a decision shows that the session goes on.
        """
        return topic in ("session", "approval") or (topic == "events" and known is not None and known.sort_key[0] == 0)

    def fingerprints(self) -> dict[str, object]:
        rows = readable_sessions().order_by().values_list("pk", *FINGERPRINT)
        newest = rows.order_by("-created_at")[:NEWEST]
        return {str(pk): tuple(values) for pk, *values in [*rows.filter(status__in=OPEN_SESSION), *newest]}

    def rows(self, keys: Collection[str]) -> Sequence[Row]:
        asking = Approval.objects.filter(pk__in=keys).values("session")
        found = readable_sessions().filter(Q(pk__in=keys) | Q(pk__in=asking))
        return [_session_row(session, _serializer()) for session in found]


@cache
def _serializer() -> SessionRowSerializer:
    """Return one serializer for all rows: making its fields takes longer than reading a row."""
    return SessionRowSerializer()


def _session_row(session: Any, serializer: SessionRowSerializer) -> Row:
    urgency = URGENCY.index(session.status) if session.status in URGENCY else len(URGENCY)
    return Row(
        key=str(session.pk),
        json_text=wire.text(serializer.to_representation(session)),
        fingerprint=tuple(getattr(session, name) for name in FINGERPRINT),
        is_listed=True,
        sort_key=(urgency, -session.created_at.timestamp(), str(session.pk)),
    )


class Transcripts:
    """``session:<id>``: the session as REST shows it, then its events."""

    notification_topic = "events"
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

    def newest_numbers(self, keys: Collection[str]) -> Mapping[str, int]:
        return {str(pk): seq for pk, seq in AgentSession.objects.filter(pk__in=keys).values_list("pk", "last_seq")}


def _without_seq(data: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in data.items() if name != "seq"}


class Agents:
    """The CLIs found on the workers."""

    created = changed = "agent.changed"

    def is_affected_by(self, topic: str, known: Row | None) -> bool:
        return False  # discovery sends no notification; the comparison finds a change

    def fingerprints(self) -> dict[str, object]:
        return {row.key: row.fingerprint for row in self._all()}

    def rows(self, keys: Collection[str]) -> Sequence[Row]:
        return [row for row in self._all() if row.key in keys]

    def _all(self) -> list[Row]:
        return [_agent_row(agent) for agent in readable_agents()]


def _agent_row(agent: Agent) -> Row:
    shown = AgentSerializer(agent).data
    fingerprint = wire.text({name: value for name, value in shown.items() if name != "last_seen_at"})
    text = wire.text({"part": "agent", **shown})
    return Row(
        key=str(agent.pk), json_text=text, fingerprint=fingerprint, is_listed=True, sort_key=(1, agent.host, agent.name)
    )


class OpenSessions:
    """The numbers of queued, running and waiting sessions."""

    created = changed = "queue.changed"

    def is_affected_by(self, topic: str, known: Row | None) -> bool:
        return topic in ("session", "approval")

    def fingerprints(self) -> dict[str, object]:
        return {"sessions": self._counts()}

    def rows(self, keys: Collection[str]) -> Sequence[Row]:
        counts = self._counts()
        text = wire.text({"part": "queue", "name": "sessions", **counts})
        return [Row(key="sessions", json_text=text, fingerprint=counts, is_listed=True, sort_key=(0, "sessions"))]

    def _counts(self) -> dict[str, int]:
        open_ones = AgentSession.objects.order_by()
        return {status: open_ones.filter(status=status).count() for status in OPEN_SESSION}


def start_session(caller: Caller, data: Mapping[str, Any]) -> Mapping[str, object]:
    """Do the same as ``POST /api/sessions``."""
    return {
        "session": str(start(caller.user, checked(SessionRequestSerializer, data), via=DecisionSource.WEBSOCKET).pk)
    }


def send_message(caller: Caller, data: Mapping[str, Any]) -> Mapping[str, object]:
    """Do the same as ``POST /api/sessions/{id}/messages``."""
    wanted = checked(MessageToSerializer, data)
    turn = commands.send_message(
        session_id=_id(wanted), prompt=wanted["prompt"], attachments=wanted.get("attachments", []),
        by=caller.username, via=DecisionSource.WEBSOCKET,
    )  # fmt: skip
    return {"session": str(turn.session_id)}


def cancel_session(caller: Caller, data: Mapping[str, Any]) -> Mapping[str, object]:
    """Do the same as ``POST /api/sessions/{id}/cancel``."""
    session = commands.cancel_session(session_id=_id(checked(SessionIdSerializer, data)), by=caller.username)
    return {"session": str(session.pk)}


def _id(wanted: Mapping[str, Any]) -> Any:
    return id_or_not_found(wanted["session"], SessionNotFound, "Session not found")


def connect() -> None:
    """Register topics and commands. ``AppConfig.ready`` calls this once."""
    registry.register_rows("sessions", SessionRows(), rights=any_of(Right.READ))
    registry.register_rows("diagnostics", OpenSessions(), rights=any_of(Right.READ))
    registry.register_rows("diagnostics", Agents(), rights=any_of(Right.READ))
    registry.register_log("session", Transcripts())
    for run in (start_session, send_message, cancel_session):
        registry.register_command(run.__name__, Command(any_of(Right.OPERATE), run))
