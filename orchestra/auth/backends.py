"""Django's passwords and permissions, with one statement for the permissions of an account."""

from typing import Any

from django.contrib.auth.backends import ModelBackend
from django.contrib.auth.models import Permission
from django.db.models import Value

from orchestra.auth.permissions import PERMISSIONS, Right

RIGHTS = frozenset(PERMISSIONS.values())


class RightsBackend(ModelBackend):
    """Browsers' sessions carry this class's path: renaming it would sign everybody out."""

    def get_all_permissions(self, user_obj: Any, obj: Any = None) -> set[str]:
        """Read own and groups' permissions together, where Django takes two statements, and note
        the groups' names.
        """
        known = hasattr(user_obj, "_perm_cache") or not user_obj.is_active or user_obj.is_superuser
        if known or user_obj.is_anonymous or obj is not None:
            return super().get_all_permissions(user_obj, obj)
        rows = Permission.objects.order_by()
        own = rows.filter(user=user_obj).values_list("content_type__app_label", "codename", Value(""))
        given = rows.filter(group__user=user_obj).values_list("content_type__app_label", "codename", "group__name")
        held = [(f"{app}.{codename}", group) for app, codename, group in own.union(given, all=True)]
        user_obj._perm_cache = {permission for permission, _ in held}
        user_obj.groups_with_rights = sorted({group for permission, group in held if group and permission in RIGHTS})
        return super().get_all_permissions(user_obj)

    def has_perm(self, user_obj: Any, perm: str, obj: Any = None) -> bool:
        """Administrators hold the permissions of every other table, too; of the rights each counts
        by itself.
        """
        held = super().has_perm
        administer = Right.ADMINISTER.permission
        return held(user_obj, perm, obj) or (perm not in RIGHTS and held(user_obj, administer))

    def has_module_perms(self, user_obj: Any, app_label: str) -> bool:
        administers = super().has_perm(user_obj, Right.ADMINISTER.permission)
        return administers or super().has_module_perms(user_obj, app_label)
