"""Approvals in the admin, the surface that works when the console does not.

This module only parses and renders: commands make every change.
"""

from dataclasses import dataclass
from typing import Any
from uuid import UUID

from django.contrib import admin, messages
from django.contrib.admin.helpers import ACTION_CHECKBOX_NAME
from django.core.exceptions import PermissionDenied
from django.db.models import Case, F, IntegerField, QuerySet, Value, When
from django.http import Http404, HttpRequest, HttpResponse, HttpResponseNotAllowed, QueryDict
from django.http import HttpResponseRedirect as Redirect
from django.template.response import TemplateResponse
from django.urls import URLPattern, path, reverse
from django.utils.html import format_html
from django.utils.safestring import SafeString

from approvals import reopening, retention
from approvals.deadlines import EXTENSION_MINUTES
from approvals.errors import ApprovalNotFound
from approvals.forms import DecisionForm, actor_of
from approvals.models import Approval, AuditEntry, Callback, DecisionSource, Rule, Stop, Violation
from approvals.presentation import render
from approvals.presentation.batches import is_large, why_not_in_batch
from approvals.presentation.reading import Extent, extent_of, offered_proof
from approvals.presentation.redacted import Shown, hidden_text, record_reveal, shown_of
from approvals.queries import approvals_with_ids, can_decide, find_approval, is_own
from approvals.stop.commands import deadline_now_of_row
from approvals.templatetags.shown import ago, left, visible
from orchestra.admin import ByRights, Holdable, PlainAdmin, Reading
from orchestra.auth.permissions import Right, may
from orchestra.errors import OrchestraError

MOST_SIMILAR = 5
LONGEST_CHANGE = 200  # characters of a change in the list of the audit
RECORDED = {
    "reject": "Rejected. Recorded; the agent is told.",
    "extend": f"{EXTENSION_MINUTES} more minutes to answer.",
    "never": "No deadline now.",
}


