"""Serializers of sessions and agents."""

from typing import Any

from drf_spectacular.utils import extend_schema_field
from rest_framework import serializers

from approvals.models import Approval
from approvals.queries import readable_approvals
from approvals.rest.serializers import ApprovalSerializer
from orchestra.rest.fields import Number, StoredObject, Text, Whole
from sessions_app.agents.cli_versions import is_tested
from sessions_app.commands import AGENTS, PERMISSION_MODES, SETTING_SOURCES
from sessions_app.models import Agent, AgentSession, Event, Turn
from sessions_app.prompts.attachments import LONGEST_PATH, MOST_FILES

LONGEST_LIST = 200  # entries of any list in a request


def attachments_field() -> serializers.ListField:
    return serializers.ListField(
        child=Text(max_length=LONGEST_PATH), max_length=MOST_FILES, required=False,
        help_text="Paths of text files that the model reads with the prompt, relative to the working directory or "
        "absolute. One that the agent could not read without asking is refused.",
    )  # fmt: skip


class AttachedSerializer(serializers.Serializer[Any]):
    """A file attached to a prompt; ``bytes`` is null until the file is read."""

    path = serializers.CharField()
    bytes = serializers.IntegerField(allow_null=True)


class FailureSerializer(serializers.Serializer[Any]):
    """Why a turn or session failed: a stable code, and a sentence for people."""

    code = serializers.CharField()
    detail = serializers.CharField()


class WithFailure(serializers.Serializer[Any]):
    """Combines the columns ``failure_code`` and ``failure_detail`` into one ``failure`` object, or
    null.
    """

    failure = serializers.SerializerMethodField()

    @extend_schema_field(FailureSerializer(allow_null=True))
    def get_failure(self, row: Any) -> dict[str, str] | None:
        return {"code": row.failure_code, "detail": row.failure_detail} if row.failure_code else None


class TurnSerializer(WithFailure, serializers.ModelSerializer[Turn]):
    """One prompt and its result."""

    attachments = AttachedSerializer(many=True, read_only=True)

    class Meta:
        model = Turn
        fields = [
            "id", "number", "prompt", "attachments", "status", "result", "cost_usd", "input_tokens", "output_tokens",
            "started_at", "finished_at", "failure", "reopened",
        ]  # fmt: skip
        read_only_fields = fields


class SessionRowSerializer(WithFailure, serializers.ModelSerializer[AgentSession]):
    """A session in a list; needs the annotations of ``sessions_app.queries.readable_sessions``."""

    metadata = StoredObject(read_only=True)
    parked = serializers.BooleanField(read_only=True, help_text="It waits for a person, and no process is held for it.")

    class Meta:
        model = AgentSession
        fields = [
            "id", "title", "status", "working_directory", "agent", "model", "requested_by", "metadata",
            "cost_usd", "input_tokens", "output_tokens", "last_seq", "parked",
            "created_at", "started_at", "finished_at", "failure",
        ]  # fmt: skip
        read_only_fields = fields


class SessionSerializer(SessionRowSerializer):
    """A session with its turns and its open approvals."""

    turns = TurnSerializer(many=True, read_only=True)
    pending_approvals = serializers.SerializerMethodField()

    class Meta(SessionRowSerializer.Meta):
        fields = [*SessionRowSerializer.Meta.fields, "turns", "pending_approvals"]
        read_only_fields = fields

    @extend_schema_field(ApprovalSerializer(many=True))
    def get_pending_approvals(self, session: AgentSession) -> Any:
        pending = readable_approvals().filter(status=Approval.Status.PENDING, session=session.pk)
        return ApprovalSerializer(pending.order_by("expires_at"), many=True).data


class SessionRequestSerializer(serializers.Serializer[Any]):
    """The body that starts a session.

    The serializer checks types only; the command validates the values.
    """

    prompt = Text()
    working_directory = Text(required=False, allow_blank=True, max_length=4096)
    title = Text(required=False, allow_blank=True, max_length=200)
    agent = serializers.ChoiceField(choices=AGENTS, required=False)
    model = Text(required=False, allow_blank=True, max_length=100)
    permission_mode = serializers.ChoiceField(choices=PERMISSION_MODES, required=False)
    allowed_tools = serializers.ListField(child=Text(max_length=500), max_length=LONGEST_LIST, required=False)
    disallowed_tools = serializers.ListField(child=Text(max_length=500), max_length=LONGEST_LIST, required=False)
    append_system_prompt = Text(required=False, allow_blank=True, max_length=100_000)
    max_turns = Whole(required=False, allow_null=True, min_value=1, max_value=10_000)
    max_budget_usd = Number(required=False, allow_null=True)
    approval_timeout_minutes = Number(required=False, allow_null=True)
    metadata = StoredObject(required=False)
    setting_sources = serializers.ListField(
        child=serializers.ChoiceField(choices=sorted(SETTING_SOURCES)), max_length=LONGEST_LIST, required=False,
        help_text="Settings of the CLI's own to read. Only an administrator may start or continue such a session.",
    )  # fmt: skip
    attachments = attachments_field()


class MessageSerializer(serializers.Serializer[Any]):
    """The next prompt of a session."""

    prompt = Text()
    attachments = attachments_field()


class SessionIdSerializer(serializers.Serializer[Any]):
    """The session that a WebSocket message refers to."""

    session = Text(max_length=100)


class MessageToSerializer(SessionIdSerializer, MessageSerializer):
    """The next prompt of the named session, for a WebSocket message."""


class EventSerializer(serializers.Serializer[Event]):
    """One event of a transcript; ``payload`` is the stored JSON, unchanged."""

    seq = serializers.IntegerField()
    kind = serializers.ChoiceField(choices=Event.Kind.choices)
    at = serializers.DateTimeField()
    payload = serializers.JSONField()


class EventsSerializer(serializers.Serializer[Any]):
    """A page of a transcript; ``last_seq`` is the number of the session's newest event."""

    results = EventSerializer(many=True)
    last_seq = serializers.IntegerField()


class AgentSerializer(serializers.ModelSerializer[Agent]):
    """A CLI found on a host; needs the annotations of ``sessions_app.queries.readable_agents``."""

    running = serializers.IntegerField(read_only=True)
    waiting = serializers.IntegerField(read_only=True)
    tested = serializers.SerializerMethodField(help_text="Whether Orchestra was tested with a CLI as new as this one.")

    class Meta:
        model = Agent
        fields = [
            "id",
            "name",
            "host",
            "path",
            "version",
            "status",
            "logged_in",
            "detail",
            "tested",
            "last_seen_at",
            "running",
            "waiting",
        ]
        read_only_fields = fields

    def get_tested(self, agent: Agent) -> bool:
        return agent.name == "demo" or is_tested(agent.version)


class LookingSerializer(serializers.Serializer[Any]):
    """Confirms that the workers received the request to look for agents."""

    detail = serializers.CharField()
