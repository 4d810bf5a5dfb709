"""``manage.py sign_in_link USER``: the URL alone as the last line."""

from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser

from orchestra import sign_in
from orchestra.management.accounts import find_account


class Command(BaseCommand):
    help = "Print a link that signs USER in: works once, within ten minutes."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("user", metavar="USER")

    def handle(self, *args: Any, **options: Any) -> None:
        user = find_account(options["user"])
        if not user.is_active:
            raise CommandError(f"The account {options['user']} is switched off.")
        self.stdout.write(sign_in.make_link(user))
