"""Reject a request and stop the turn that made it."""

from collections.abc import Callable
from functools import partial
from uuid import UUID

from django.http import Http404, HttpRequest, HttpResponse
from django.views.decorators.http import require_POST

from console.approvals import decision_views
from console.shell import page
from orchestra.auth.permissions import Right
from orchestra.errors import OrchestraError
from sessions_app import commands
from sessions_app.models import OPEN_TURN, PermissionRequest, Turn


@require_POST
@page(Right.DECIDE)
@page(Right.OPERATE)
def reject_and_stop(request: HttpRequest, approval_id: UUID, draw: Callable[..., HttpResponse]) -> HttpResponse:
    """Reject with the form's reason, and interrupt the turn only if the rejection was recorded."""
    link = PermissionRequest.objects.filter(approval=approval_id).select_related("turn").first()
    if link is None:
        raise Http404("No session made this request.")
    data = request.POST.copy()
    data["decision"] = "reject"
    stop_turn = partial(_stop, link.turn, by=request.user.get_username())
    return decision_views.decide_and_respond(request, approval_id, draw, data=data, after_decision=stop_turn)


def _stop(turn: Turn, *, by: str) -> str:
    """Interrupt the turn unless it has ended: a repeated rejection must not stop the next turn."""
    if not Turn.objects.filter(pk=turn.pk, status__in=OPEN_TURN).exists():
        return ""
    try:
        commands.interrupt_session(session_id=turn.session_id, by=by)
    except OrchestraError as error:
        return f"Rejected, but the turn was not stopped. {error.detail}"
    return ""
