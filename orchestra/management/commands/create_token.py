"""``manage.py create_token USER [--days 90]`` prints the key alone as the last line on stdout."""

from datetime import timedelta
from typing import Any

from django.contrib.auth.models import Group, User
from django.core.management.base import BaseCommand, CommandError, CommandParser
from django.db import transaction
from knox.models import get_token_model

from orchestra.auth.groups import group_named
from orchestra.auth.permissions import BUILT_IN_GROUPS, rights_of
from orchestra.management.accounts import find_account

DAYS = 90
LONGEST_DAYS = 3650


class Command(BaseCommand):
    help = "Print an API key for USER, to be sent as `Authorization: Token KEY`. It cannot be shown again."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("user", metavar="USER")
        parser.add_argument("--days", type=int, default=DAYS, help=f"how long the key is good (default {DAYS})")
        groups = ", ".join(BUILT_IN_GROUPS)
        parser.add_argument("--group", help=f"put the account into this group, too ({groups}, or one of your own)")
        parser.add_argument("--create", action="store_true", help="make the account if there is none (needs --group)")

    @transaction.atomic
    def handle(self, *args: Any, **options: Any) -> None:
        days, group = options["days"], options["group"]
        if not 1 <= days <= LONGEST_DAYS:
            raise CommandError(f"--days is a number from 1 to {LONGEST_DAYS}.")
        if options["create"] and not group:
            raise CommandError("--create needs --group: an account without a group may do nothing.")
        user = _get_or_create_account(options["user"]) if options["create"] else find_account(options["user"])
        if group:
            user.groups.add(_group(group))
        if not rights_of(user):
            self.stderr.write(f"{options['user']} has no rights and may do nothing; see --group.")
        _, key = get_token_model().objects.create(user, expiry=timedelta(days=days))
        self.stdout.write(key)


def _group(name: str) -> Group:
    try:
        return group_named(name)
    except Group.DoesNotExist:
        known = dict.fromkeys([*BUILT_IN_GROUPS, *Group.objects.order_by("name").values_list("name", flat=True)])
        raise CommandError(f"There is no group {name!r}. There are: {', '.join(known)}.") from None


def _get_or_create_account(name: str) -> User:
    """Return the account of that name; create it without a password if there is none."""
    user, new = User.objects.get_or_create(username=name)
    if new:
        user.set_unusable_password()
        user.save(update_fields=["password"])
    return user
