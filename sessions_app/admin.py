"""Sessions in the admin: list, read, start, continue and stop them; every change is one command."""

import json
import logging
from typing import Any, ClassVar
from uuid import UUID

from celery import current_app
from django.contrib import admin, messages
from django.core.exceptions import PermissionDenied
from django.db.models import Case, IntegerField, QuerySet, Value, When
from django.http import Http404, HttpRequest, HttpResponse, HttpResponseNotAllowed
from django.http import HttpResponseRedirect as Redirect
from django.template.response import TemplateResponse
from django.urls import URLPattern, path, reverse
from django.utils.html import format_html
from django.utils.safestring import SafeString
from kombu.exceptions import OperationalError

from approvals.models import DecisionSource
from approvals.presentation.render import one_line, pretty, visible
from approvals.queries import open_approvals
from approvals.templatetags.shown import ago
from orchestra.admin import Holdable, Reading
from orchestra.auth.permissions import Right, may
from orchestra.errors import OrchestraError
from sessions_app import commands, retention
from sessions_app.forms import StartForm
from sessions_app.models import IDLE_SESSION, OPEN_SESSION, Agent, AgentSession, Event, PermissionRequest, Run, Turn
from sessions_app.queries import find_session
from sessions_app.schedules import admin as schedule_admin  # noqa: F401 - registers its page
from sessions_app.transcript.render import bounded, describe_event, spending_text

logger = logging.getLogger(__name__)

EVENTS_SHOWN = 200
MOST_EVENTS_SHOWN = 5_000
LONGEST_TEXT = 20_000


@admin.register(AgentSession)
class AgentSessionAdmin(Holdable):
    """Sessions, with pages of their own in place of Django's forms."""

    list_display = ("shown_title", "shown_status", "shown_agent", "shown_requester", "cost", "age", "held")
    list_display_links = None
    list_filter = ("status", "agent", "legal_hold")
    actions = ("hold_selected", "release_selected")
    set_hold = staticmethod(retention.set_hold)
    search_fields = ("title", "working_directory", "requested_by", "id")

    def get_ordering(self, request: HttpRequest) -> list[Any]:
        """Order by urgency: waiting, running, queued, then all others; each newest first."""
        order = (AgentSession.Status.WAITING, AgentSession.Status.RUNNING, AgentSession.Status.QUEUED)
        urgency = [When(status=status, then=Value(rank)) for rank, status in enumerate(order)]
        return [Case(*urgency, default=Value(3), output_field=IntegerField()), "-created_at"]

    def has_add_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return may(request.user, Right.OPERATE)

    @admin.display(description="session", ordering="title")
    def shown_title(self, session: AgentSession) -> SafeString:
        return session_link(session)

    @admin.display(description="status", ordering="status")
    def shown_status(self, session: AgentSession) -> SafeString:
        return format_html('<span class="status status-{}">{}</span>', session.status, session.status)

    @admin.display(description="agent", ordering="agent")
    def shown_agent(self, session: AgentSession) -> SafeString | str:
        return (
            format_html('<span class="{0}">{0}</span>', "demo") if session.agent == "demo" else visible(session.agent)
        )

    @admin.display(description="requested by", ordering="requested_by")
    def shown_requester(self, session: AgentSession) -> str:
        return visible(session.requested_by)

    @admin.display(description="cost", ordering="cost_usd")
    def cost(self, session: AgentSession) -> str:
        return f"${session.cost_usd:.2f}"

    @admin.display(description="started", ordering="created_at")
    def age(self, session: AgentSession) -> str:
        return ago(session.created_at)

    # --- pages

    def get_urls(self) -> list[URLPattern]:
        act = self.admin_site.admin_view(self.act_view)
        return [path("<uuid:session_id>/act/", act, name="sessions_app_agentsession_act"), *super().get_urls()]

    def add_view(
        self, request: HttpRequest, form_url: str = "", extra_context: dict[str, Any] | None = None
    ) -> HttpResponse:
        """Show the form that starts a session; a valid POST starts it."""
        if not self.has_add_permission(request):
            raise PermissionDenied
        form = StartForm(request.POST if request.method == "POST" else None)
        if request.method == "POST" and form.is_valid():
            session = form.start(request.user, via=DecisionSource.ADMIN)
            if session is not None:
                self.message_user(request, "Queued; a worker takes it from here.", messages.SUCCESS)
                return Redirect(session_address(session.pk))
        context = {**self.admin_site.each_context(request), "title": "Start a session", "opts": self.opts, "form": form}
        return TemplateResponse(request, "admin/sessions_app/agentsession/start.html", context)

    def change_view(
        self, request: HttpRequest, object_id: str, form_url: str = "", extra_context: dict[str, Any] | None = None
    ) -> HttpResponse:
        """Show one session: the end of its transcript, its open approvals, and the actions on it."""
        if request.method not in ("GET", "HEAD"):
            return HttpResponseNotAllowed(["GET", "HEAD"])
        if not self.has_view_permission(request):
            raise PermissionDenied
        return TemplateResponse(
            request, "admin/sessions_app/agentsession/change_form.html", self._page(request, _session_or_404(object_id))
        )

    def _page(self, request: HttpRequest, session: AgentSession, *, draft: str = "") -> dict[str, Any]:
        events = _events(session, request.GET.get("before", ""), whole="whole" in request.GET)
        operates = may(request.user, Right.OPERATE)
        return {
            **self.admin_site.each_context(request),
            "title": one_line(session.title, 200),
            "opts": self.opts,
            "session": session,
            "demo": session.agent == "demo",
            "spent": spending_text(session),
            "options": visible(json.dumps(session.options, indent=2, ensure_ascii=False)) if session.options else "",
            "waiting": open_approvals(session.pk),
            "turns": session.turns.order_by("-number")[:50],
            "runs": session.runs.order_by("-created_at")[:20],
            "events": [(event, describe_event(event)) for event in events],
            "earlier": events[0].seq if events and events[0].seq > 1 else 0,
            "draft": draft,
            "may_message": operates and session.status in IDLE_SESSION,
            "may_interrupt": operates and session.status in OPEN_SESSION,
            "may_cancel": operates and session.status != AgentSession.Status.CANCELLED,
        }

    def act_view(self, request: HttpRequest, session_id: UUID) -> HttpResponse:
        """Send a message, interrupt or cancel; the page shows why a command was refused."""
        if request.method != "POST":
            return HttpResponseNotAllowed(["POST"])
        if not may(request.user, Right.OPERATE):
            raise PermissionDenied
        session = _session_or_404(str(session_id))
        try:
            done = _act(
                session_id, request.POST.get("act", ""), request.POST.get("prompt", ""), request.user.get_username()
            )
        except OrchestraError as error:
            self.message_user(request, f"Not done. {error.detail}", messages.WARNING)
            page = self._page(request, session, draft=request.POST.get("prompt", ""))
            return TemplateResponse(request, "admin/sessions_app/agentsession/change_form.html", page)
        self.message_user(request, done, messages.SUCCESS)
        return Redirect(session_address(session_id))


