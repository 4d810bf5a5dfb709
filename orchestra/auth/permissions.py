"""Who may do what: five groups, five rights. Groups are made by a migration."""

from typing import Any

from django.db.models import TextChoices

from orchestra.db import sql

SHELL = "shell:"
"""Before the login name of who acts in a terminal, in place of an account's name."""


class Right(TextChoices):
    """What a person or program may be allowed to do."""

    READ = "read", "see sessions, approvals and agents"
    OPERATE = "operate", "start sessions, send messages, cancel"
    DECIDE = "decide", "answer approvals"
    ASK = "ask", "send requests from programs and read your own"
    ADMINISTER = "administer", "everything, and the admin site"


GROUP_RIGHTS: dict[str, frozenset[Right]] = {
    "Viewer": frozenset({Right.READ}),
    "Operator": frozenset({Right.READ, Right.OPERATE}),
    "Approver": frozenset({Right.READ, Right.DECIDE}),
    "Asker": frozenset({Right.ASK}),
    "Administrator": frozenset(Right),
}


def rights_of(user: Any) -> frozenset[Right]:
    """The rights ``user`` holds now; none for anonymous and inactive ones.

    One query per user object, which lives as long as a request: authority is judged afresh each time.
    """
    if not getattr(user, "is_active", False):
        return frozenset()
    if user.is_superuser:
        return frozenset(Right)
    cached: frozenset[Right] | None = getattr(user, "_orchestra_rights", None)
    if cached is None:
        names = user.groups.values_list("name", flat=True)
        cached = frozenset(right for name in names for right in GROUP_RIGHTS.get(name, ()))
        user._orchestra_rights = cached
    return cached


def groups_with(right: Right) -> list[str]:
    """Return the names of the groups whose members hold ``right``."""
    return [name for name, rights in GROUP_RIGHTS.items() if right in rights]


def may(user: Any, right: Right) -> bool:
    """Whether ``user`` holds ``right`` now."""
    return right in rights_of(user)


def holds(username: str, right: Right) -> sql.Statement:
    """An SQL condition that says of the account called ``username`` what ``may`` says of a user.

    Who acts in a terminal without an account holds every right: whoever runs ``manage.py`` can write to the database.
    """
    if username.startswith(SHELL):  # no account can have such a name; one that has it after all is judged by its groups
        absent = "NOT EXISTS (SELECT 1 FROM auth_user WHERE username = %s)"
        held = _account_holds(username, right)
        return sql.Statement(f"({absent} OR {held.text})", (username, *held.values))
    return _account_holds(username, right)


def _account_holds(username: str, right: Right) -> sql.Statement:
    groups = groups_with(right)
    marks = ", ".join(["%s"] * len(groups))
    return sql.Statement(
        "EXISTS (SELECT 1 FROM auth_user AS person WHERE person.username = %s AND person.is_active"  # noqa: S608
        " AND (person.is_superuser OR EXISTS (SELECT 1 FROM auth_user_groups AS member"
        " JOIN auth_group AS party ON party.id = member.group_id"
        f" WHERE member.user_id = person.id AND party.name IN ({marks}))))",
        (username, *groups),
    )


def may_by_name(username: str, right: Right) -> bool:
    """Whether ``username`` holds ``right`` now; see ``holds``."""
    condition = holds(username, right)
    found = sql.row(f"SELECT {condition.text}", *condition.values)
    return bool(found and found[0])
