"""Rights of people and programs. Behind each right stands one Django permission.

Groups hold permissions, and an account may hold some by itself. Every surface checks
``may(user, Right.X)``, which asks ``user.has_perm``: what an administrator changes in the admin
counts from the next request on.
"""

from typing import Any

from django.db.models import TextChoices

from orchestra.db import sql

SHELL = "shell:"
"""Before the login name of a person at a terminal, in place of an account's name."""


class Right(TextChoices):
    """What a person or program may be allowed to do. None of them includes another."""

    READ = "read", "see sessions, approvals and agents"
    OPERATE = "operate", "start sessions, send messages, cancel"
    DECIDE = "decide", "answer approvals"
    ASK = "ask", "send requests from programs and read your own"
    ADMINISTER = "administer", "everything, and the admin site"

    @property
    def permission(self) -> str:
        """The permission behind the right, as ``user.has_perm`` takes it."""
        return PERMISSIONS[self]


PERMISSIONS: dict[Right, str] = {
    Right.READ: "approvals.view_approval",
    Right.OPERATE: "sessions_app.operate_agentsession",
    Right.DECIDE: "approvals.decide_approval",
    Right.ASK: "approvals.request_approval",
    Right.ADMINISTER: "orchestra.administer_installation",
}

BUILT_IN_GROUPS: dict[str, frozenset[Right]] = {
    "Viewer": frozenset({Right.READ}),
    "Operator": frozenset({Right.READ, Right.OPERATE}),
    "Approver": frozenset({Right.READ, Right.DECIDE}),
    "Asker": frozenset({Right.ASK}),
    "Administrator": frozenset(Right),
}
"""The groups of a new installation and the rights that they start with; administrators may change
both.
"""


def rights_of(user: Any) -> frozenset[Right]:
    """Return the rights that ``user`` holds now; none for anonymous and inactive ones, all for
    superusers.

    Django reads permissions once for each user object. No surface keeps one for longer than a
    request or a message.
    """
    if not getattr(user, "is_active", False):
        return frozenset()
    return frozenset(right for right in Right if user.has_perm(right.permission))


def may(user: Any, right: Right) -> bool:
    """Whether ``user`` holds ``right`` now."""
    return bool(getattr(user, "is_active", False) and user.has_perm(right.permission))


def holds(username: str, right: Right) -> sql.Statement:
    """An SQL condition that is true while ``may`` is true of the account called ``username``.

    A person at a terminal without an account holds every right, because ``manage.py`` can write to
    the database anyway.
    """
    if username.startswith(SHELL):  # no account can have such a name; one that has it after all is judged by its rights
        absent = "NOT EXISTS (SELECT 1 FROM auth_user WHERE username = %s)"
        held = _account_holds(username, right)
        return sql.Statement(f"({absent} OR {held.text})", (username, *held.values))
    return _account_holds(username, right)


def _account_holds(username: str, right: Right) -> sql.Statement:
    app_label, _, codename = right.permission.partition(".")
    return sql.Statement(
        "EXISTS (SELECT 1 FROM auth_user AS person WHERE person.username = %s AND person.is_active"
        " AND (person.is_superuser OR EXISTS (SELECT 1 FROM auth_permission AS held"
        " JOIN django_content_type AS kind ON kind.id = held.content_type_id"
        " WHERE kind.app_label = %s AND held.codename = %s AND ("
        "EXISTS (SELECT 1 FROM auth_user_user_permissions AS own"
        " WHERE own.user_id = person.id AND own.permission_id = held.id)"
        " OR EXISTS (SELECT 1 FROM auth_group_permissions AS given"
        " JOIN auth_user_groups AS member ON member.group_id = given.group_id"
        " WHERE member.user_id = person.id AND given.permission_id = held.id)))))",
        (username, app_label, codename),
    )


def may_by_name(username: str, right: Right) -> bool:
    """Whether ``username`` holds ``right`` now; see ``holds``."""
    condition = holds(username, right)
    found = sql.row(f"SELECT {condition.text}", *condition.values)
    return bool(found and found[0])