def _act(session_id: UUID, act: str, prompt: str, by: str) -> str:
    if act == "message":
        turn = commands.send_message(session_id=session_id, prompt=prompt, by=by, via=DecisionSource.ADMIN)
        return f"Turn {turn.number} is queued."
    if act == "interrupt":
        commands.interrupt_session(session_id=session_id, by=by)
        return "The turn is told to stop; the dialog stays."
    if act == "cancel":
        commands.cancel_session(session_id=session_id, by=by)
        return "The session is cancelled."
    raise OrchestraError("Choose what to do.")


def _events(session: AgentSession, before: str, *, whole: bool) -> list[Event]:
    rows = Event.objects.filter(session=session)
    if before.isascii() and before.isdigit() and len(before) < 19:
        rows = rows.filter(seq__lt=int(before))
    return list(rows.order_by("-seq")[: MOST_EVENTS_SHOWN if whole else EVENTS_SHOWN])[::-1]


def session_address(session_id: UUID) -> str:
    return reverse("admin:sessions_app_agentsession_change", args=[session_id])


def session_link(session: AgentSession) -> SafeString:
    return format_html('<a href="{}"><bdi>{}</bdi></a>', session_address(session.pk), one_line(session.title, 100))


def _session_or_404(object_id: str) -> AgentSession:
    try:
        return find_session(UUID(object_id))
    except (ValueError, OrchestraError):
        raise Http404("Session not found") from None


class SessionRowAdmin(Reading):
    """Base of read-only rows that belong to a session.

    Control characters in texts are made visible.
    """

    list_select_related: ClassVar[tuple[str, ...]] = ("session",)

    @admin.display(description="session")
    def of_session(self, row: Any) -> SafeString:
        return session_link(row.session)


