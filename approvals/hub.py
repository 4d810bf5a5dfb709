"""Approvals on the hub: the rows of its topics, and the commands ``decide`` and ``reopen``."""

import time
from collections.abc import Collection, Mapping, Sequence
from datetime import timedelta
from functools import cache, partial
from typing import Any

from django.db.models.functions import Now

from approvals import reopening
from approvals.errors import ApprovalNotFound
from approvals.models import Approval, DecisionSource
from approvals.queries import readable_approvals
from approvals.rest import decisions
from approvals.rest.serializers import ApprovalSerializer, DecideSerializer, ReopenSerializer
from orchestra.auth.permissions import Right
from orchestra.realtime import registry, wire
from orchestra.realtime.registry import Caller, Command, Row
from orchestra.rest.viewsets import any_of, checked, id_or_not_found

RECENTLY = timedelta(minutes=2)  # requests created and closed within it are sent even if every notification was lost
FINGERPRINT = ("status", "expires_at", "consumed_at")


class ApprovalRows:
    """Open approvals, the most urgent first; a closed one is sent once more."""

    created = "approval.requested"
    changed = "approval.changed"

    def is_affected_by(self, topic: str, known: Row | None) -> bool:
        return topic == "approval"

    def fingerprints(self) -> dict[str, object]:
        rows = Approval.objects.order_by().values_list("pk", *FINGERPRINT)
        recent = rows.filter(created_at__gt=Now() - RECENTLY)
        pending = rows.filter(status=Approval.Status.PENDING)
        return {str(pk): tuple(values) for pk, *values in [*pending, *recent]}

    def rows(self, keys: Collection[str]) -> Sequence[Row]:
        return [_row(approval, _serializer()) for approval in readable_approvals().filter(pk__in=keys)]


@cache
def _serializer() -> ApprovalSerializer:
    """Return one serializer for all rows: making its fields takes longer than reading a row."""
    return ApprovalSerializer()


def _row(approval: Any, serializer: ApprovalSerializer) -> Row:
    shown = dict(serializer.to_representation(approval))
    left = shown.pop("seconds_left")
    ends_at = None if left is None else time.monotonic() + left
    return Row(
        key=str(approval.pk),
        json_text=wire.text(shown),
        fingerprint=tuple(getattr(approval, name) for name in FINGERPRINT),
        is_listed=approval.is_open,
        sort_key=approval.expires_at,
        owner=approval.requested_by,
        volatile_fields=partial(_seconds_left, ends_at if approval.is_open else 0.0),
    )


def _seconds_left(ends_at: float | None) -> Mapping[str, object]:
    """``ends_at`` is in seconds of the monotonic clock; None for an approval that never expires."""
    return {"seconds_left": None if ends_at is None else max(0, round(ends_at - time.monotonic()))}


def decide(caller: Caller, data: Mapping[str, Any]) -> Mapping[str, object]:
    """Do the same as ``POST /api/approvals/{id}/approve`` and ``/reject``."""
    wanted = checked(DecideSerializer, data)
    approval_id = id_or_not_found(wanted["approval"], ApprovalNotFound, "Approval not found")
    via = DecisionSource.DASHBOARD if caller.by_cookie else DecisionSource.WEBSOCKET
    approval = decisions.decide(approval_id, wanted, by=caller.username, via=via, address=caller.address)
    return {"approval": str(approval.pk)}


def reopen(caller: Caller, data: Mapping[str, Any]) -> Mapping[str, object]:
    """Do the same as ``POST /api/approvals/{id}/reopen``; return the approval that is open then."""
    wanted = checked(ReopenSerializer, data)
    approval_id = id_or_not_found(wanted["approval"], ApprovalNotFound, "Approval not found")
    via = DecisionSource.DASHBOARD if caller.by_cookie else DecisionSource.WEBSOCKET
    fresh = reopening.reopen_approval(approval_id=approval_id, by=caller.username, via=via, address=caller.address)
    return {"approval": str(fresh.pk)}


class OpenApprovals:
    """The number of pending approvals."""

    created = changed = "queue.changed"

    def is_affected_by(self, topic: str, known: Row | None) -> bool:
        return topic == "approval"

    def fingerprints(self) -> dict[str, object]:
        return {"approvals": self._count()}

    def rows(self, keys: Collection[str]) -> Sequence[Row]:
        count = self._count()
        text = wire.text({"part": "queue", "name": "approvals", "pending": count})
        return [Row(key="approvals", json_text=text, fingerprint=count, is_listed=True, sort_key=(0, "approvals"))]

    def _count(self) -> int:
        return Approval.objects.filter(status=Approval.Status.PENDING).count()


def connect() -> None:
    """Register topics and commands. ``AppConfig.ready`` calls this once."""
    registry.register_rows("approvals", ApprovalRows(), rights=any_of(Right.READ), own_rights=any_of(Right.ASK))
    registry.register_rows("diagnostics", OpenApprovals(), rights=any_of(Right.READ))
    registry.register_command("decide", Command(any_of(Right.DECIDE), decide))
    registry.register_command("reopen", Command(any_of(Right.DECIDE), reopen))
