"""Schedules in the admin: create, change, delete and run them, and read their outcomes.

Each act is one command.
"""

from typing import Any

from django import forms
from django.contrib import admin, messages
from django.core.exceptions import PermissionDenied
from django.db.models import QuerySet
from django.http import HttpRequest, HttpResponse
from django.urls import reverse
from django.utils.html import format_html
from django.utils.safestring import SafeString

from approvals.presentation.render import one_line, visible
from orchestra.admin import ByRights, PlainAdmin
from orchestra.auth.permissions import Right, may
from orchestra.errors import OrchestraError
from sessions_app import commands
from sessions_app.models import Schedule, ScheduledRun
from sessions_app.schedules import commands as schedules
from sessions_app.schedules.commands import Timing

LISTS = ("allowed_tools", "disallowed_tools", "attachments")
OF_SESSION = ("prompt", "agent", "working_directory", "model", "permission_mode", *LISTS)
RUNS_SHOWN = 20


class ScheduleForm(forms.ModelForm):  # type: ignore[type-arg]
    """``schedules.save_schedule`` validates every field.

    Values of the session without a form field are kept.
    """

    prompt = forms.CharField(widget=forms.Textarea(attrs={"rows": 5}), strip=False)
    agent = forms.ChoiceField(choices=[(name, name) for name in commands.AGENTS])
    working_directory = forms.CharField(required=False, help_text="Leave empty for a new folder each time.")
    model = forms.CharField(required=False, help_text="Empty: the agent's own default.")
    permission_mode = forms.ChoiceField(choices=[(mode, mode) for mode in commands.PERMISSION_MODES])
    allowed_tools = forms.CharField(
        required=False, widget=forms.Textarea(attrs={"rows": 2}), help_text="One per line. These pass without asking."
    )
    disallowed_tools = forms.CharField(
        required=False, widget=forms.Textarea(attrs={"rows": 2}), help_text="One per line."
    )
    attachments = forms.CharField(
        required=False,
        widget=forms.Textarea(attrs={"rows": 2}),
        help_text="One path a line, in the working directory; read each time a session starts.",
    )

    class Meta:
        model = Schedule
        fields = ["title", "cron", "every_seconds", "timezone", "overlap", "enabled"]
        help_texts = {
            "title": "Empty: the first line of the prompt.",
            "cron": "Minute, hour, day of month, month, day of week, such as 15 3 * * 1-5. Either this or an interval.",
            "every_seconds": "At least 60.",
            "timezone": "For cron, such as Europe/Berlin.",
        }

    user: Any = None

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        if "title" in self.fields:  # read-only pages have no fields
            self.fields["title"].required = False
        for name in OF_SESSION if self.instance.session else ():
            value = self.instance.session.get(name)
            if value is not None:
                self.initial[name] = "\n".join(value) if name in LISTS else value

    def clean(self) -> dict[str, Any]:
        """Validate with the command, and add its errors to their fields."""
        super().clean()
        if self.errors:
            return self.cleaned_data
        try:
            schedules.refuse_unfit(self.user, self.session(), self.timing())
        except OrchestraError as error:
            fields = error.facts.get("fields")
            for name, complaints in fields.items() if isinstance(fields, dict) else ():
                field = name.removeprefix("session.")
                self.add_error(field if field in self.fields else None, complaints)
            if not self.errors:
                self.add_error(None, error.detail)
        return self.cleaned_data

    def session(self) -> dict[str, Any]:
        kept = {name: value for name, value in (self.instance.session or {}).items() if name not in OF_SESSION}
        given = {name: self.cleaned_data[name] for name in OF_SESSION if self.cleaned_data[name]}
        for name in LISTS:
            if name in given:
                given[name] = [line.strip() for line in given[name].splitlines() if line.strip()]
        return kept | given

    def timing(self) -> Timing:
        return Timing(**{name: self.cleaned_data[name] for name in Timing.__dataclass_fields__})

    def _post_clean(self) -> None:
        """Leave the instance unchanged: the command writes it."""