@admin.register(Approval)
class ApprovalAdmin(Holdable):
    """Approval requests.

    Rows are not editable; ``decide_approval`` records a decision, as on every surface.
    """

    list_display = (
        "question",
        "shown_status",
        "risk_word",
        "session_link",
        "shown_requester",
        "request_age",
        "time_left",
        "outcome",
        "held",
    )
    list_display_links = None
    list_filter = ("status", "risk", "kind", "decided_via", "legal_hold")
    search_fields = ("title", "tool_name", "requested_by", "decided_by", "session")
    actions = ("approve_selected", "reject_selected", "reopen_selected", "hold_selected", "release_selected")
    set_hold = staticmethod(retention.set_hold)

    def get_queryset(self, request: HttpRequest) -> QuerySet[Any]:
        """Annotate ``read_at``, from which the time left is computed."""
        rows: QuerySet[Any] = super().get_queryset(request).annotate(read_at=deadline_now_of_row())
        return rows

    def get_ordering(self, request: HttpRequest) -> list[Any]:
        """Sort open requests first, the most urgent on top, then closed ones, the newest on top."""
        waiting = When(status=Approval.Status.PENDING, then=Value(0))
        urgent = Case(When(status=Approval.Status.PENDING, then=F("expires_at")))
        return [
            Case(waiting, default=Value(1), output_field=IntegerField()),
            urgent.asc(nulls_last=True),
            "-created_at",
        ]

    def has_decide_permission(self, request: HttpRequest) -> bool:
        return may(request.user, Right.DECIDE)

    @admin.display(description="request", ordering="title")
    def question(self, approval: Approval) -> SafeString:
        address = reverse("admin:approvals_approval_change", args=[approval.pk])
        return format_html(
            '<a class="question" href="{}"><bdi>{}</bdi></a>{}',
            address,
            render.one_line(hidden_text(approval.title), 120),
            format_html(' <span class="demo">{}</span>', "demo") if approval.is_demo else "",
        )

    @admin.display(description="status", ordering="status")
    def shown_status(self, approval: Approval) -> SafeString:
        return format_html('<span class="status status-{0}">{0}</span>', approval.status)

    @admin.display(description="risk", ordering="risk")
    def risk_word(self, approval: Approval) -> SafeString:
        return format_html('<span class="risk risk-{}">{}</span>', approval.risk, approval.risk)

    @admin.display(description="session", ordering="session")
    def session_link(self, approval: Approval) -> SafeString | str:
        if approval.session is None:
            return "none"
        return format_html(
            '<a href="{}"><code>{}</code></a>', session_address(approval.session), str(approval.session)[:8]
        )

    @admin.display(description="requested by", ordering="requested_by")
    def shown_requester(self, approval: Approval) -> str:
        return render.visible(approval.requested_by)

    @admin.display(description="asked", ordering="created_at")
    def request_age(self, approval: Approval) -> str:
        return ago(approval.created_at)

    @admin.display(description="time left", ordering="expires_at")
    def time_left(self, approval: Approval) -> str:
        return left(approval) if approval.is_open else ""

    @admin.display(description="answered", ordering="decided_by")
    def outcome(self, approval: Approval) -> str:
        if approval.is_open:
            return ""
        return (
            f"{approval.decided_by or 'nobody'} via {approval.decided_via}" if approval.decided_via else "by the clock"
        )

    # --- many at once

    @admin.action(description="Approve selected…", permissions=["decide"])
    def approve_selected(self, request: HttpRequest, chosen: QuerySet[Approval]) -> HttpResponse | None:
        return self._decide_selected(request, chosen, decision=Approval.Status.APPROVED)

    @admin.action(description="Reject selected…", permissions=["decide"])
    def reject_selected(self, request: HttpRequest, chosen: QuerySet[Approval]) -> HttpResponse | None:
        return self._decide_selected(request, chosen, decision=Approval.Status.REJECTED)

    @admin.action(description="Ask selected again", permissions=["decide"])
    def reopen_selected(self, request: HttpRequest, chosen: QuerySet[Approval]) -> None:
        for approval in chosen.order_by("created_at"):
            self._reopen(request, approval.pk)

    def _reopen(self, request: HttpRequest, approval_id: UUID) -> UUID:
        """Reopen a request; return the id of the request to show, which is the old one after an
        error.
        """
        try:
            fresh = reopening.reopen_approval(approval_id=approval_id, **actor_of(request, DecisionSource.ADMIN))
        except OrchestraError as error:
            self.message_user(request, f"Not asked again. {error.detail}", messages.WARNING)
            return approval_id
        self.message_user(request, f"Asked again. {render.one_line(hidden_text(fresh.title), 80)}", messages.SUCCESS)
        return fresh.pk

    def _decide_selected(
        self, request: HttpRequest, chosen: QuerySet[Approval], *, decision: str
    ) -> HttpResponse | None:
        """Show what would run, then decide exactly what was shown: the form holds its ids and
        digests.
        """
        if request.POST.get("confirmed") == "yes":
            for approval in approvals_with_ids([UUID(key) for key in request.POST.getlist(ACTION_CHECKBOX_NAME)]):
                if not why_not_in_batch(approval, decision):
                    self._record(request, DecisionForm.in_batch(approval, request.POST, decision))
            return None
        drawn = [DrawnRequest.of(one, whole=not is_large(one)) for one in chosen.order_by("expires_at")]
        context = {
            **self.admin_site.each_context(request),
            "title": "Approve these" if decision == Approval.Status.APPROVED else "Reject these",
            "opts": self.opts,
            "decision": decision,
            "action": "approve_selected" if decision == Approval.Status.APPROVED else "reject_selected",
            "able": [one for one in drawn if not why_not_in_batch(one.approval, decision)],
            "unable": [(one, why) for one in drawn if (why := why_not_in_batch(one.approval, decision))],
            "checkbox": ACTION_CHECKBOX_NAME,
        }
        return TemplateResponse(request, "admin/approvals/approval/decide_selected.html", context)

    # --- one

    def get_urls(self) -> list[URLPattern]:
        decide = self.admin_site.admin_view(self.decide_view)
        reveal = self.admin_site.admin_view(self.reveal_view)
        return [
            path("<uuid:approval_id>/decide/", decide, name="approvals_approval_decide"),
            path("<uuid:approval_id>/reveal/", reveal, name="approvals_approval_reveal"),
            *super().get_urls(),
        ]

    def reveal_view(self, request: HttpRequest, approval_id: UUID) -> HttpResponse:
        """Show the page with its secrets in clear, after an audit entry about it."""
        if not self.has_view_permission(request):
            raise PermissionDenied
        if request.method != "POST":
            return Redirect(reverse("admin:approvals_approval_change", args=[approval_id]))
        approval = _found(str(approval_id))
        record_reveal(approval, **actor_of(request, DecisionSource.ADMIN))
        page = self._page(request, approval, revealed=True)
        return TemplateResponse(request, "admin/approvals/approval/change_form.html", page)

    def change_view(
        self, request: HttpRequest, object_id: str, form_url: str = "", extra_context: dict[str, Any] | None = None
    ) -> HttpResponse:
        """Show one request. Django's own form is not used, because no field is editable."""
        if request.method not in ("GET", "HEAD"):
            return HttpResponseNotAllowed(["GET", "HEAD"])
        if not self.has_view_permission(request):
            raise PermissionDenied
        approval = _found(object_id)
        return TemplateResponse(request, "admin/approvals/approval/change_form.html", self._page(request, approval))

    def _page(
        self, request: HttpRequest, approval: Approval, *, sent: QueryDict | None = None, revealed: bool = False
    ) -> dict[str, Any]:
        """Build the template context; ``sent`` is the form of a decision that was refused."""
        whole = "whole" in request.GET or "whole" in request.POST
        drawn = DrawnRequest.of(approval, longest=render.WHOLE if whole else render.LONGEST_BLOCK, revealed=revealed)
        similar = Approval.objects.filter(tool_name=approval.tool_name, title=approval.title).exclude(pk=approval.pk)
        own = is_own(request.user, approval)
        return {
            **self.admin_site.each_context(request),
            "title": render.one_line(drawn.approval.title, render.LONGEST_TITLE),
            "opts": self.opts,
            "drawn": drawn,
            "cut": any(block.cut for block in drawn.blocks),
            "read_proof": offered_proof(drawn.shown),
            "left_out": drawn.shown.left_out,
            "approval": drawn.approval,
            "form": DecisionForm(approval, sent, shown=drawn.shown),
            "revealed": revealed,
            "whole": whole,
            "own": own,
            "may_decide": may(request.user, Right.DECIDE),
            "answerable": can_decide(request.user, approval),
            "reopenable": may(request.user, Right.DECIDE) and not own and reopening.may_be_reopened(approval),
            "session_address": session_address(approval.session) if approval.session else "",
            "demo": approval.is_demo,
            "history": AuditEntry.objects.filter(approval=approval).order_by("id"),
            "similar": similar.order_by("-created_at")[:MOST_SIMILAR],
        }

    def decide_view(self, request: HttpRequest, approval_id: UUID) -> HttpResponse:
        """Record one decision; a refused one shows the page again with a message."""
        if request.method != "POST":
            return HttpResponseNotAllowed(["POST"])
        if not self.has_decide_permission(request):
            raise PermissionDenied
        approval = _found(str(approval_id))
        if request.POST.get("decision") == "reopen":
            return Redirect(reverse("admin:approvals_approval_change", args=[self._reopen(request, approval_id)]))
        if not self._record(request, DecisionForm(approval, request.POST)):
            page = self._page(request, _found(str(approval_id)), sent=request.POST)
            return TemplateResponse(request, "admin/approvals/approval/change_form.html", page)
        return Redirect(reverse("admin:approvals_approval_change", args=[approval_id]))

    def _record(self, request: HttpRequest, form: DecisionForm) -> bool:
        """Record the form's decision and show the result; return whether it was recorded."""
        if problem := form.record(**actor_of(request, DecisionSource.ADMIN)):
            level, words = (messages.WARNING, f"Not recorded. {problem}") if form.refusal else (messages.ERROR, problem)
            self.message_user(request, words, level)
            return False
        done = RECORDED.get(form.data["decision"], "Approved. Recorded; the agent is told.")
        self.message_user(request, f"{done} {render.one_line(hidden_text(form.approval.title), 80)}", messages.SUCCESS)
        return True