@admin.register(Turn)
class TurnAdmin(SessionRowAdmin):
    list_display = ("of_session", "number", "status", "shown_prompt", "cost_usd", "created_at")
    list_filter = ("status",)
    search_fields = ("prompt", "session__title")
    ordering = ("-created_at",)
    fields = (
        "of_session", "number", "status", "whole_prompt", "whole_result", "cost_usd", "input_tokens", "output_tokens",
        "created_at", "dispatched_at", "started_at", "finished_at", "interrupt_requested_at", "lost_runs",
        "failure_code", "shown_failure",
    )  # fmt: skip
    readonly_fields = ("of_session", "whole_prompt", "whole_result", "shown_failure")

    @admin.display(description="prompt")
    def shown_prompt(self, turn: Turn) -> str:
        return one_line(turn.prompt, 100)

    @admin.display(description="prompt")
    def whole_prompt(self, turn: Turn) -> SafeString:
        return _text_block(turn.prompt)

    @admin.display(description="result")
    def whole_result(self, turn: Turn) -> SafeString:
        return _text_block(turn.result)

    @admin.display(description="failure")
    def shown_failure(self, turn: Turn) -> str:
        return visible(turn.failure_detail)


@admin.register(Run)
class RunAdmin(SessionRowAdmin):
    list_display = ("of_session", "host", "pid", "heartbeat_at", "ended_at", "exit_code", "ended_why")
    list_filter = ("ended_why", "host")
    ordering = ("-created_at",)
    fields = (
        "of_session", "fence", "host", "pid", "worker_pid", "created_at", "heartbeat_at", "ended_at", "exit_code",
        "ended_why", "stderr_lines",
    )  # fmt: skip
    readonly_fields = ("of_session", "stderr_lines")

    @admin.display(description="stderr, last lines")
    def stderr_lines(self, run: Run) -> SafeString:
        return _text_block(run.stderr_tail)


@admin.register(Event)
class EventAdmin(SessionRowAdmin):
    list_display = ("of_session", "seq", "kind", "description", "at")
    list_filter = ("kind",)
    ordering = ("-id",)
    fields = ("of_session", "seq", "kind", "at", "exact_payload")
    readonly_fields = ("of_session", "exact_payload")

    @admin.display(description="what")
    def description(self, event: Event) -> str:
        text = describe_event(event, longest=200)
        return one_line(f"{text.heading} {text.body}".strip(), 120)

    @admin.display(description="payload")
    def exact_payload(self, event: Event) -> SafeString:
        return _text_block(pretty(event.payload))


@admin.register(PermissionRequest)
class PermissionRequestAdmin(SessionRowAdmin):
    list_display = ("of_session", "question", "shown_tool_use", "created_at", "answered_at")
    list_select_related = ("session", "approval")
    ordering = ("-created_at",)
    fields = ("of_session", "question", "shown_tool_use", "shown_agent", "created_at", "answered_at")
    readonly_fields = ("of_session", "question", "shown_tool_use", "shown_agent")

    @admin.display(description="request")
    def question(self, row: PermissionRequest) -> SafeString:
        address = reverse("admin:approvals_approval_change", args=[row.approval_id])
        return format_html('<a href="{}"><bdi>{}</bdi></a>', address, one_line(row.approval.title, 80))

    @admin.display(description="tool use")
    def shown_tool_use(self, row: PermissionRequest) -> str:
        return visible(row.tool_use_id)

    @admin.display(description="sub-agent")
    def shown_agent(self, row: PermissionRequest) -> str:
        return visible(row.agent_id)


@admin.register(Agent)
class AgentAdmin(Reading):
    list_display = ("name", "host", "status", "version", "logged_in", "last_seen_at", "shown_detail")
    list_filter = ("status", "host")
    fields = ("name", "host", "path", "version", "status", "logged_in", "shown_detail", "last_seen_at")
    readonly_fields = ("shown_detail",)
    actions = ("discover_now",)

    @admin.display(description="detail")
    def shown_detail(self, agent: Agent) -> str:
        return visible(agent.detail)

    def has_discover_permission(self, request: HttpRequest) -> bool:
        return may(request.user, Right.OPERATE)

    @admin.action(description="Look for agents again", permissions=["discover"])
    def discover_now(self, request: HttpRequest, chosen: QuerySet[Agent]) -> None:
        try:
            current_app.send_task("sessions_app.ask_for_discovery", retry=False)
        except (OperationalError, OSError) as error:
            logger.warning("discovery was not requested: %s", type(error).__name__)
            self.message_user(
                request, "The broker did not answer; the schedule looks again within five minutes.", messages.WARNING
            )
        else:
            self.message_user(request, "The workers look again; reload in a moment.", messages.SUCCESS)


def _text_block(text: str) -> SafeString:
    return format_html('<pre class="plain-text">{}</pre>', bounded(text, LONGEST_TEXT))
