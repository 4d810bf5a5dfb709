"""The admin pages of the kernel's tables, accounts, groups and API tokens, and the base classes of
all admin pages.
"""

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, ClassVar

from django.contrib import admin, messages
from django.contrib.admin.helpers import ACTION_CHECKBOX_NAME
from django.contrib.auth.admin import GroupAdmin, UserAdmin
from django.contrib.auth.models import Group, Permission, User
from django.db.models import QuerySet
from django.forms import CheckboxInput, CheckboxSelectMultiple, ModelMultipleChoiceField
from django.http import HttpRequest, HttpResponse
from django.utils import timezone
from django.utils.safestring import SafeString
from knox.admin import AuthTokenAdmin
from knox.models import AuthToken

from orchestra.auth.groups import permissions_of, right_of
from orchestra.auth.permissions import Right, may
from orchestra.auth.views import end_everywhere
from orchestra.models import Archive, IdempotentRequest, Lease, SignInAttempt, SignInLink, Tally

if TYPE_CHECKING:
    PlainAdmin = admin.ModelAdmin[Any]
    PlainUserAdmin = UserAdmin[User]
    PermissionsField = ModelMultipleChoiceField[Permission]
else:
    PlainAdmin = admin.ModelAdmin
    PlainUserAdmin = UserAdmin
    PermissionsField = ModelMultipleChoiceField


class ByRights:
    """Reading takes the right ``needed``; changing takes the right to administer. Other permissions
    do not count.

    With ``editable = False`` rows cannot be added, changed or deleted by hand.
    """

    needed: ClassVar[Right] = Right.READ
    editable: ClassVar[bool] = True

    def has_module_permission(self, request: HttpRequest) -> bool:
        return may(request.user, self.needed)

    def has_view_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return may(request.user, self.needed)

    def has_add_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return self.editable and may(request.user, Right.ADMINISTER)

    def has_change_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return self.editable and may(request.user, Right.ADMINISTER)

    def has_delete_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return self.editable and may(request.user, Right.ADMINISTER)


class Reading(ByRights, PlainAdmin):
    """Rows that are read, never edited."""

    editable = False
    show_full_result_count = False
    list_per_page = 50

    def action_checkbox(self, obj: Any) -> SafeString:
        """Return Django's checkbox, labelled with the id, because agents and programs wrote the
        row's own text.
        """
        box = CheckboxInput({"class": "action-select", "aria-label": f"Select {obj.pk}"}, lambda value: False)
        return box.render(ACTION_CHECKBOX_NAME, str(obj.pk))

    def changelist_view(self, request: HttpRequest, extra_context: dict[str, Any] | None = None) -> HttpResponse:
        plural = str(self.opts.verbose_name_plural)
        return super().changelist_view(request, {"title": plural[:1].upper() + plural[1:]} | (extra_context or {}))


class Holdable(Reading):
    """Rows that a legal hold keeps from retention. ``set_hold`` is the command that sets and
    releases a hold.
    """

    set_hold: ClassVar[Callable[..., int]]

    def has_hold_permission(self, request: HttpRequest) -> bool:
        return may(request.user, Right.ADMINISTER)

    @admin.display(description="hold", ordering="legal_hold")
    def held(self, row: Any) -> str:
        return "held" if row.legal_hold else ""

    @admin.action(description="Put on legal hold", permissions=["hold"])
    def hold_selected(self, request: HttpRequest, chosen: QuerySet[Any]) -> None:
        self._set_hold(request, chosen, held=True)

    @admin.action(description="Release from legal hold", permissions=["hold"])
    def release_selected(self, request: HttpRequest, chosen: QuerySet[Any]) -> None:
        self._set_hold(request, chosen, held=False)

    def _set_hold(self, request: HttpRequest, chosen: QuerySet[Any], *, held: bool) -> None:
        ids = list(chosen.values_list("pk", flat=True))
        changed = type(self).set_hold(ids, held=held, by=request.user.get_username(), via="admin")
        what = "held, whatever their age" if held else "released; retention takes them when they are old enough"
        self.message_user(request, f"{changed} of {len(ids)} {what}.", messages.SUCCESS)


class Housekeeping(Reading):
    """Orchestra's own bookkeeping, which administrators alone may read."""

    needed = Right.ADMINISTER


@admin.register(Lease)
class LeaseAdmin(Housekeeping):
    list_display = ("name", "owner", "fence", "expires_at", "updated_at")
    search_fields = ("name", "owner")


@admin.register(Tally)
class TallyAdmin(Housekeeping):
    list_display = ("name", "labels", "value")
    search_fields = ("name", "labels")
    ordering = ("name", "labels")


@admin.register(Archive)
class ArchiveAdmin(Housekeeping):
    list_display = ("name", "roots", "deleted", "size", "created_at")
    list_filter = ("shelf",)


@admin.register(IdempotentRequest)
class IdempotentRequestAdmin(Housekeeping):
    list_display = ("path", "username", "status_code", "created_at")
    search_fields = ("path", "username")
    fields = ("path", "username", "status_code", "created_at")
    ordering = ("-created_at",)