@dataclass(frozen=True, slots=True)
class DrawnRequest:
    """A request with what would run, for templates."""

    shown: Shown
    blocks: list[render.Block]
    extent: Extent

    @property
    def approval(self) -> Approval:
        return self.shown.approval

    @classmethod
    def of(
        cls, approval: Approval, *, longest: int = render.LONGEST_BLOCK, revealed: bool = False, whole: bool = True
    ) -> "DrawnRequest":
        """Build it from a row; without ``whole`` it has no blocks."""
        shown = shown_of(approval, revealed=revealed, whole=whole)
        if not whole:
            return cls(shown, [], Extent(0, 0, 0))
        blocks = render.without_title(approval, shown.blocks(longest=longest))
        return cls(shown, blocks, extent_of(shown.raw, blocks))


def session_address(session: UUID) -> str:
    """Return the admin URL of a session; this app knows the session's id and nothing else of it."""
    return reverse("admin:sessions_app_agentsession_change", args=[session])


def _found(object_id: str) -> Approval:
    try:
        return find_approval(UUID(object_id))
    except (ValueError, ApprovalNotFound):
        raise Http404("Approval not found") from None


@admin.register(AuditEntry)
class AuditEntryAdmin(Reading):
    """Every attempt to decide and every change of permissions or policy; append-only."""

    list_display = ("at", "action", "won", "by", "via", "address", "about")
    list_filter = ("action", "won", "via")
    search_fields = ("by", "address", "approval__title", "reason")
    list_select_related = ("approval",)
    ordering = ("-id",)
    fields = ("at", "action", "won", "by", "via", "address", "text", "digest", "question")
    readonly_fields = ("question", "text")

    @admin.display(description="what")
    def about(self, entry: AuditEntry) -> SafeString | str:
        if entry.approval is None:
            return (
                format_html("<bdi>{}</bdi>", render.one_line(hidden_text(entry.reason), LONGEST_CHANGE))
                if entry.reason
                else ""
            )
        return self.question(entry)

    @admin.display(description="reason, or what was changed")
    def text(self, entry: AuditEntry) -> SafeString:
        return format_html('<bdi class="audit-text">{}</bdi>', render.visible(hidden_text(entry.reason)))

    @admin.display(description="request")
    def question(self, entry: AuditEntry) -> SafeString | str:
        if entry.approval is None:
            return "none"
        address = reverse("admin:approvals_approval_change", args=[entry.approval_id])
        return format_html(
            '<a href="{}"><bdi>{}</bdi></a>', address, render.one_line(hidden_text(entry.approval.title), 80)
        )


