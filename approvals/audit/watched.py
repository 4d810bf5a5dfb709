"""The models of Django, knox and the kernel whose changes ``approvals.audit.changes`` audits."""

from typing import Any

from django.contrib.auth.models import Group, Permission, User
from django.utils import timezone
from knox.models import AuthToken

from approvals.audit.changes import Watched, watch
from approvals.models import Rule
from orchestra.models import SignInLink

FIRST_LETTERS = 8  # of a token: enough to find it in the admin, too few to use it


def watch_all() -> None:
    watch(Rule, Watched(noun="rule", fields=RULE))
    watch(User, Watched(noun="account", fields=ACCOUNT, secrets=("password",), related=("groups", "user_permissions")))
    watch(Group, Watched(noun="group", fields=("name",), related=("permissions", "user_set")))
    watch(Permission, Watched(noun="permission", fields=("codename",), related=("group_set", "user_set")))
    watch(AuthToken, Watched(noun="token", fields=("user", "expiry"), name=_token, matters=_in_force))
    watch(SignInLink, Watched(noun="link", fields=("expires_at",), secrets=("user",), name=str, deletions=False))


RULE = ("effect", "tool", "pattern", "scope", "scope_value", "ends_at", "max_uses", "note", "created_by")
ACCOUNT = ("username", "first_name", "last_name", "email", "is_active", "is_staff", "is_superuser")


def _token(token: AuthToken) -> str:
    return f"token {token.token_key[:FIRST_LETTERS]}… of {token.user.get_username()}"


def _in_force(token: Any) -> bool:
    """Whether the token is valid. knox deletes an expired one at its next use, which is not worth
    an entry.
    """
    return token.expiry is None or token.expiry > timezone.now()
