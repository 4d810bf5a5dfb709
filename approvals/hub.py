"""The socket door of approvals: what the hub shows of them, and ``decide``."""

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

S = Approval.Status
LATELY = timedelta(minutes=2)  # asked and closed within it, though no ring was heard, is still told
MARK = ("status", "expires_at", "consumed_at")


class ApprovalRows:
    """Open requests, the most urgent first; a closed one is told once."""

    created = "approval.requested"
    changed = "approval.changed"

    def hears(self, topic: str, known: Row | None) -> bool:
        return topic == "approval"

    def marks(self) -> dict[str, object]:
        rows = Approval.objects.order_by().values_list("pk", *MARK)
        lately = rows.filter(created_at__gt=Now() - LATELY)
        return {str(pk): tuple(mark) for pk, *mark in [*rows.filter(status=S.PENDING), *lately]}

    def rows(self, keys: Collection[str]) -> Sequence[Row]:
        return [_row(approval, _as_json()) for approval in readable_approvals().filter(pk__in=keys)]


@cache
def _as_json() -> ApprovalSerializer:
    """One for all: making its fields takes longer than reading a row."""
    return ApprovalSerializer()


def _row(approval: Any, as_json: ApprovalSerializer) -> Row:
    shown = dict(as_json.to_representation(approval))
    left = shown.pop("seconds_left")
    ends_at = None if left is None else time.monotonic() + left
    return Row(
        key=str(approval.pk),
        text=wire.text(shown),
        mark=tuple(getattr(approval, name) for name in MARK),
        listed=approval.is_open,
        rank=approval.expires_at,
        owner=approval.requested_by,
        passing=partial(_passing, ends_at if approval.is_open else 0.0),
    )


def _passing(ends_at: float | None) -> Mapping[str, object]:
    """``ends_at`` is None for what never expires."""
    return {"seconds_left": None if ends_at is None else max(0, round(ends_at - time.monotonic()))}


def decide(caller: Caller, data: Mapping[str, Any]) -> Mapping[str, object]:
    """As ``POST /api/approvals/{id}/approve``."""
    wanted = checked(DecideSerializer, data)
    approval_id = id_or_not_found(wanted["approval"], ApprovalNotFound, "Approval not found")
    via = DecisionSource.DASHBOARD if caller.by_cookie else DecisionSource.WEBSOCKET
    approval = decisions.decide(approval_id, wanted, by=caller.username, via=via, address=caller.address)
    return {"approval": str(approval.pk)}


def reopen(caller: Caller, data: Mapping[str, Any]) -> Mapping[str, object]:
    """As ``POST /api/approvals/{id}/reopen``; answered with the request that is open then."""
    wanted = checked(ReopenSerializer, data)
    approval_id = id_or_not_found(wanted["approval"], ApprovalNotFound, "Approval not found")
    via = DecisionSource.DASHBOARD if caller.by_cookie else DecisionSource.WEBSOCKET
    fresh = reopening.reopen_approval(approval_id=approval_id, by=caller.username, via=via, address=caller.address)
    return {"approval": str(fresh.pk)}


class OpenApprovals:
    """How many questions wait, and how many of them are overdue."""

    created = changed = "queue.changed"

    def hears(self, topic: str, known: Row | None) -> bool:
        return topic == "approval"

    def marks(self) -> dict[str, object]:
        return {"approvals": self._count()}

    def rows(self, keys: Collection[str]) -> Sequence[Row]:
        count = self._count()
        text = wire.text({"part": "queue", "name": "approvals", "pending": count})
        return [Row(key="approvals", text=text, mark=count, listed=True, rank=(0, "approvals"))]

    def _count(self) -> int:
        return Approval.objects.filter(status=S.PENDING).count()


def connect() -> None:
    """Called once when the app is ready."""
    registry.show_rows("approvals", ApprovalRows(), rights=any_of(Right.READ), own_rights=any_of(Right.ASK))
    registry.show_rows("diagnostics", OpenApprovals(), rights=any_of(Right.READ))
    registry.obey("decide", Command(any_of(Right.DECIDE), decide))
    registry.obey("reopen", Command(any_of(Right.DECIDE), reopen))
