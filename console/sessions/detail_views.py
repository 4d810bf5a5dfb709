"""Views of one session: its live transcript with the requests in it, and the actions on the
session.
"""

import json
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

from django.contrib import messages
from django.db.models import F
from django.http import Http404, HttpRequest, HttpResponse
from django.shortcuts import redirect, render
from django.utils import timezone
from django.views.decorators.http import require_POST, require_safe

from approvals.commands import revoke_session_rule
from approvals.models import Approval, DecisionSource, Rule
from approvals.policy.standing_rules import served_by
from approvals.policy.tool_call import EDITING_TOOLS, telling_argument
from approvals.presentation.safe_text import one_line
from approvals.queries import open_approvals, rules_in_force
from console.approvals.cards import heading_of
from console.sessions.rows import content_of, payload_of, rows_of, tail_of, with_open_end
from console.sessions.states import label_of
from console.shell import page, part, show
from orchestra.auth.permissions import Right
from orchestra.errors import OrchestraError
from sessions_app import commands
from sessions_app.forms import lines_of
from sessions_app.models import IDLE_SESSION, OPEN_SESSION, AgentSession, Event, Turn
from sessions_app.queries import readable_sessions

EVENTS_AT_ONCE = 200
EVENTS_AT_FIRST = 120
MOST_FOUND = 100
MOST_LINES = 20_000  # of an output that is shown whole
LARGEST_SEQ = 2**63 - 1
TURNS_SHOWN = 50
FILES_SHOWN = 30


@require_safe
@page()
def session_page(request: HttpRequest, session_id: UUID) -> HttpResponse:
    """The page with the newest events; ``?from=SEQ`` shows earlier ones, also without JavaScript."""
    session = found_or_404(session_id)
    start = _number(request, "from")
    events = _around(session, start) if start else _newest(session)
    context = {
        **_head(session),
        **_side(session),
        **_window(session, events),
        "rows": with_open_end(rows_of(session, events, request.user)),
    }
    title = one_line(session.title, 120)
    return show(request, "console/session.html", context, title=title, section="sessions")


@require_safe
@page()
def rows_part(request: HttpRequest, session_id: UUID) -> HttpResponse:
    """A fragment of the transcript: events ``after`` a number (with updates of earlier rows),
    ``before`` or ``from`` it.
    """
    session = found_or_404(session_id)
    live = "after" in request.GET
    if live:
        events = _events(session, seq__gt=_number(request, "after"))
    elif "before" in request.GET:
        events = _last(session, EVENTS_AT_ONCE, seq__lt=_number(request, "before"))
    else:
        events = _around(session, _number(request, "from"))
    context = {
        "session": session,
        "rows": rows_of(session, events, request.user, live=live),
        **_window(session, events),
    }
    return part(request, "console/session/rows.html", context)


@require_safe
@page()
def head_part(request: HttpRequest, session_id: UUID) -> HttpResponse:
    """The fragment with title, state and meters."""
    return part(request, "console/session/head.html", _head(found_or_404(session_id)))


@require_safe
@page()
def side_part(request: HttpRequest, session_id: UUID) -> HttpResponse:
    """The fragment with open requests, facts, rules, files and turns."""
    return part(request, "console/session/side.html", _side(found_or_404(session_id)))


@require_safe
@page()
def foot_part(request: HttpRequest, session_id: UUID) -> HttpResponse:
    """The fragment below the transcript with the form for the next message."""
    return part(request, "console/session/under.html", _head(found_or_404(session_id)))


@require_safe
@page()
def output_part(request: HttpRequest, session_id: UUID, tool: str) -> HttpResponse:
    """The fragment with the whole output of the call with this id."""
    found = Event.objects.filter(
        session=session_id, kind=Event.Kind.TOOL_RESULT, payload__contains=json.dumps(tool)
    ).first()
    if found is None:
        raise Http404("There is no such output.")
    output = tail_of(content_of(payload_of(found)), MOST_LINES)
    return render(request, "console/session/output.html", {"output": output})


