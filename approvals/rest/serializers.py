"""Serializers of approvals for the REST surface and the hub."""

import math
from datetime import timedelta
from typing import Any

from django.conf import settings
from drf_spectacular.utils import extend_schema_field, extend_schema_serializer
from rest_framework import serializers

from approvals.callbacks.addresses import address_problem
from approvals.commands import LONGEST_NOTE
from approvals.deadlines import timeout_problem
from approvals.models import Approval, DecisionSource
from orchestra.rest.fields import ExactJSON, JSONObject, Number, StoredObject, Text, Truth

LONGEST_TEXT = 100_000  # characters of a body or a reason
LONGEST_OPTION = 200
MOST_OPTIONS = 20


class ApprovalSerializer(serializers.ModelSerializer[Approval]):
    """One approval request, its decision and its deadline."""

    # Rows come from approvals.queries.readable_approvals: seconds_left needs its annotation
    # read_at, the database time that deadlines are compared with.

    tool_input = ExactJSON(help_text="The complete input, exactly as the agent gave it; null for other kinds.")
    updated_input = ExactJSON(help_text="The input as the approver edited it, or null.")
    answers = ExactJSON(help_text="Answers to an agent's questions, or null.")
    options = ExactJSON(help_text="The choices that an external request offers, or null.")
    decided_via = serializers.ChoiceField(choices=DecisionSource.choices, allow_blank=True, read_only=True)
    expires_at = serializers.SerializerMethodField(help_text="The deadline; null for a request that never expires.")
    seconds_left = serializers.SerializerMethodField(
        help_text="Until the deadline, by the database's clock; 0 once closed, null for one that never expires."
    )

    class Meta:
        model = Approval
        fields = [
            "id", "kind", "status", "session", "requested_by", "tool_name", "tool_input", "input_digest", "run_digest",
            "title", "summary", "risk", "working_directory", "created_at", "expires_at", "seconds_left",
            "decided_at", "decided_by", "decided_via", "reason", "note", "note_delivered_at", "updated_input",
            "answers", "scope", "consumed_at", "body", "facts", "options", "reopened_from", "reopened_as",
        ]  # fmt: skip
        read_only_fields = fields

    @extend_schema_field(serializers.DateTimeField(allow_null=True))
    def get_expires_at(self, approval: Approval) -> str | None:
        shown = serializers.DateTimeField().to_representation(approval.expires_at)
        return None if approval.never_expires else str(shown)

    def get_seconds_left(self, approval: Any) -> int | None:
        if not approval.is_open:
            return 0
        if approval.never_expires:
            return None
        left: timedelta = approval.expires_at - approval.read_at
        return max(0, math.ceil(left.total_seconds()))


@extend_schema_serializer(component_name="ExternalAsk")  # as published
class ExternalRequestSerializer(serializers.Serializer[Any]):
    """An approval request that any program makes to people."""

    title = Text(max_length=300)
    body = Text(max_length=LONGEST_TEXT, required=False, allow_blank=True, default="")
    facts = StoredObject(required=False, default=dict, help_text="Name to value, shown beside the request.")
    options = serializers.ListField(
        child=Text(max_length=LONGEST_OPTION), max_length=MOST_OPTIONS, required=False, default=list,
        help_text="Choices; the answer is the one that the person picks.",
    )  # fmt: skip
    timeout_minutes = Number(
        required=False, allow_null=True, default=None,
        help_text="0: never expires, where APPROVAL_ALLOW_NEVER_EXPIRES allows it.",
    )  # fmt: skip
    callback = Text(
        required=False,
        allow_blank=True,
        default="",
        help_text="URL to post the outcome to; its host must be in APPROVAL_CALLBACK_HOSTS (empty by default).",
    )

    def validate_title(self, title: str) -> str:
        if not title.strip():
            raise serializers.ValidationError("This may not be empty.")
        return title

    def validate_timeout_minutes(self, minutes: float | None) -> float | None:
        if problem := timeout_problem(minutes):
            raise serializers.ValidationError(problem)
        return minutes

    def validate_callback(self, callback: str) -> str:
        problem = callback and address_problem(callback, settings.APPROVALS.callback_places)
        if problem:
            raise serializers.ValidationError(problem)
        return callback


class ReasonSerializer(serializers.Serializer[Any]):
    """The reason of a decision; the agent reads it after a rejection."""

    reason = Text(max_length=LONGEST_TEXT, required=False, allow_blank=True, default="")


class ApproveSerializer(ReasonSerializer):
    """A decision; every field is optional."""

    approved = Truth(required=False, default=True, help_text="false rejects.")
    note = Text(
        max_length=LONGEST_NOTE, required=False, allow_blank=True, default="",
        help_text="Guidance with an approval: the agent reads it together with the result of the call.",
    )  # fmt: skip
    updated_input = JSONObject(required=False, allow_null=True, default=None, help_text="Run this input instead.")
    scope = serializers.ChoiceField(choices=Approval.Scope.choices, required=False, default=Approval.Scope.ONCE)
    answers = JSONObject(required=False, allow_null=True, default=None, help_text="Maps each question to its answer.")
    input_digest = Text(
        max_length=64,
        required=False,
        allow_blank=True,
        default="",
        help_text="The input_digest of the input that you saw.",
    )


class DecideSerializer(ApproveSerializer):
    """A decision on the WebSocket, which names its approval."""

    approval = Text(max_length=100)
    approved = Truth(help_text="false rejects.")


class ReopenSerializer(serializers.Serializer[Any]):
    """The closed request to reopen, on the WebSocket."""

    approval = Text(max_length=100)


class MinutesSerializer(serializers.Serializer[Any]):
    """How far to move the deadline."""

    minutes = Number(help_text="0: it never expires, where APPROVAL_ALLOW_NEVER_EXPIRES allows it.")