@admin.register(Violation)
class ViolationAdmin(Reading):
    """Tools that ran unapproved. The button of the banner acknowledges them."""

    list_display = ("created_at", "tool_name", "reason", "requested_by", "session", "acknowledged_by")
    list_filter = (("acknowledged_at", admin.EmptyFieldListFilter),)
    search_fields = ("tool_name", "requested_by")
    ordering = ("-created_at",)
    fields = (
        "created_at", "session", "requested_by", "tool_name", "tool_use_id", "shown_input", "reason",
        "acknowledged_at", "acknowledged_by",
    )  # fmt: skip
    readonly_fields = ("shown_input",)

    @admin.display(description="input that ran")
    def shown_input(self, violation: Violation) -> str:
        return visible(violation.tool_input)


@admin.register(Stop)
class StopAdmin(Reading):
    """Periods in which all agents were stopped.

    The page behind the banner starts and lifts them.
    """

    list_display = ("started_at", "started_by", "started_via", "mode", "reason", "lifted_at", "lifted_by", "lifted_via")
    list_filter = (("lifted_at", admin.EmptyFieldListFilter), "mode")
    ordering = ("-started_at",)
    fields = list_display


@admin.register(Callback)
class CallbackAdmin(Reading):
    """The outbox of callbacks to programs that requested approvals."""

    list_display = ("created_at", "host", "status", "attempts", "next_try_at", "last_error", "approval")
    list_filter = ("status",)
    list_select_related = ("approval",)
    fields = ("created_at", "host", "status", "attempts", "next_try_at", "last_error", "approval")
    readonly_fields = ("host",)


@admin.register(Rule)
class RuleAdmin(ByRights, PlainAdmin):
    """Policy rules; no rule lifts a guardrail."""

    list_display = (
        "tool",
        "effect",
        "shown_pattern",
        "scope",
        "scope_value",
        "uses",
        "max_uses",
        "ends_at",
        "created_by",
        "created_at",
    )
    list_filter = ("effect", "scope")
    search_fields = ("tool", "pattern", "scope_value", "note", "created_by")
    readonly_fields = ("uses", "created_by", "created_at")
    ordering = ("-created_at",)
    show_full_result_count = False

    @admin.display(description="pattern", ordering="pattern")
    def shown_pattern(self, rule: Rule) -> str:
        return render.one_line(rule.pattern, 120) or "everything"

    def save_model(self, request: HttpRequest, obj: Rule, form: Any, change: bool) -> None:
        if not change:
            obj.created_by = request.user.get_username()
        super().save_model(request, obj, form, change)
