"""Admin pages: linked people, deliveries, updates, and the state of the channel."""

from typing import TYPE_CHECKING, Any

from django.conf import settings
from django.contrib import admin, messages
from django.core.exceptions import PermissionDenied
from django.db.models import QuerySet
from django.http import HttpRequest, HttpResponse
from django.http import HttpResponseRedirect as Redirect
from django.shortcuts import get_object_or_404
from django.template.response import TemplateResponse
from django.urls import URLPattern, path, reverse
from django.utils.html import format_html
from django.utils.safestring import SafeString

from approvals.presentation.redacted import hidden_text
from approvals.presentation.render import one_line, visible
from approvals.templatetags.shown import ago
from escalation import commands, outbox
from escalation.models import Approver, Delivery, Message, Update
from escalation.telegram import status
from escalation.telegram.api import breaker
from orchestra.admin import ByRights, Housekeeping, PlainAdmin, Reading
from orchestra.auth.permissions import Right, may
from orchestra.db import notify

if TYPE_CHECKING:
    PlainInline = admin.TabularInline[Message, Delivery]
else:
    PlainInline = admin.TabularInline


class MessageInline(PlainInline):
    model = Message
    fields = ("kind", "chat", "message", "live")
    readonly_fields = fields
    extra = 0
    can_delete = False

    def has_add_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False

    def has_view_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return may(request.user, Right.READ)


@admin.register(Delivery)
class DeliveryAdmin(Reading):
    """Deliveries in the outbox. The state of the channel is shown above the list."""

    list_display = ("question", "status", "attempts", "age", "next_try_at", "trouble")
    list_display_links = ("status",)
    list_filter = ("status", "doubtful")
    list_select_related = ("approval",)
    search_fields = ("approval__title", "last_error")
    ordering = ("-created_at",)
    actions = ("send_again",)
    fields = (
        "question", "channel", "status", "attempts", "next_try_at", "trouble", "doubtful", "created_at", "sent_at",
        "shown_deadline", "reminded_for", "settled_at",
    )  # fmt: skip
    readonly_fields = ("question", "trouble")
    inlines = (MessageInline,)
    change_list_template = "admin/escalation/delivery/change_list.html"

    def changelist_view(self, request: HttpRequest, extra_context: dict[str, Any] | None = None) -> HttpResponse:
        breaker_state = breaker.read_state(settings.TELEGRAM.breaker)
        return super().changelist_view(
            request, {"telegram": status.read_status(), "breaker": breaker_state} | (extra_context or {})
        )

    def has_repeat_permission(self, request: HttpRequest) -> bool:
        return may(request.user, Right.DECIDE) or may(request.user, Right.ADMINISTER)

    @admin.display(description="request")
    def question(self, delivery: Delivery) -> SafeString:
        address = reverse("admin:approvals_approval_change", args=[delivery.approval_id])
        return format_html(
            '<a href="{}"><bdi>{}</bdi></a>', address, one_line(hidden_text(delivery.approval.title), 80)
        )

    @admin.display(description="asked", ordering="created_at")
    def age(self, delivery: Delivery) -> str:
        return ago(delivery.created_at)

    @admin.display(description="last trouble")
    def trouble(self, delivery: Delivery) -> str:
        return visible(delivery.last_error)

    @admin.action(description="Send again", permissions=["repeat"])
    def send_again(self, request: HttpRequest, chosen: QuerySet[Delivery]) -> None:
        """Send a new message for each open request.

        The old messages are settled together with it.
        """
        number = outbox.resend_deliveries(list(chosen.values_list("pk", flat=True)))
        notify.send(status.TOPIC, "again")
        left = chosen.count() - number
        self.message_user(request, f"{number} will be sent again." + (f" {left} are closed." if left else ""))


@admin.register(Approver)
class ApproverAdmin(ByRights, PlainAdmin):
    """Which Telegram account belongs to which user.

    A link needs a code that the person sends to the bot; it cannot be made by hand.
    """

    needed = Right.ADMINISTER
    list_display = ("user", "telegram_name", "telegram_user", "may_decide", "linked_at", "muted_until")
    list_select_related = ("user",)
    search_fields = ("user__username", "telegram_name")
    ordering = ("user__username",)
    autocomplete_fields = ("user",)
    actions = ("new_code",)

    def get_fields(self, request: HttpRequest, obj: Approver | None = None) -> tuple[str, ...]:
        return ("user",) if obj is None else ("user", "telegram_name", "telegram_user", "linked_at", "muted_until")

    def get_readonly_fields(self, request: HttpRequest, obj: Approver | None = None) -> tuple[str, ...]:
        return () if obj is None else ("user", "telegram_name", "telegram_user", "linked_at", "muted_until")

    def get_urls(self) -> list[URLPattern]:
        code = self.admin_site.admin_view(self.code_view)
        return [path("<uuid:approver_id>/code/", code, name="escalation_approver_code"), *super().get_urls()]

    def response_add(self, request: HttpRequest, obj: Approver, post_url_continue: str | None = None) -> HttpResponse:
        return Redirect(reverse("admin:escalation_approver_code", args=[obj.pk]))

    @admin.display(boolean=True, description="may decide")
    def may_decide(self, approver: Approver) -> bool:
        return may(approver.user, Right.DECIDE)

    @admin.action(description="New link code", permissions=["change"])
    def new_code(self, request: HttpRequest, chosen: QuerySet[Approver]) -> HttpResponse | None:
        approver = chosen.first()
        if approver is None or chosen.count() > 1:
            self.message_user(request, "Choose one person: a code is shown once.", messages.WARNING)
            return None
        return Redirect(reverse("admin:escalation_approver_code", args=[approver.pk]))

    def code_view(self, request: HttpRequest, approver_id: Any) -> HttpResponse:
        """Show a button, and after a POST the code, once.

        Another POST creates a new code and invalidates the first.
        """
        if not may(request.user, Right.ADMINISTER):
            raise PermissionDenied
        approver = get_object_or_404(Approver.objects.select_related("user"), pk=approver_id)
        code = commands.create_link_code(approver.user) if request.method == "POST" else ""
        context = {
            **self.admin_site.each_context(request),
            "title": f"Link {approver.user} to Telegram",
            "opts": self.opts,
            "approver": approver,
            "code": code,
            "minutes": int(commands.LINK_CODE_LASTS.total_seconds() / 60),
            "bot": status.read_status()["bot"],
        }
        return TemplateResponse(request, "admin/escalation/approver/code.html", context)


@admin.register(Update)
class UpdateAdmin(Housekeeping):
    """Updates from Telegram. The content is deleted when an update is applied."""

    list_display = ("update_id", "received_at", "applied_at")
    fields = ("update_id", "callback_id", "received_at", "applied_at")
    ordering = ("-received_at",)