@admin.register(SignInLink)
class SignInLinkAdmin(Housekeeping):
    """For whom a link was made and whether it was used. The hash of its token is not shown."""

    list_display = ("user", "created_at", "expires_at", "used_at")
    fields = ("user", "created_at", "expires_at", "used_at")
    list_select_related = ("user",)
    ordering = ("-created_at",)


@admin.register(SignInAttempt)
class SignInAttemptAdmin(Housekeeping):
    """Attempts to sign in by password: account, address and result, kept for 30 days."""

    list_display = ("at", "username", "address", "succeeded")
    list_filter = ("succeeded",)
    search_fields = ("username", "address")
    ordering = ("-id",)


admin.site.unregister(User)
admin.site.unregister(Group)
admin.site.unregister(AuthToken)


class RightsField(PermissionsField):
    """The permissions behind the rights, in the words of the rights."""

    widget = CheckboxSelectMultiple

    def label_from_instance(self, obj: Any) -> str:
        right = right_of(obj)
        return str(right.label) if right else str(obj)


class HoldsRights(ByRights, PlainAdmin):
    """Rows that hold permissions, in the field ``permissions_field``.

    The form offers the permissions that Orchestra checks. Others, set elsewhere, are kept as they
    are.
    """

    needed = Right.ADMINISTER
    permissions_field: ClassVar[str]

    def formfield_for_manytomany(self, db_field: Any, request: Any = None, **options: Any) -> Any:
        if db_field.name != self.permissions_field:
            return super().formfield_for_manytomany(db_field, request, **options)
        return RightsField(permissions_of(*Right), required=False, label="May", help_text=CHECKED_AT_ONCE)

    def save_related(self, request: HttpRequest, form: Any, formsets: Any, change: bool) -> None:
        chosen = form.cleaned_data.get(self.permissions_field)
        if chosen is not None:
            held: QuerySet[Permission] = getattr(form.instance, self.permissions_field).all()
            others = held.exclude(pk__in=permissions_of(*Right).values("pk"))
            form.cleaned_data[self.permissions_field] = [*chosen, *others]
        super().save_related(request, form, formsets, change)


CHECKED_AT_ONCE = "A change counts from the next request on, on every surface."


@admin.register(User)
class PersonAdmin(HoldsRights, PlainUserAdmin):
    """Accounts. Rights come from groups and from the account itself; "staff" opens this site."""

    permissions_field = "user_permissions"
    list_display = (
        "username",
        "first_name",
        "last_name",
        "is_active",
        "is_staff",
        "is_superuser",
        "in_groups",
        "last_login",
    )
    list_filter = ("groups", "is_active", "is_staff")
    fieldsets = (
        (None, {"fields": ("username", "password", "first_name", "last_name", "email")}),
        (
            "Rights",
            {
                "fields": ("is_active", "is_staff", "groups", "user_permissions", "is_superuser"),
                "description": "Rights come from the groups and from the account itself.",
            },
        ),
        ("Dates", {"fields": ("last_login", "date_joined")}),
    )

    filter_horizontal = ("groups",)
    actions = ("sign_out_selected",)

    def get_queryset(self, request: HttpRequest) -> QuerySet[User]:
        return super().get_queryset(request).prefetch_related("groups")

    @admin.action(description="Sign out everywhere, tokens too")
    def sign_out_selected(self, request: HttpRequest, chosen: QuerySet[User]) -> None:
        for user in chosen:
            end_everywhere(user)
        self.message_user(request, f"Signed out everywhere: {', '.join(user.get_username() for user in chosen)}.")

    @admin.display(description="groups")
    def in_groups(self, user: User) -> str:
        return ", ".join(group.name for group in user.groups.all()) or "none"


@admin.register(Group)
class RoleAdmin(HoldsRights, GroupAdmin):
    """Groups and the rights of their members. Members are chosen on the account's page."""

    permissions_field = "permissions"
    list_display = ("name", "may_do")
    fields = ("name", "permissions")
    filter_horizontal = ()

    def get_queryset(self, request: HttpRequest) -> QuerySet[Group]:
        return super().get_queryset(request).prefetch_related("permissions__content_type")

    @admin.display(description="may")
    def may_do(self, group: Group) -> str:
        held = {right_of(permission) for permission in group.permissions.all()}
        return "; ".join(right.label for right in Right if right in held) or "nothing"


@admin.register(AuthToken)
class TokenAdmin(ByRights, AuthTokenAdmin):
    """API tokens.

    A new one is shown once, and named by its first characters afterwards; deleting it ends it.
    """

    needed = Right.ADMINISTER
    list_display = ("token_key", "user", "created", "expiry", "works")
    search_fields = ("token_key", "user__username")
    list_select_related = ("user",)
    raw_id_fields = ()
    autocomplete_fields = ("user",)

    def get_fields(self, request: HttpRequest, obj: AuthToken | None = None) -> tuple[str, ...]:
        return ("user", "expiry") if obj is None else ("token_key", "user", "created", "expiry")

    def has_change_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False

    @admin.display(boolean=True)
    def works(self, token: AuthToken) -> bool:
        return token.user.is_active and (token.expiry is None or token.expiry > timezone.now())