@admin.register(Schedule)
class ScheduleAdmin(ByRights, PlainAdmin):
    form = ScheduleForm
    list_display = ("title", "when", "overlap", "enabled", "requested_by", "next_due_at", "last_outcome")
    list_filter = ("enabled", "overlap")
    search_fields = ("title", "requested_by")
    actions = ("run_now",)
    readonly_fields = ("requested_by", "next_due_at", "outcomes")
    fieldsets = (
        (None, {"fields": ("title", *OF_SESSION)}),
        ("When", {"fields": ("cron", "every_seconds", "timezone", "overlap", "enabled")}),
        ("So far", {"fields": ("requested_by", "next_due_at", "outcomes")}),
    )

    def changelist_view(self, request: HttpRequest, extra_context: dict[str, Any] | None = None) -> HttpResponse:
        return super().changelist_view(request, {"title": "Schedules"} | (extra_context or {}))

    def get_fieldsets(self, request: HttpRequest, obj: Schedule | None = None) -> Any:
        """Without the right to change there is no form.

        ``shown_…`` methods then show the values of the session.
        """
        if obj is None or self.has_change_permission(request, obj):
            return self.fieldsets
        return ((None, {"fields": ("title", *(f"shown_{name}" for name in OF_SESSION))}), *self.fieldsets[1:])

    def has_add_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return may(request.user, Right.OPERATE)

    def has_change_permission(self, request: HttpRequest, obj: Schedule | None = None) -> bool:
        return _may_change(request, obj)

    def has_delete_permission(self, request: HttpRequest, obj: Schedule | None = None) -> bool:
        return _may_change(request, obj)

    def has_run_permission(self, request: HttpRequest) -> bool:
        return may(request.user, Right.OPERATE)

    def get_form(self, request: HttpRequest, obj: Any = None, change: bool = False, **kwargs: Any) -> Any:
        form = super().get_form(request, obj, change, **kwargs)
        return type("ScheduleForm", (form,), {"user": request.user})

    def save_model(self, request: HttpRequest, obj: Schedule, form: Any, change: bool) -> None:
        saved = schedules.save_schedule(
            user=request.user,
            title=form.cleaned_data["title"],
            session=form.session(),
            timing=form.timing(),
            schedule_id=obj.pk if change else None,
        )
        obj.pk, obj.title = saved.pk, saved.title

    def delete_model(self, request: HttpRequest, obj: Schedule) -> None:
        schedules.delete_schedule(schedule_id=obj.pk, user=request.user)

    def delete_queryset(self, request: HttpRequest, queryset: QuerySet[Schedule]) -> None:
        try:
            for schedule in queryset:
                schedules.delete_schedule(schedule_id=schedule.pk, user=request.user)
        except OrchestraError as error:
            raise PermissionDenied(error.detail) from None

    @admin.action(description="Run now", permissions=["run"])
    def run_now(self, request: HttpRequest, chosen: QuerySet[Schedule]) -> None:
        for schedule in chosen:
            try:
                run = schedules.start_now(schedule_id=schedule.pk, user=request.user)
                self.message_user(request, f"{schedule.title}: {run.status}. {run.detail}", messages.INFO)
            except OrchestraError as error:
                self.message_user(request, f"{schedule.title}: {error.detail}", messages.ERROR)

    @admin.display(description="when")
    def when(self, schedule: Schedule) -> str:
        return (
            f"every {schedule.every_seconds} s" if schedule.every_seconds else f"{schedule.cron} ({schedule.timezone})"
        )

    @admin.display(description="last outcome")
    def last_outcome(self, schedule: Schedule) -> SafeString | str:
        run = schedule.runs.first()
        return _outcome_link(run) if run else "not due yet"

    @admin.display(description="outcomes")
    def outcomes(self, schedule: Schedule) -> SafeString | str:
        runs = [] if schedule._state.adding else schedule.runs.all()[:RUNS_SHOWN]
        rows = [format_html("{:%Y-%m-%d %H:%M} {}", run.due_at, _outcome_link(run)) for run in runs]
        return format_html("<br>".join(["{}"] * len(rows)), *rows) if rows else "none"


def _make_display_method(name: str) -> Any:
    """Make the ``shown_<name>`` method for one value of a schedule's session."""

    @admin.display(description=name.replace("_", " "))
    def show(schedule: Schedule) -> str:
        value = (schedule.session or {}).get(name) or ""
        return visible("\n".join(map(str, value)) if isinstance(value, list) else str(value)) or "-"

    return show


for _name in OF_SESSION:
    setattr(ScheduleAdmin, f"shown_{_name}", staticmethod(_make_display_method(_name)))


def _may_change(request: HttpRequest, schedule: Schedule | None) -> bool:
    mine = schedule is None or schedule.requested_by == request.user.get_username()
    return may(request.user, Right.OPERATE) and (mine or may(request.user, Right.ADMINISTER))


def _outcome_link(run: ScheduledRun) -> SafeString | str:
    if run.session is None:
        return f"{run.status}: {one_line(run.detail, 200)}"
    address = reverse("admin:sessions_app_agentsession_change", args=[run.session])
    return format_html('<a href="{}">{}</a>', address, run.status)
