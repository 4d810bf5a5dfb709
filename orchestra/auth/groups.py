"""Groups by the rights that they give."""

from typing import Any

from django.contrib.auth.models import Group, Permission
from django.db.models import Q, QuerySet

from orchestra.auth.permissions import BUILT_IN_GROUPS, PERMISSIONS, Right, rights_of


def permissions_of(*rights: Right) -> QuerySet[Permission]:
    """Return the rows of the permissions behind ``rights``."""
    wanted = Q(pk__in=())
    for right in rights:
        app_label, _, codename = right.permission.partition(".")
        wanted |= Q(content_type__app_label=app_label, codename=codename)
    return Permission.objects.filter(wanted).select_related("content_type")


def right_of(permission: Permission) -> Right | None:
    """Return the right that ``permission`` stands behind; None for all other permissions."""
    name = f"{permission.content_type.app_label}.{permission.codename}"
    return next((right for right, behind in PERMISSIONS.items() if behind == name), None)


def groups_with(right: Right) -> list[str]:
    """Return the names of the groups whose members hold ``right`` now, the oldest group first."""
    groups = Group.objects.filter(permissions__in=permissions_of(right)).distinct()
    return list(groups.order_by("pk").values_list("name", flat=True))


def groups_of(user: Any) -> list[str]:
    """Return the names of the groups that give ``user`` a right, read together with the rights.

    A superuser holds all rights by itself, so no group is named.
    """
    return list(getattr(user, "groups_with_rights", ())) if rights_of(user) else []


def group_named(name: str) -> Group:
    """Return the group ``name``; a built-in one that does not exist is made with its rights.

    Raises:
        Group.DoesNotExist: there is no such group, and it is not a built-in one.
    """
    if name not in BUILT_IN_GROUPS:
        return Group.objects.get(name=name)
    group, is_new = Group.objects.get_or_create(name=name)
    if is_new:
        group.permissions.set(permissions_of(*BUILT_IN_GROUPS[name]))
    return group
