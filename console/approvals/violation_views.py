"""The banner about tools that ran without approval, and its acknowledgement."""

from dataclasses import dataclass
from functools import cache
from uuid import UUID

from django.contrib import messages
from django.http import Http404, HttpRequest, HttpResponse
from django.shortcuts import redirect
from django.views.decorators.http import require_POST

from approvals.errors import ViolationNotFound
from approvals.models import DecisionSource, Violation
from approvals.presentation.safe_text import visible
from approvals.violations import acknowledge_violation, open_violations
from console.approvals.decision_views import back_to
from console.shell import page
from orchestra.auth.permissions import Right, may

SHOWN = 3


@dataclass(frozen=True, slots=True)
class Alarm:
    """The content of the banner: a few violations, and whether there are more."""

    violations: list[Violation]
    more: bool
    may_acknowledge: bool


def alarm(request: HttpRequest) -> dict[str, object]:
    """Context processor: ``violation_alarm``, None without open violations or without the right to
    read.
    """
    user = getattr(request, "user", None)
    return {"violation_alarm": cache(lambda: _alarm_for(user))}  # a template reads it more than once


@require_POST
@page(Right.ADMINISTER)
def acknowledge(request: HttpRequest, violation_id: UUID) -> HttpResponse:
    """Acknowledge a violation, which removes it from the banner; the audit keeps it."""
    try:
        violation = acknowledge_violation(
            violation_id=violation_id, by=request.user.get_username(), via=DecisionSource.DASHBOARD,
            address=request.META.get("REMOTE_ADDR", ""),
        )  # fmt: skip
    except ViolationNotFound:
        raise Http404("Violation not found") from None
    messages.success(request, f"Acknowledged: {visible(violation.tool_name)} ran unapproved. The audit keeps it.")
    return redirect(back_to(request))


def _alarm_for(user: object) -> Alarm | None:
    if not may(user, Right.READ):
        return None
    found = open_violations(most=SHOWN + 1)
    return Alarm(found[:SHOWN], len(found) > SHOWN, may(user, Right.ADMINISTER)) if found else None