@require_safe
@page()
def search_part(request: HttpRequest, session_id: UUID) -> HttpResponse:
    """The fragment with events that contain the search words, the newest first."""
    words = request.GET.get("q", "").strip()[:200]
    found: list[Event] = []
    if words:
        written = json.dumps(words)[1:-1]  # payloads are ASCII JSON
        rows = Event.objects.filter(session=session_id, payload__icontains=written)
        found = list(rows.only("seq", "kind", "at").order_by("-seq")[: MOST_FOUND + 1])
    context = {"found": found[:MOST_FOUND], "more": len(found) > MOST_FOUND, "words": words, "session_id": session_id}
    return render(request, "console/session/found.html", context)


@require_POST
@page(Right.OPERATE)
def act(request: HttpRequest, session_id: UUID) -> HttpResponse:
    """Send the next message, interrupt the turn or cancel the session. A refusal is shown; the
    entered text is kept.
    """
    refusal = _act(request, session_id)
    if request.headers.get("HX-Request"):
        head = _head(found_or_404(session_id))
        return part(request, "console/session/under.html", {**head, "refusal": refusal})
    if refusal:
        messages.warning(request, refusal)
    return redirect("session", session_id)


@require_POST
@page(Right.DECIDE)
def revoke(request: HttpRequest, session_id: UUID, rule_id: UUID) -> HttpResponse:
    """Revoke a rule of the session, which needs the right to decide; repeating it changes nothing."""
    session = found_or_404(session_id)
    by, address = request.user.get_username(), request.META.get("REMOTE_ADDR", "")
    revoke_session_rule(rule_id=rule_id, session=session.pk, by=by, via=DecisionSource.DASHBOARD, address=address)
    if request.headers.get("HX-Request"):
        return part(request, "console/session/side.html", _side(session))
    return redirect("session", session_id)


def _act(request: HttpRequest, session_id: UUID) -> str:
    wanted, by = request.POST.get("act", ""), request.user.get_username()
    try:
        if wanted == "message":
            commands.send_message(
                session_id=session_id, prompt=request.POST.get("prompt", ""), by=by,
                attachments=lines_of(request.POST.get("attachments", "")), via=DecisionSource.DASHBOARD,
            )  # fmt: skip
        elif wanted == "interrupt":
            commands.interrupt_session(session_id=session_id, by=by)
        elif wanted == "cancel":
            commands.cancel_session(session_id=session_id, by=by)
        else:
            return "Nothing was done: the page did not say what."
    except OrchestraError as error:
        return error.detail
    return ""


def found_or_404(session_id: UUID) -> AgentSession:
    """The session as a row of ``readable_sessions``."""
    session = readable_sessions().filter(pk=session_id).first()
    if session is None:
        raise Http404("Session not found")
    return session


# --- pieces of the transcript


def _events(session: AgentSession, **where: int) -> list[Event]:
    return list(Event.objects.filter(session=session, **where).order_by("seq")[:EVENTS_AT_ONCE])


def _last(session: AgentSession, most: int, **where: int) -> list[Event]:
    return list(Event.objects.filter(session=session, **where).order_by("-seq")[:most])[::-1]


def _newest(session: AgentSession) -> list[Event]:
    return _last(session, EVENTS_AT_FIRST)


