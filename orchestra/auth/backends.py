"""Accounts: Django's passwords, Orchestra's rights."""

from typing import Any

from django.contrib.auth.backends import ModelBackend

from orchestra.auth.permissions import Right, may

OURS = ("approvals", "sessions_app", "escalation")


class RightsBackend(ModelBackend):
    """Django's model permissions follow from our rights: administrators may all, readers may view."""

    def has_perm(self, user_obj: Any, perm: str, obj: Any = None) -> bool:
        if may(user_obj, Right.ADMINISTER):
            return True
        app, _, action = perm.partition(".")
        ours = app in OURS
        if ours and action.startswith("view_") and may(user_obj, Right.READ):
            return True
        return super().has_perm(user_obj, perm, obj)

    def has_module_perms(self, user_obj: Any, app_label: str) -> bool:
        if may(user_obj, Right.ADMINISTER):
            return True
        return app_label in OURS and may(user_obj, Right.READ)