def _around(session: AgentSession, seq: int) -> list[Event]:
    return _events(session, seq__gte=max(1, seq - EVENTS_AT_ONCE // 4))


def _window(session: AgentSession, events: list[Event]) -> dict[str, Any]:
    """The numbers of the first and last event of a fragment, and of the events before and after it."""
    first, last = (events[0].seq, events[-1].seq) if events else (0, 0)
    return {"first_seq": first, "last_seq": last, "newest_seq": session.last_seq, "earlier": max(0, first - 1)}


def _number(request: HttpRequest, name: str) -> int:
    text = request.GET.get(name, "")
    return min(int(text), LARGEST_SEQ) if text.isascii() and text.isdigit() and len(text) < 20 else 0


# --- head and side


@dataclass(frozen=True, slots=True)
class TimeSpent:
    """The time that a session worked, and the time that it waited for people."""

    working: timedelta
    waiting: timedelta


def _head(session: AgentSession) -> dict[str, Any]:
    turns = list(session.turns.order_by("-number")[:TURNS_SHOWN])
    waiting = open_approvals(session.pk)
    return {
        "session": session,
        "title": one_line(session.title, 200),
        "label": label_of(session),
        "turn": turns[0] if turns else None,
        "turns": turns[::-1],
        "waiting": [(one, heading_of(one)) for one in waiting],
        "spent": _time_spent(session, turns),
        "is_open": session.status in OPEN_SESSION,
        "may_message": session.status in IDLE_SESSION,
        "ended": session.status == AgentSession.Status.CANCELLED,
        "memory": _memory(session),
        "demo": session.agent == "demo",
        "folder": session.working_directory.rstrip("/").rsplit("/", 1)[-1],
    }


def _memory(session: AgentSession) -> str:
    """A sentence about what the agent remembers when the next message is sent."""
    if session.conversation is None:
        return "The agent remembers everything above."
    if not session.resumable:
        return "The next message starts with an empty conversation."
    return "The agent remembers what was said since it was cleared."


def _side(session: AgentSession) -> dict[str, Any]:
    rules = rules_in_force().filter(scope=Rule.ScopeKind.SESSION, scope_value=str(session.pk)).order_by("created_at")
    waiting = open_approvals(session.pk)
    run = session.runs.filter(ended_at=None).first()
    return {
        "session": session,
        "waiting": [(one, heading_of(one)) for one in waiting],
        "rules": [(rule, served_by(rule)) for rule in rules[:20]],
        "files": _files(session),
        "turns": list(session.turns.order_by("-number")[:TURNS_SHOWN])[::-1],
        "turn_starts": _turn_starts(session),
        "run": run,
        "label": label_of(session),
    }


def _turn_starts(session: AgentSession) -> dict[int, int]:
    """The number of the first event of each turn, by the turn's number."""
    prompts = Event.objects.filter(session=session, kind=Event.Kind.PROMPT).order_by("-seq")[:TURNS_SHOWN]
    return {number: event.seq for event in prompts if isinstance(number := payload_of(event).get("turn"), int)}


def _files(session: AgentSession) -> list[tuple[str, int]]:
    """The files that approved calls wrote, each with the number of writes."""
    edits = Approval.objects.filter(session=session.pk, tool_name__in=EDITING_TOOLS, consumed_at__isnull=False)
    counts: dict[str, int] = {}
    for tool, tool_input, edited in edits.order_by("created_at").values_list(
        "tool_name", "tool_input", "updated_input"
    )[:500]:
        name = telling_argument(tool, edited or tool_input)
        name = name.removeprefix(session.working_directory.rstrip("/") + "/")
        counts[name] = counts.get(name, 0) + 1
    return [(one_line(name, 200), count) for name, count in list(counts.items())[:FILES_SHOWN]]


def _time_spent(session: AgentSession, turns: list[Turn]) -> TimeSpent:
    now = timezone.now()
    approvals = Approval.objects.filter(session=session.pk, decided_at__isnull=True) | Approval.objects.filter(
        session=session.pk, decided_at__gt=F("created_at") + timedelta(milliseconds=50)
    )
    spans = list(approvals.order_by("created_at").values_list("created_at", "decided_at")[:1000])
    waiting = _covered([(start, end or now) for start, end in spans])
    whole = sum(((turn.finished_at or now) - turn.started_at for turn in turns if turn.started_at), timedelta())
    return TimeSpent(working=max(timedelta(), whole - waiting), waiting=waiting)


def _covered(spans: list[tuple[datetime, datetime]]) -> timedelta:
    """The length of the union of the spans, which are sorted by their starts."""
    total, reached = timedelta(), None
    for start, end in spans:
        begin = start if reached is None else max(start, reached)
        total += max(timedelta(), end - begin)
        reached = end if reached is None else max(reached, end)
    return total
